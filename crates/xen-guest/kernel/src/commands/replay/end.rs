//! The answer, and the end state: what every frame is, and what the tables hold.
//!
//! That a frame is a table in use shows when it cannot be mapped writable; which level and whether pinned, Xen tells.
//! Tables are told after that, so that what is told is how the trace has left them.

use hypercall::{ENTRIES_PER_TABLE, Errno, Level, Mfn, PteFlags, PteSlot};
use mmu_replay::{
    AnswerWriter, FrameState, KERNEL_ENTRIES, OWN, OWN_ENTRY, Refused, Sink, XEN_ENTRIES, rename, rename_word,
};
use spin::Mutex;
use xen_guest::memory::types::{FRAMES_PER_CALL, FrameType, types};

use super::{
    NOTES, Replay,
    frames::Named,
    world::World,
};
use crate::{error::Error, reply::Reply};

impl Sink for Reply {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }
}

static ROOM: Mutex<[u64; FRAMES_PER_CALL]> = Mutex::new([0; FRAMES_PER_CALL]);

/// Tells what came of a replay.
pub(super) fn tell(replay: &Replay, reply: &mut Reply) -> Result<(), Error> {
    let world = &replay.world;
    let names = Named(world.frames());
    let mut notes = NOTES.lock();
    let mut writer = AnswerWriter::begin(reply, replay.head.steps);
    notes.called(replay.head.steps).iter().for_each(|called| writer.called(called));
    for refusal in notes.refused() {
        if let Refused::Operation(operation, _) = &mut refusal.what {
            *operation = rename(&names, operation).ok_or(Error::Payload)?;
        }
    }
    writer.refused(notes.refused()).ok_or(Error::Payload)?;
    writer.found(notes.words().iter().map(|word| rename_word(&names, *word).unwrap_or(*word)));
    writer.complaints(notes.complaints(), replay.head.frames);
    let all = world.frames().names();
    for first in (1..=replay.head.frames).step_by(FRAMES_PER_CALL) {
        let some = all.clone().skip(first as usize - 1).take(FRAMES_PER_CALL);
        let mut name = first;
        let frames = some.map(|name| world.frames().named(name).unwrap_or_default());
        types(frames, &mut ROOM.lock(), |kind| {
            tell_frame(&mut writer, world, Mfn::new(name), kind);
            name += 1;
        })?;
    }
    Ok(())
}

/// The word told of an entry.
fn told(world: &World, table: Option<Level>, slot: PteSlot) -> u64 {
    let (index, word) = (slot.index(), world.entry(slot));
    let own = (KERNEL_ENTRIES.contains(&index) || index == OWN_ENTRY) && table == Some(Level::L4);
    if table == Some(Level::L4) && XEN_ENTRIES.contains(&index) {
        0
    } else if own && word != 0 && (word ^ world.own(index)) & !PteFlags::ACCESSED_DIRTY.bits() == 0 {
        OWN
    } else {
        rename_word(&Named(world.frames()), word).unwrap_or(word)
    }
}

fn tell_frame(writer: &mut AnswerWriter<'_, Reply>, world: &World, name: Mfn, kind: FrameType) {
    let mapping = world.mapping(name);
    let in_use = kind.level.is_some() && world.make_writable(name) == Err(Errno::BUSY);
    let table = kind.level.filter(|_| in_use);
    let state = FrameState { table, pinned: kind.pinned, writable: mapping.flags().contains(PteFlags::RW) };
    let entries = (0..ENTRIES_PER_TABLE).map(|index| (index, told(world, table, PteSlot::of(name, index))));
    writer.frame(state, entries.filter(|(_, word)| *word != 0));
}
