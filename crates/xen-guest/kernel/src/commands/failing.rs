//! A command that fails in the way it is asked to, so that the host can show that it notices.

use hypercall::{TaskContext, VirtAddr};
use xen_guest::{Reason, memory, shutdown, write_line};

use crate::{error::Error, reply::Reply};

/// A page that no PV guest has mapped.
const NOWHERE: usize = 1 << 40;

pub(crate) fn fail(_: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    xen_guest::log!("about to fail: {}", payload.escape_ascii());
    reply.bytes(b"the beginning of an answer");
    reply.flush();
    match payload {
        b"panic" => panic!("as asked"),
        b"trap" => read_nowhere(),
        b"stack" => xen_guest::log!("{}", overflow(0)),
        b"hang" => hang(),
        b"cut" => shutdown(Reason::Reboot),
        b"garble" => write_line(b"@Dnot/what/a/frame/is/made/of\n"),
        b"lose" => reply.skip_number(),
        _ => return Err(Error::Payload),
    }
    reply.bytes(b", and its end");
    Ok(())
}

fn read_nowhere() {
    // The probe tells that it is nowhere before the access that nobody catches.
    if memory::load(VirtAddr::unchecked(NOWHERE as u64)).is_err() {
        // SAFETY: the access faults, which is what it is for: the trap handler ends the domain.
        let word = unsafe { core::ptr::with_exposed_provenance::<u64>(NOWHERE).read_volatile() };
        xen_guest::log!("read {word:#x} from nowhere");
    }
}

fn hang() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Uses up the stack.
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let waste = core::hint::black_box([depth; 64]);
    if depth == u64::MAX { waste[0] } else { overflow(depth + 1).wrapping_add(waste[1]) }
}
