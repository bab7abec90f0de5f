//! How the guest ends: what every frame that the trace names is and holds, tables that are in use no more included.
//!
//! Two guests with different kernels end alike if this is equal: entries that are Xen's own do not count, and an L4
//! entry of the kernel's counts as that, whatever frame it names.

use std::collections::BTreeMap;

use hypercall::{Level, Mfn};
use mmu_replay::FrameState;

/// The end of a replay, in the trace's machine frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndState {
    frames: BTreeMap<Mfn, FrameState>,
    entries: BTreeMap<(Mfn, usize), u64>,
}

impl EndState {
    /// A frame, before its entries.
    pub(crate) fn frame(&mut self, frame: Mfn, state: FrameState) {
        self.frames.insert(frame, state);
    }

    /// An entry of a frame that is not empty and not Xen's.
    pub(crate) fn entry(&mut self, frame: Mfn, index: usize, word: u64) {
        self.entries.insert((frame, index), word);
    }

    /// Whether the frame is an L4.
    pub(crate) fn is_root(&self, frame: Mfn) -> bool {
        self.frames.get(&frame).is_some_and(|state| state.table == Some(Level::L4))
    }

    /// Frames that are tables in use, and all entries that are not empty.
    pub(crate) fn size(&self) -> (u64, u64) {
        let tables = self.frames.values().filter(|state| state.table.is_some()).count();
        (tables as u64, self.entries.len() as u64)
    }

    /// What is not in `other` as it is here, in words.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let frames = differing(&self.frames, &other.frames).into_iter().map(|(frame, here, there)| {
            let state = |state: Option<FrameState>| state.map_or("not there".into(), describe);
            format!("{frame} ends {} here and {} on the mock", state(here), state(there))
        });
        let entries = differing(&self.entries, &other.entries).into_iter().map(|((table, index), here, there)| {
            let word = Option::unwrap_or_default;
            format!("entry {index} of {table} ends {:#x} here and {:#x} on the mock", word(here), word(there))
        });
        frames.chain(entries).collect()
    }
}

fn describe(state: FrameState) -> String {
    let kind = match state.table {
        Some(level) if state.pinned => format!("a pinned {level}"),
        Some(level) => format!("an {level} in use"),
        None => "no table".into(),
    };
    format!("{kind}, mapped {}", if state.writable { "writable" } else { "read-only" })
}

type Differing<K, V> = (K, Option<V>, Option<V>);

fn differing<K: Ord + Copy, V: PartialEq + Copy>(
    here: &BTreeMap<K, V>,
    there: &BTreeMap<K, V>,
) -> Vec<Differing<K, V>> {
    let keys: std::collections::BTreeSet<K> = here.keys().chain(there.keys()).copied().collect();
    let both = keys.into_iter().map(|key| (key, here.get(&key).copied(), there.get(&key).copied()));
    both.filter(|(_, here, there)| here != there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: FrameState = FrameState { table: Some(Level::L4), pinned: true, writable: false };

    fn end(entries: &[(usize, u64)]) -> EndState {
        let mut end = EndState::default();
        end.frame(Mfn::new(7), ROOT);
        entries.iter().for_each(|(index, word)| end.entry(Mfn::new(7), *index, *word));
        end
    }

    #[test]
    fn tables_and_entries_are_counted() {
        let mut end = end(&[(0, 5), (9, 6)]);
        end.frame(Mfn::new(8), FrameState { table: None, ..ROOT });
        assert_eq!(end.size(), (1, 2));
        assert!(end.is_root(Mfn::new(7)) && !end.is_root(Mfn::new(8)));
    }

    #[test]
    fn every_difference_is_named() {
        let mut other = end(&[(0, 5), (2, 6)]);
        other.frame(Mfn::new(8), FrameState { pinned: false, ..ROOT });
        let differences = end(&[(0, 4)]).differences(&other);
        assert_eq!(differences.len(), 3, "{differences:?}");
        assert!(differences[0].contains("not there here and an L4 in use, mapped read-only"), "{differences:?}");
        assert!(differences[1].contains("entry 0") && differences[1].contains("0x4 here and 0x5"), "{differences:?}");
        assert!(end(&[(0, 4)]).differences(&end(&[(0, 4)])).is_empty());
    }
}
