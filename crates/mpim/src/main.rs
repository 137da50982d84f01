//! The `mpim` command.

use std::process::ExitCode;

use clap::Parser;
use mpim::commands::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// MPIM: instant messaging that loses no message.
#[derive(Debug, Parser)]
#[command(name = "mpim", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run() {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write as _;
            // One line: the error and its causes.
            let _ = writeln!(std::io::stderr(), "mpim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
