//! The kernel the lab boots: carries out the one command its boot module holds, answers over the
//! console, and reboots.
//!
//! A command is an entry in [`commands::COMMANDS`]: a name and a function from the payload to the
//! answer. It runs as a task of vCPU 0 with upcalls open.
#![no_std]
#![no_main]

mod commands;
mod error;
mod mmu;
mod reply;

use hypercall::TaskContext;
use xen_guest::start_info;
use xen_wire::Request;

use crate::{commands::COMMANDS, error::Error, reply::Reply};

xen_guest::kernel!(main);

fn main(context: &TaskContext) {
    let mut reply = Reply::begin();
    match carry_out(context, &mut reply) {
        Ok(()) => reply.end(),
        Err(error) => reply.refuse(&error),
    }
}

fn carry_out(context: &TaskContext, reply: &mut Reply) -> Result<(), Error> {
    let request = Request::decode(start_info::module())?;
    let command = COMMANDS.iter().find(|command| command.name == request.command).ok_or(Error::UnknownCommand)?;
    (command.run)(context, request.payload, reply)
}
