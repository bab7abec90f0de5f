//! What the face is asked beside calls by a task, and has to refuse: storage that is none, platforms that lack something, lists
//! that are none.

use std::ptr;

use arbitrary::Arbitrary;
use pvmmu::entries::{Held, pvmmu_harvest, pvmmu_held_init};
use pvmmu::error::{Code, Why};
use pvmmu::operation::Operation as Wish;
use pvmmu::platform::{Kernel, Platform, Queue, pvmmu_kernel_init, pvmmu_queue_init};
use pvmmu::region::{Task, pvmmu_task_init};
use pvmmu::switch::{PVMMU_SWITCH_OPERATIONS, pvmmu_interrupt_flush, pvmmu_stats, pvmmu_switch};
use pvmmu::table::{Table, pvmmu_table_forget, pvmmu_table_init, pvmmu_table_state, pvmmu_table_store};
use pvmmu::words::{Mfn, Pte, Slot, Va};

use super::face::{Hosted, NO_WISH, UNTOLD};
use super::room::Room;
use super::wishes::Shape;
use super::words::operation_of;
use crate::Finding;

/// Something that is refused and changes nothing.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Misuse {
    Kernel(Storage),
    /// A platform without function number `1 + n % 8`.
    Lacks(u8),
    PlatformNull,
    Queue(Storage, u32),
    Task(Storage),
    /// Of a profile there is not.
    Profile(u32),
    /// Of a kernel that is none.
    Kernelless(bool),
    Held(Storage),
    /// A harvest into room that is none.
    Roomless(u8),
    Table(Storage),
    /// Of a level there is not.
    Level(u32),
    /// Of a platform that stores nothing.
    Storeless(u8),
    /// A table's handle that is none.
    Tableless(u8),
    SwitchNull(u8),
    SwitchMany(u8),
    /// A switch with something among its operations that is none.
    SwitchOf(Vec<Shape>),
    SwitchNowhere,
    /// What handlers do, by a task.
    FlushByTask,
    StatsNull,
    StatsUnaligned,
}

/// How storage is none.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Storage {
    Null,
    Unaligned(u8),
    /// It is smaller than it has to be.
    Small(u16),
}

impl Storage {
    /// Where it is, and how large it is said to be.
    fn of<T>(self, room: &Room<T>) -> (*mut T, usize) {
        let bytes = size_of::<T>();
        match self {
            Self::Null => (ptr::null_mut(), bytes),
            Self::Unaligned(by) => (room.at().wrapping_byte_add(usize::from(by % 7) + 1), bytes),
            Self::Small(of) => (room.at(), usize::from(of) % bytes),
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Null => Code::Null,
            Self::Unaligned(_) => Code::Unaligned,
            Self::Small(_) => Code::Size,
        }
    }
}

/// Tries it on `face`.
pub(super) fn misuse(face: &Hosted<'_>, task: usize, what: &Misuse) -> Result<(), Finding> {
    let mut why = UNTOLD;
    let Some((code, wanted)) = storage(face, what, &raw mut why)
        .or_else(|| object(face, task, what, &raw mut why))
        .or_else(|| list(face, what, &raw mut why))
    else {
        return Ok(());
    };
    if code == wanted && why.code == code {
        return Ok(());
    }
    Err(Finding::new(format_args!("{what:?} answers {code:?} and {why:?}, not {wanted:?}")))
}

fn storage(face: &Hosted<'_>, what: &Misuse, why: *mut Why) -> Option<(Code, Code)> {
    let platform = face.platform();
    let kernel = face.kernel.at();
    // SAFETY: 1. what is passed is null, unaligned, said to be too small, not initialised, or what the header asks for, and
    // nobody else uses it.
    Some(unsafe {
        match *what {
            Misuse::Kernel(storage) => {
                let room = Room::new(0);
                let (at, bytes) = storage.of(&room);
                (pvmmu_kernel_init(at, bytes, &raw const platform, why), storage.code())
            }
            Misuse::Lacks(number) => {
                let (room, lacking) = (Room::<Kernel>::new(0), without(platform, number));
                (pvmmu_kernel_init(room.at(), size_of::<Kernel>(), &raw const lacking, why), Code::MissingFunction)
            }
            Misuse::PlatformNull => {
                let room = Room::<Kernel>::new(0);
                (pvmmu_kernel_init(room.at(), size_of::<Kernel>(), ptr::null(), why), Code::Null)
            }
            Misuse::Queue(storage, vcpu) => {
                let room = Room::<Queue>::new(0);
                let (at, bytes) = storage.of(&room);
                (pvmmu_queue_init(at, bytes, vcpu, why), storage.code())
            }
            Misuse::Task(storage) => {
                let room = Room::<Task>::new(0);
                let (at, bytes) = storage.of(&room);
                (pvmmu_task_init(at, bytes, kernel, 0, why), storage.code())
            }
            Misuse::Held(storage) => {
                let room = Room::<Held>::new(0);
                let (at, bytes) = storage.of(&room);
                (pvmmu_held_init(at, bytes, why), storage.code())
            }
            Misuse::Table(storage) => {
                let room = Room::<Table>::new(0);
                let (at, bytes) = storage.of(&room);
                (table_init(at, bytes, face.storing().at(), 1, why), storage.code())
            }
            _ => return None,
        }
    })
}

