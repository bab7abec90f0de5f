//! Tokens that say in which context the kernel runs.
//!
//! Only the kernel's entry code knows the context: the scheduler runs tasks, the upcall entry runs
//! handlers, the switch code runs between two tasks. It mints one token there and passes it down by
//! reference; library calls that are legal in one context only ask for that context's token. A
//! token cannot be sent to another thread, and none can be made without `unsafe` (R6):
//!
//! ```compile_fail,E0133
//! let context = hypercall::TaskContext::assume();
//! ```
//! ```compile_fail,E0277
//! # fn send(_: impl Send) {}
//! # fn elsewhere(context: hypercall::TaskContext) {
//! send(context);
//! # }
//! ```

use core::marker::PhantomData;

macro_rules! context {
    ($(#[$doc:meta])* $name:ident, $claim:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(PhantomData<*mut ()>);

        impl $name {
            /// Claims the context.
            ///
            /// # Safety
            #[doc = $claim]
            #[must_use]
            pub const unsafe fn assume() -> Self {
                Self(PhantomData)
            }

            /// Claims the context in a program that runs in user space on a mock, where nothing
            /// can interrupt or switch but the program itself.
            #[cfg(feature = "user-space")]
            #[must_use]
            pub const fn in_user_space() -> Self {
                Self(PhantomData)
            }
        }
    };
}

context! {
    /// The caller runs as a task.
    TaskContext,
    "The caller is a task's own code: not an interrupt or event handler, not the switch code. The token is dropped before the task ends."
}
context! {
    /// The caller runs in an interrupt or event upcall handler.
    InterruptContext,
    "The caller is a handler that interrupted a task or the idle loop, is held off while upcalls are masked (so not an NMI-like one, which may use nothing of this), and drops the token before it returns."
}
context! {
    /// The caller is the kernel's switch code, after the outgoing task's last step and before the
    /// incoming task's first.
    SwitchContext,
    "The caller is between two tasks on one vCPU with preemption off, and drops the token before the next task runs."
}
