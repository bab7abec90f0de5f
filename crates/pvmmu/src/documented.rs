//! What the documents say of the command line can be asked of it.

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use pages::{Command, Page, commands, pages, root};

use crate::cli::Cli;

/// What is wrong with a call. One that is only mentioned may leave out what it needs, and have a `WORD` for a value.
fn refusal(command: &Command) -> Option<String> {
    let arguments = command.pvmmu()?;
    let refused = Cli::try_parse_from(["pvmmu"].into_iter().chain(arguments.iter().map(String::as_str))).err()?;
    let is_word =
        matches!(refused.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if is_placeholder(value));
    let is_fine = match refused.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::MissingRequiredArgument => command.is_mentioned,
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => command.is_mentioned && is_word,
        _ => false,
    };
    (!is_fine).then(|| format!("{}:{}: {refused}", command.page, command.line))
}

fn is_placeholder(value: &str) -> bool {
    value.len() > 1 && value.chars().all(|letter| letter.is_ascii_uppercase())
}

#[test]
fn every_call_in_the_documents_parses() {
    let commands = commands(&pages(&root()).unwrap()).unwrap();
    let calls = commands.iter().filter(|command| command.pvmmu().is_some()).count();
    assert!(calls > 40, "hardly a call found: {calls}");
    let refusals: Vec<String> = commands.iter().filter_map(refusal).collect();
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn a_call_that_does_not_parse_is_found() {
    let wrong = [
        "```console\n$ cargo run --release -- check my-trace.txt.gz --colour\n```",
        "```console\n$ cargo run --release -- bench --on moon\n```",
        "```console\n$ cargo run --release -- conform --cases --ops 7\n```",
        "```console\n$ cargo run --release -- bench\n```",
        "`pvmmu replay TRACE --on moon`",
        "`pvmmu judge`",
        "`pvmmu bench --arch --loud`",
    ];
    for text in &wrong {
        let commands = commands(&[Page::parse("planted.md", text)]).unwrap();
        let refusals = commands.iter().filter_map(refusal).count();
        assert_eq!(refusals, 1, "{text}");
    }
}