fn object(face: &Hosted<'_>, task: usize, what: &Misuse, why: *mut Why) -> Option<(Code, Code)> {
    let kernel = face.kernel.at();
    let never = |fill| Room::<Kernel>::new(fill);
    // SAFETY: 1. what is passed is null, unaligned, said to be too small, not initialised, or what the header asks for, and
    // nobody else uses it.
    Some(unsafe {
        match *what {
            Misuse::Profile(profile) => {
                let room = Room::<Task>::new(0);
                let profile = profile.max(2);
                (pvmmu_task_init(room.at(), size_of::<Task>(), kernel, profile, why), Code::Argument)
            }
            Misuse::Kernelless(is_null) => {
                let (room, none) = (Room::<Task>::new(0), never(0xff));
                let (none, wanted) =
                    if is_null { (ptr::null_mut(), Code::Null) } else { (none.at(), Code::NotInitialised) };
                (pvmmu_task_init(room.at(), size_of::<Task>(), none, 0, why), wanted)
            }
            Misuse::Roomless(fill) => {
                let (room, at) = (Room::<Held>::new(fill), face.tasks[task].at());
                let each = Some(super::platform::held as unsafe extern "C" fn(_, _, _));
                let none = ptr::null_mut();
                let slot = Slot { bits: 0 };
                (pvmmu_harvest(at, slot, 1, 0, room.at(), each, none, why), Code::NotInitialised)
            }
            Misuse::Level(level) => {
                let room = Room::<Table>::new(0);
                let level = if (1..=4).contains(&level) { 0 } else { level };
                (table_init(room.at(), size_of::<Table>(), face.storing().at(), level, why), Code::Argument)
            }
            Misuse::Storeless(fill) => {
                let room = Room::<Table>::new(fill);
                (table_init(room.at(), size_of::<Table>(), kernel, 1, why), Code::MissingFunction)
            }
            Misuse::Tableless(fill) => {
                let (room, mut state) = (Room::<Table>::new(fill), 0);
                let code = match fill % 3 {
                    0 => pvmmu_table_forget(room.at(), why),
                    1 => pvmmu_table_state(room.at(), &raw mut state, why),
                    _ => pvmmu_table_store(room.at(), 0, Pte { bits: 0 }, why),
                };
                (code, Code::NotInitialised)
            }
            _ => return None,
        }
    })
}

fn list(face: &Hosted<'_>, what: &Misuse, why: *mut Why) -> Option<(Code, Code)> {
    let kernel = face.kernel.at();
    // SAFETY: 1. what is passed is null, unaligned, said to be too small, not initialised, or what the header asks for, and
    // nobody else uses it.
    Some(unsafe {
        match what {
            Misuse::SwitchNull(count) => {
                let count = usize::from(*count) % PVMMU_SWITCH_OPERATIONS + 1;
                (pvmmu_switch(kernel, ptr::null(), count, why), Code::Null)
            }
            Misuse::SwitchMany(more) => {
                let all = vec![NO_WISH; PVMMU_SWITCH_OPERATIONS + 1 + usize::from(*more)];
                (pvmmu_switch(kernel, all.as_ptr(), all.len(), why), Code::Full)
            }
            Misuse::SwitchOf(shapes) => {
                let shapes = shapes.iter().take(PVMMU_SWITCH_OPERATIONS);
                let all: Vec<Wish> = shapes.map(|shape| shape.wish(face.guest(), 0)).collect();
                // Without one that is none it would be no misuse.
                let refused = all.iter().find_map(|wish| operation_of(wish).err())?;
                let code = pvmmu_switch(kernel, all.as_ptr(), all.len(), why);
                return Some((code, if refused.is(code) { code } else { Code::None }));
            }
            Misuse::SwitchNowhere => (pvmmu_switch(ptr::null(), ptr::null(), 0, why), Code::Null),
            Misuse::FlushByTask => (pvmmu_interrupt_flush(kernel, why), Code::Context),
            Misuse::StatsNull => (pvmmu_stats(kernel, ptr::null_mut(), why), Code::Null),
            Misuse::StatsUnaligned => {
                let mut stats = [0_u64; 64];
                let at = stats.as_mut_ptr().wrapping_byte_add(4).cast();
                (pvmmu_stats(kernel, at, why), Code::Unaligned)
            }
            _ => return None,
        }
    })
}

/// A handle for a draft of an L1 table that is never made live.
///
/// # Safety
/// 1. As for `pvmmu_table_init`.
unsafe fn table_init(at: *mut Table, bytes: usize, kernel: *const Kernel, level: u32, why: *mut Why) -> Code {
    let (frame, alias, writable) = (Mfn { number: 1 }, Va { address: 0 }, Pte { bits: 0 });
    // SAFETY: 1. the caller's promise.
    unsafe { pvmmu_table_init(at, bytes, kernel, level, frame, alias, writable, why) }
}

const fn without(mut platform: Platform, number: u8) -> Platform {
    match number % 8 {
        0 => platform.lock = None,
        1 => platform.unlock = None,
        2 => platform.hypercall = None,
        3 => platform.load = None,
        4 => platform.online = None,
        5 => platform.flush_others = None,
        6 => platform.report = None,
        _ => platform.fatal = None,
    }
    platform
}
