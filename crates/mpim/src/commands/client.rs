//! `mpim client`: a client for terminals and scripts.

mod account;
mod connection;
mod entries;
mod group;
mod history;
mod listen;
mod print;
mod send;
mod session;

use std::{io, path::PathBuf};

use clap::{Args, Subcommand};

use connection::Place;
pub(super) use print::Printer;
pub use print::harmless;
pub(super) use print::{local_time, rfc3339};

/// Chat from a terminal or a script.
///
/// A profile is one device of one user: its log-in, how far it has received, and what it has not sent yet. Several
/// commands may use one profile at the same time.
///
/// With --json each line of output is one JSON object. Ids are strings, positions and counts are numbers, times are
/// RFC 3339 in UTC with milliseconds ("2026-11-23T10:02:33.071Z"). Errors are one line on standard error, and the exit
/// code is not 0.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// The server: http://HOST:PORT (WebSocket) or tcp://HOST:PORT [default: that of the last log-in with this profile,
    /// else http://127.0.0.1:8080]
    #[arg(long, env = "MPIM_SERVER", value_name = "URL", global = true)]
    server: Option<String>,
    /// The profile's directory, made if it does not exist [default: $HOME/.mpim]
    #[arg(long, env = "MPIM_PROFILE", value_name = "DIR", global = true)]
    profile: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account, and log in.
    ///
    /// JSON: id, name, session.
    Register(account::LogInArgs),
    /// Log in.
    ///
    /// JSON: id, name, session.
    Login(account::LogInArgs),
    /// End this device's session; the profile keeps how far it has received.
    Logout,
    /// Tell who is logged in.
    ///
    /// JSON: id, name, session, server.
    Whoami,
    /// Devices that are logged in.
    #[command(subcommand)]
    Sessions(session::SessionsCommand),
    /// Change the password; all other devices are logged out.
    Passwd(account::PasswordArgs),
    /// Groups and their members.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Send a message, and wait until it is stored.
    ///
    /// While the server cannot be reached it is tried again, until the time is over. The exit code is 0 only if the message is
    /// stored. Otherwise the error tells whether it certainly is not; if that is not known, the same command with the --id that
    /// the error names settles it: a message is stored once, however often it is sent with the same id. A message whose command
    /// was killed is sent when the profile is used the next time.
    ///
    /// JSON: conversation, position, id, time.
    #[command(
        override_usage = "mpim client send [OPTIONS] <NAME> <TEXT>\n       mpim client send [OPTIONS] --group <ID> <TEXT>"
    )]
    Send(send::SendArgs),
    /// Print what was said.
    ///
    /// JSON: as `listen`.
    #[command(
        override_usage = "mpim client history [OPTIONS] <NAME>\n       mpim client history [OPTIONS] --group <ID>"
    )]
    History(history::HistoryArgs),
    /// Print entries as they come, until interrupted.
    ///
    /// First prints everything that this profile has not printed yet, from position 1 of every conversation if it is new.
    /// Per conversation entries come in order and once; after a crash the last ones may come again, none is missed.
    ///
    /// JSON: conversation, kind ("direct", "group"), position, id, from (a name), text, time. For what happens to a group's
    /// members, text is null, and event tells what happened ("group_created", "members_added", "member_joined",
    /// "member_left"), with title or members (names) where they belong to it. What concerns only this account (log-ins,
    /// groups entered and left) is printed for people, and left out of JSON.
    Listen,
}

/// Runs a client command to its end. A reader of the output that has gone (`… | head`) is no error.
///
/// # Errors
///
/// What went wrong, for a person.
pub async fn run(args: ClientArgs) -> anyhow::Result<()> {
    let printer = Printer::new(args.json);
    let place = Place::new(args.server, args.profile)?;
    let result = match args.command {
        Command::Register(args) => account::register(&place, printer, args).await,
        Command::Login(args) => account::log_in(&place, printer, args).await,
        Command::Logout => account::log_out(&place, printer).await,
        Command::Whoami => account::who_am_i(&place, printer).await,
        Command::Sessions(command) => session::run(&place, printer, command).await,
        Command::Passwd(args) => account::change_password(&place, printer, args).await,
        Command::Group(command) => group::run(&place, printer, command).await,
        Command::Send(args) => send::run(&place, printer, args).await,
        Command::History(args) => history::run(&place, printer, args).await,
        Command::Listen => listen::run(&place, printer).await,
    };
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        result => result,
    }
}

/// Standard output is the only pipe that commands write to; errors of sockets bear other types on top.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
