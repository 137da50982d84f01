//! `mpim client`: a client for terminals and scripts.

mod account;
mod bot;
mod chat;
mod connection;
mod entries;
mod friend;
mod group;
mod history;
mod listen;
mod message;
mod print;
mod profile;
mod send;
mod session;
mod target;

use std::path::PathBuf;

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
    /// The server: http://HOST:PORT (WebSocket) or tcp://HOST:PORT, https:// or tls:// where it speaks TLS [default: that of the last log-in with this profile,
    /// else http://127.0.0.1:8080]
    #[arg(long, env = "MPIM_SERVER", value_name = "URL", global = true)]
    server: Option<String>,
    /// For https:// and tls://: the authorities to believe, in PEM [default: the system's]
    #[arg(long, env = "MPIM_CA", value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
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
    /// Chat on the whole screen of a terminal; F1 tells the keys.
    Chat(chat::ChatArgs),
    /// Friends, requests, remarks, blocks.
    #[command(subcommand)]
    Friend(friend::FriendCommand),
    /// Give one of your messages another text.
    ///
    /// JSON: as `send`.
    #[command(
        override_usage = "mpim client edit [OPTIONS] <NAME> <POSITION> <TEXT>\n       mpim client edit [OPTIONS] --group <ID> <POSITION> <TEXT>"
    )]
    Edit(message::EditArgs),
    /// Take back a message: your own for a while, or, as a group's owner or admin, any.
    ///
    /// JSON: as `send`.
    #[command(
        override_usage = "mpim client recall [OPTIONS] <NAME> <POSITION>\n       mpim client recall [OPTIONS] --group <ID> <POSITION>"
    )]
    Recall(message::RecallArgs),
    /// Put a mark on a message.
    ///
    /// JSON: as `send`.
    #[command(
        override_usage = "mpim client react [OPTIONS] <NAME> <POSITION> <EMOJI>\n       mpim client react [OPTIONS] --group <ID> <POSITION> <EMOJI>"
    )]
    React(message::ReactArgs),
    /// Pin a message.
    ///
    /// JSON: as `send`.
    #[command(
        override_usage = "mpim client pin [OPTIONS] <NAME> <POSITION>\n       mpim client pin [OPTIONS] --group <ID> <POSITION>"
    )]
    Pin(message::PinArgs),
    /// Print the messages that are pinned, those pinned last first.
    ///
    /// JSON: as `listen`.
    Pins(message::PinsArgs),
    /// Send a copy of a message to somebody else.
    ///
    /// JSON: as `send`.
    #[command(
        override_usage = "mpim client forward [OPTIONS] <NAME> <POSITION>\n       mpim client forward [OPTIONS] --group <ID> <POSITION>"
    )]
    Forward(message::ForwardArgs),
    /// Remove messages from what your own devices show.
    ///
    /// JSON: conversation, positions, up_to.
    #[command(
        override_usage = "mpim client delete [OPTIONS] <NAME> [POSITION]...\n       mpim client delete [OPTIONS] --group <ID> [POSITION]..."
    )]
    Delete(message::DeleteArgs),
    /// Print the messages that hold a text, newest first.
    ///
    /// JSON: as `listen`.
    #[command(
        override_usage = "mpim client search [OPTIONS] <NAME> <QUERY>\n       mpim client search [OPTIONS] --group <ID> <QUERY>"
    )]
    Search(message::SearchArgs),
    /// Tell who has received and read one of your messages.
    ///
    /// JSON: name, state ("sent", "delivered", "read").
    #[command(
        override_usage = "mpim client receipts [OPTIONS] <NAME> <POSITION>\n       mpim client receipts [OPTIONS] --group <ID> <POSITION>"
    )]
    Receipts(message::MessageArgs),
    /// Tell or change what others see of you.
    ///
    /// JSON: id, name, display_name, avatar, status_line, language, write_policy ("anyone", "friends"), invisible, created.
    Profile(profile::ProfileArgs),
    /// Tell or change who may write to you, and who sees you.
    ///
    /// JSON: as `profile`.
    Settings(profile::SettingsArgs),
    /// Give your account another name.
    ///
    /// JSON: as `profile`.
    Rename {
        /// The new name
        name: String,
    },
    /// End your account for good. The messages that others received remain, under an empty name.
    DeleteAccount(profile::DeleteAccountArgs),
    /// Find users by how their names begin.
    ///
    /// JSON: id, name, display_name, status_line, bot.
    Users(profile::UsersArgs),
    /// Bots, their keys and webhooks.
    #[command(subcommand)]
    Bot(bot::BotCommand),
    /// Report a user or a message to those who run the server.
    Report(profile::ReportArgs),
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
    /// JSON: conversation, kind ("direct", "group"), position, id, from (a name), text, time; where they belong to it reply_to
    /// (a position), mentions (names), everyone, forwarded (from, time). For what is not a text message, text is null, and
    /// event tells what it is: other messages ("link", "card", "custom", "opaque"); those that are gone ("recalled",
    /// "hidden"); what was done to a message, with its position as target ("edit", with the new text as text, "recall",
    /// "reaction", "pin"); and what happens to a group and its members ("group_created", "members_added", "member_joined",
    /// "member_left", "members_removed", "bans_lifted", "role_changed", "owner_changed", "members_muted", "group_changed",
    /// "nickname_changed", "group_dissolved"), with what belongs to it. What concerns only this account (log-ins, groups
    /// entered and left, friends) is printed for people, and left out of JSON.
    Listen,
}

/// Runs a client command to its end.
///
/// # Errors
///
/// What went wrong, for a person.
pub async fn run(args: ClientArgs) -> anyhow::Result<()> {
    let printer = Printer::new(args.json);
    let place = Place::new(args.server, args.ca, args.profile)?;
    match args.command {
        Command::Register(args) => account::register(&place, printer, args).await,
        Command::Login(args) => account::log_in(&place, printer, args).await,
        Command::Logout => account::log_out(&place, printer).await,
        Command::Whoami => account::who_am_i(&place, printer).await,
        Command::Sessions(command) => session::run(&place, printer, command).await,
        Command::Passwd(args) => account::change_password(&place, printer, args).await,
        Command::Group(command) => group::run(&place, printer, command).await,
        Command::Send(args) => send::run(&place, printer, args).await,
        Command::Chat(args) => chat::run(&place, args).await,
        Command::Friend(command) => friend::run(&place, printer, command).await,
        Command::Edit(args) => message::edit(&place, printer, args).await,
        Command::Recall(args) => message::recall(&place, printer, args).await,
        Command::React(args) => message::react(&place, printer, args).await,
        Command::Pin(args) => message::pin(&place, printer, args).await,
        Command::Pins(args) => message::pins(&place, printer, args).await,
        Command::Forward(args) => message::forward(&place, printer, args).await,
        Command::Delete(args) => message::delete(&place, printer, args).await,
        Command::Search(args) => message::search(&place, printer, args).await,
        Command::Receipts(args) => message::receipts(&place, printer, args).await,
        Command::Profile(args) => profile::profile(&place, printer, args).await,
        Command::Settings(args) => profile::settings(&place, printer, args).await,
        Command::Rename { name } => profile::rename(&place, printer, name).await,
        Command::DeleteAccount(args) => profile::delete_account(&place, printer, args).await,
        Command::Users(args) => profile::users(&place, printer, args).await,
        Command::Bot(command) => bot::run(&place, printer, command).await,
        Command::Report(args) => profile::report(&place, printer, args).await,
        Command::History(args) => history::run(&place, printer, args).await,
        Command::Listen => listen::run(&place, printer).await,
    }
}
