//! What each operation costs on the hypervisor this runs on.
//!
//! The answer is text. First `xen` and the version; then a row a line: the operation's name, how many
//! there were, and what all of them cost together, in ticks of the time-stamp counter. QEMU can let that
//! count instructions; then every row repeats exactly. Each cost is the lowest of several repetitions,
//! less what reading the counter costs, on vCPU 0 with upcalls masked. State is put in place outside the
//! measured stretch, and a step that is refused ends the command: what is told has been done.

mod arrays;
mod issuer;
mod mappings;
mod memory;
mod meter;
mod mmuext;
mod multicalls;
mod pins;
mod registers;

use hypercall::TaskContext;

use self::{issuer::Issuer, meter::Meter};
use super::version;
use crate::{error::Error, reply::Reply};

/// How many operations are measured at once, where any number can be.
const SIZES: [usize; 7] = [1, 2, 8, 32, 64, 128, 512];

/// Measures everything.
pub(crate) fn cost(context: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    version(reply)?;
    let _masked = xen_guest::mask();
    let mut issuer = Issuer::lock();
    let mut meter = Meter::new(reply);
    arrays::measure(context, &mut issuer, &mut meter)?;
    mappings::measure(&mut issuer, &mut meter)?;
    mmuext::measure(&mut issuer, &mut meter)?;
    pins::measure(&mut issuer, &mut meter)?;
    registers::measure(&mut issuer, &mut meter)?;
    multicalls::measure(context, &mut issuer, &mut meter)?;
    memory::measure(context, &mut issuer, &mut meter)
}
