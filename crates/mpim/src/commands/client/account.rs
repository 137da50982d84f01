//! `register`, `login`, `logout`, `whoami`, `passwd`.

use std::{
    fs,
    io::{self, BufRead as _, Read as _},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use client::{DiskProfile, Error, Profile, Server, Tokens, wire};
use protocol::limits::{DEVICE_CHARS_MAX, PASSWORD_BYTES_MAX};
use serde_json::json;

use crate::commands::client::{
    connection::Place,
    print::{Printer, harmless},
};

#[derive(Debug, Args)]
pub(super) struct LogInArgs {
    /// The user's name
    name: String,
    /// Read the password from standard input (one line) instead of the terminal
    #[arg(long)]
    password_stdin: bool,
    /// What this device is called in the list of sessions [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// Read two lines from standard input instead of the terminal: the old password and the new one
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn register(place: &Place, printer: Printer, args: LogInArgs) -> anyhow::Result<()> {
    let (profile, server, password) = prepare(place, &args, true)?;
    let device = args.device.unwrap_or_else(machine_name);
    let session = client::register(&server, &args.name, &password, &device).await?;
    keep(&profile, &server, session, printer, "registered")
}

pub(super) async fn log_in(place: &Place, printer: Printer, args: LogInArgs) -> anyhow::Result<()> {
    let (profile, server, password) = prepare(place, &args, false)?;
    let device = args.device.unwrap_or_else(machine_name);
    let session = client::log_in(&server, &args.name, &password, &device).await?;
    keep(&profile, &server, session, printer, "logged in")
}

fn prepare(place: &Place, args: &LogInArgs, new: bool) -> anyhow::Result<(Arc<DiskProfile>, Server, String)> {
    // Whatever is wrong with these is better said before a password is asked for.
    let profile = place.profile()?;
    let server = place.server(&profile)?;
    let password = match (args.password_stdin, new) {
        (true, _) => password_lines(1)?.remove(0),
        (false, true) => ask_twice("password: ")?,
        (false, false) => ask("password: ")?,
    };
    Ok((profile, server, password))
}

fn keep(
    profile: &DiskProfile,
    server: &Server,
    session: wire::Session,
    printer: Printer,
    done: &str,
) -> anyhow::Result<()> {
    let tokens = Tokens::from(session);
    {
        // A process that exchanges the old session's tokens just now must not overwrite these.
        let _lock = profile.lock_tokens()?;
        profile.store_tokens(&tokens)?;
    }
    profile.remember_server(&server.to_string())?;
    printer.print(
        || json!({ "id": tokens.user.to_string(), "name": tokens.name, "session": tokens.session.to_string() }),
        || format!("{done} as {}", harmless(&tokens.name)),
    )?;
    Ok(())
}

pub(super) async fn log_out(place: &Place, printer: Printer) -> anyhow::Result<()> {
    let profile = place.profile()?;
    let Some(tokens) = profile.tokens()? else { bail!("not logged in") };
    match place.connect().await {
        Ok(client) => match client.log_out().await {
            Ok(()) => {}
            Err(Error::Refused(error)) if error.code() == wire::ErrorCode::SessionEnded => {}
            Err(error) => return Err(error.into()),
        },
        // Ended already: there is nothing left to end but the profile's copy.
        Err(error) if matches!(error.downcast_ref(), Some(Error::SessionEnded(_))) => {}
        Err(error) => return Err(error),
    }
    profile.log_out()?;
    printer.print(|| json!({ "name": tokens.name }), || format!("logged out {}", harmless(&tokens.name)))?;
    Ok(())
}

pub(super) async fn who_am_i(place: &Place, printer: Printer) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let server = place.server(&*place.profile()?)?.to_string();
    let (id, name, session) = (client.user().to_string(), client.name().to_owned(), client.session().to_string());
    client.close().await;
    printer.print(
        || json!({ "id": id, "name": name, "session": session, "server": server }),
        || format!("{} (user {id}) at {server}", harmless(&name)),
    )?;
    Ok(())
}

pub(super) async fn change_password(place: &Place, printer: Printer, args: PasswordArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let (old, new) = if args.password_stdin {
        let mut lines = password_lines(2)?;
        let new = lines.remove(1);
        (lines.remove(0), new)
    } else {
        (ask("old password: ")?, ask_twice("new password: ")?)
    };
    client.change_password(&old, &new).await?;
    client.close().await;
    printer.print(
        || json!({ "name": client.name() }),
        || "the password is changed; all other devices are logged out".into(),
    )?;
    Ok(())
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    rpassword::prompt_password(prompt).context("cannot ask for the password on a terminal; use --password-stdin")
}

fn ask_twice(prompt: &str) -> anyhow::Result<String> {
    let password = ask(prompt)?;
    if ask("again: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}

/// One password, from standard input or the terminal.
pub(super) fn password(from_stdin: bool) -> anyhow::Result<String> {
    if from_stdin { Ok(password_lines(1)?.remove(0)) } else { ask("password: ") }
}

fn password_lines(count: usize) -> anyhow::Result<Vec<String>> {
    let bytes_max = (count * (PASSWORD_BYTES_MAX + 2)) as u64;
    let mut lines = io::stdin().lock().take(bytes_max).lines();
    let mut passwords = Vec::new();
    for _ in 0..count {
        passwords.push(lines.next().context("standard input holds no password")??);
    }
    Ok(passwords)
}

/// What the user will recognise this device by.
fn machine_name() -> String {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| fs::read_to_string(path).ok());
    name.unwrap_or_else(|| "terminal".into()).trim().chars().take(DEVICE_CHARS_MAX).collect()
}
