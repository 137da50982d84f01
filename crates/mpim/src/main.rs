//! The `mpim` command.

use std::{fmt::Display, io::Write as _, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use mpim::commands::{Command, client::harmless};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// MPIM: instant messaging that loses no message.
#[derive(Debug, Parser)]
#[command(name = "mpim", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What a shell expects for a command line that was not understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and the version were asked for, or nothing at all.
        Err(asked) if !asked.use_stderr() || asked.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            asked.exit()
        }
        Err(error) => return fail(first_paragraph(&error.to_string()), ExitCode::from(USAGE)),
    };
    match arguments.command.run() {
        Ok(code) => code,
        // The error and its causes.
        Err(error) => fail(mpim::told::with_causes(&*error), ExitCode::FAILURE),
    }
}

/// One line on standard error; that nobody reads it changes nothing.
fn fail(error: impl Display, code: ExitCode) -> ExitCode {
    // It may hold what a server or another user wrote.
    let error: Vec<String> = error.to_string().lines().map(harmless).collect();
    let _ = writeln!(std::io::stderr(), "mpim: {}", error.join("\n"));
    code
}

/// A mistake in the command line as one line; the usage that follows it is what `--help` is for.
fn first_paragraph(error: &str) -> String {
    let lines: Vec<&str> = error.trim_start_matches("error: ").lines().map(str::trim).collect();
    let paragraph = lines.split(|line| line.is_empty()).next().unwrap_or_default().join(" ");
    // What the standard library says of a word where a number is wanted.
    let paragraph = paragraph.replace("invalid digit found in string", "a whole number is wanted");
    format!("{paragraph} (see --help)")
}
