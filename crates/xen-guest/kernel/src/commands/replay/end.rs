//! The answer, and the end state: what every frame is and holds.
//!
//! That a frame is a table in use shows when it cannot be mapped writable; which level and whether pinned, Xen tells.
//! Tables are told after that, so that what is told is how the trace has left them.

use hypercall::{Errno, Level, Mfn, PteFlags};
use mmu_replay::{AnswerWriter, FrameState, OWN, Refused, Sink, rename, rename_word};
use spin::Mutex;
use xen_guest::memory::types::{FRAMES_PER_CALL, FrameType, types};

use super::{NOTES, Replay, frames::Named, world::World};
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

fn tell_frame(writer: &mut AnswerWriter<'_, Reply>, world: &World, name: Mfn, kind: FrameType) {
    let mapping = world.mapping(name);
    let in_use = kind.level.is_some() && world.make_writable(name) == Err(Errno::BUSY);
    let table = kind.level.filter(|_| in_use);
    let state = FrameState { table, pinned: kind.pinned, writable: mapping.flags().contains(PteFlags::RW) };
    let names = Named(world.frames());
    let named = world.entries(name).map(|(index, word)| (index, rename_word(&names, word).unwrap_or(word)));
    let own = world.own_entries(name).map(|index| (index, OWN)).filter(|_| table == Some(Level::L4));
    writer.frame(state, named.chain(own));
}
