//! `register`, `login`, `logout`, `whoami`, `passwd`.

use std::{
    fs,
    io::{self, BufRead as _, Read as _},
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use client::{DiskProfile, Error, Profile, Server, Tokens, wire};
use protocol::{
    limits::{DEVICE_CHARS_MAX, PASSWORD_BYTES_MAX},
    name_key,
};
use serde_json::json;

use crate::commands::client::{
    connection::{Place, SessionOver},
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
    let profile = place.profile()?;
    vacant(place, &profile).await?;
    let (server, password) = prepare(place, &profile, &args, true).await?;
    let device = args.device.unwrap_or_else(machine_name);
    let session = client::register(&server, &args.name, &password, &device).await.map_err(or_name_another)?;
    keep(&profile, &server, session, printer, "registered")
}

pub(super) async fn log_in(place: &Place, printer: Printer, args: LogInArgs) -> anyhow::Result<()> {
    let profile = place.profile()?;
    // Whoever logs in again as the same user on this device wants a new session, in place of the old one.
    let same = profile.tokens()?.filter(|tokens| name_key(&tokens.name) == name_key(&args.name));
    if same.is_none() {
        vacant(place, &profile).await?;
    }
    let (server, password) = prepare(place, &profile, &args, false).await?;
    let device = args.device.unwrap_or_else(machine_name);
    let session = client::log_in(&server, &args.name, &password, &device).await.map_err(or_name_another)?;
    let replaced = same.filter(|old| session.user.as_ref().is_some_and(|user| user.id == old.user.get()));
    keep(&profile, &server, session, printer, "logged in")?;
    if let Some(old) = replaced {
        // If it cannot be ended now, it stands in the list of sessions.
        if let Ok(client) = place.connect().await {
            let _ = client.revoke(old.session).await;
            client.close().await;
        }
    }
    Ok(())
}

/// Refuses a profile in which somebody is logged in: the session would live on, and nobody could end it from here.
async fn vacant(place: &Place, profile: &DiskProfile) -> anyhow::Result<()> {
    let Some(tokens) = profile.tokens()? else { return Ok(()) };
    // Where the session has ended by itself, there is nothing to lose.
    match place.as_logged_in().connect().await {
        Ok(client) => client.close().await,
        Err(error) if error.is::<SessionOver>() => return Ok(()),
        Err(_) => {}
    }
    bail!(
        "this profile is logged in as {}: log out first with `mpim client logout`, or name another profile with --profile DIR",
        tokens.name
    )
}

/// Server and password; what is wrong with anything else is said before a password is asked for.
async fn prepare(
    place: &Place,
    profile: &DiskProfile,
    args: &LogInArgs,
    new: bool,
) -> anyhow::Result<(Server, String)> {
    let server = place.server(profile)?;
    if args.password_stdin {
        return Ok((server, password_lines(1)?.remove(0)));
    }
    client::reach(&server).await.map_err(or_name_another)?;
    let password = if new { ask_twice("password: ")? } else { ask("password: ")? };
    Ok((server, password))
}

/// Says how to name another server to whoever cannot reach this one.
fn or_name_another(error: Error) -> anyhow::Error {
    match error {
        Error::Unreachable { .. } => {
            anyhow!("{:#}; is it running? Another server is named with --server URL", anyhow::Error::new(error))
        }
        error => error.into(),
    }
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
        Err(error) if error.is::<SessionOver>() => {}
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
