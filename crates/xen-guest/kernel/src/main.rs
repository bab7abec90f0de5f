//! The kernel the lab boots: carries out the one command its boot module holds, answers over the
//! console, and reboots. Without a boot module: what the command line says, answered as text, and the domain is off; the machine halts with domain 0.
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
use xen_guest::{Reason, log, shutdown, start_info};
use xen_wire::Request;

use crate::{commands::COMMANDS, error::Error, reply::Reply};

xen_guest::kernel!(main);

fn main(context: &TaskContext) {
    let module = start_info::module();
    if module.is_empty() {
        alone(context);
    }
    let mut reply = Reply::begin();
    match Request::decode(module).map_err(Error::from).and_then(|request| carry_out(context, &request, &mut reply)) {
        Ok(()) => reply.end(),
        Err(error) => reply.refuse(&error),
    }
}

/// With nobody at the other end but a reader.
fn alone(context: &TaskContext) -> ! {
    let line = str::from_utf8(start_info::command_line()).unwrap_or("").trim();
    let (command, payload) = line.split_once(' ').unwrap_or((line, ""));
    log!("{} {line}", env!("CARGO_PKG_NAME"));
    let mut reply = Reply::text();
    match carry_out(context, &Request { command, payload: payload.as_bytes() }, &mut reply) {
        Ok(()) => reply.end(),
        Err(error) => {
            log!("`{line}` was not carried out: {error}; the command line is a command and its words, such as `bench`")
        }
    }
    log!("{}", xen_wire::TEXT_END);
    shutdown(Reason::PowerOff)
}

fn carry_out(context: &TaskContext, request: &Request<'_>, reply: &mut Reply) -> Result<(), Error> {
    let command = COMMANDS.iter().find(|command| command.name == request.command).ok_or(Error::UnknownCommand)?;
    (command.run)(context, request.payload, reply)
}
