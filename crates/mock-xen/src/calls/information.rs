//! What Xen says about itself, and services it offers (`xen_version`, `vm_assist`).

use hypercall::{Errno, PAGE_SIZE};

use super::{Args, Step};
use crate::MockXen;
use crate::domain::Assist;
use crate::not_modelled::NotModelled;

/// 4.17.
const VERSION: i64 = 4 << 16 | 17;
const COMMAND_VERSION: u32 = 0;
const COMMAND_PAGE_SIZE: u32 = 7;
/// Commands of `xen_version` from here on are unknown.
const COMMANDS: u32 = 11;

const ENABLE: u32 = 0;
const DISABLE: u32 = 1;

impl MockXen {
    /// `xen_version`. What fills a buffer with text of the build is not modelled.
    ///
    /// `-EINVAL` for the page size with a buffer, `-ENOSYS` for an unknown command.
    pub(super) fn xen_version([command, buffer, ..]: Args) -> Step {
        match command as u32 {
            COMMAND_VERSION => Step::Return(VERSION),
            COMMAND_PAGE_SIZE if buffer == 0 => Step::Return(PAGE_SIZE as i64),
            COMMAND_PAGE_SIZE => Errno::INVAL.into(),
            known if known < COMMANDS => NotModelled::Hypercall.errno().into(),
            _ => Errno::NOSYS.into(),
        }
    }

    /// `vm_assist`: services to the whole domain.
    ///
    /// # Errors
    /// `-EINVAL` for a service a 64-bit guest cannot have, then `-ENOSYS` for an unknown command.
    pub(super) fn vm_assist(&self, [command, service, ..]: Args) -> Result<(), Errno> {
        let bits = 1_u64.checked_shl(service as u32).unwrap_or(0) & Assist::KNOWN;
        if bits == 0 {
            return Err(Errno::INVAL);
        }
        match command as u32 {
            ENABLE => self.machine.domain.switch(bits, true),
            DISABLE => self.machine.domain.switch(bits, false),
            _ => return Err(Errno::NOSYS),
        }
        Ok(())
    }
}
