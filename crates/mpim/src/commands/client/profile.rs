//! `profile`, `settings`, `rename`, `delete-account`, `users`, `report`.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use client::wire;
use protocol::{GroupId, UserId};
use serde_json::json;

use crate::commands::client::{
    account,
    connection::{Place, persist},
    print::{Printer, harmless, rfc3339, table},
    target::{self, Words},
};

/// Users in one page of a search.
const USERS_PAGE: u32 = 50;

#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    #[command(subcommand)]
    command: Option<ProfileCommand>,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Change what others see of you; what is not given stays.
    Set(SetArgs),
}

#[derive(Debug, Args)]
struct SetArgs {
    /// What to show instead of the name; empty: the name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A reference to a picture (https: or mpim:)
    #[arg(long, value_name = "URL")]
    avatar: Option<String>,
    /// What you are up to
    #[arg(long = "status", value_name = "TEXT")]
    status_line: Option<String>,
    /// Your language, such as zh-CN
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Who may write to you and invite you into groups
    #[arg(long, value_name = "WHO")]
    write: Option<Who>,
    /// Whether nobody sees when you are online
    #[arg(long, value_name = "true|false")]
    invisible: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Who {
    Anyone,
    Friends,
}

#[derive(Debug, Args)]
pub(super) struct DeleteAccountArgs {
    /// Read the password from standard input (one line) instead of the terminal
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    /// What names or display names begin with
    search: String,
    /// At most so many users
    #[arg(long, value_name = "N", default_value = "50")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The user's name (with --group: nothing)
    name: Option<String>,
    /// A message of this group
    #[arg(long, value_name = "ID", requires = "message", conflicts_with = "name")]
    group: Option<GroupId>,
    /// The position of a message; without it, the user is reported
    #[arg(long, value_name = "POSITION")]
    message: Option<u64>,
    /// Why
    #[arg(long, value_name = "REASON", default_value = "other")]
    reason: Reason,
    /// In your words
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    Other,
    Spam,
    Abuse,
    Illegal,
    Impersonation,
}

pub(super) async fn profile(place: &Place, printer: Printer, args: ProfileArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let account = match args.command {
        None => persist(|| client.account()).await?,
        Some(ProfileCommand::Set(set)) => {
            let SetArgs { display_name, avatar, status_line, language } = set;
            let changes = wire::UpdateProfile { display_name, avatar, status_line, language };
            persist(|| client.update_profile(changes.clone())).await?
        }
    };
    client.close().await;
    print_account(printer, &account)
}

pub(super) async fn settings(place: &Place, printer: Printer, args: SettingsArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let policy = args.write.map(|who| match who {
        Who::Anyone => wire::WritePolicy::Anyone,
        Who::Friends => wire::WritePolicy::Friends,
    });
    let id = target::once();
    let account = if policy.is_none() && args.invisible.is_none() {
        persist(|| client.account()).await?
    } else {
        persist(|| client.update_settings(policy, args.invisible, id)).await?
    };
    client.close().await;
    print_account(printer, &account)
}

pub(super) async fn rename(place: &Place, printer: Printer, name: String) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let account = client.rename(&name).await?;
    client.close().await;
    print_account(printer, &account)
}

fn print_account(printer: Printer, account: &wire::Account) -> anyhow::Result<()> {
    let user = account.user.clone().unwrap_or_default();
    let policy = if account.write_policy() == wire::WritePolicy::Friends { "friends" } else { "anyone" };
    printer.print(
        || {
            json!({
                "id": user.id.to_string(),
                "name": user.name,
                "display_name": user.display_name,
                "avatar": user.avatar,
                "status_line": user.status_line,
                "language": user.language,
                "write_policy": policy,
                "invisible": account.invisible,
                "created": rfc3339(account.created_ms),
            })
        },
        || {
            let rows = [
                ("name", user.name.as_str()),
                ("display name", &user.display_name),
                ("picture", &user.avatar),
                ("status", &user.status_line),
                ("language", &user.language),
                ("may write to you", policy),
                ("invisible", if account.invisible { "yes" } else { "no" }),
            ];
            table(&rows.map(|(what, is)| vec![what.to_owned(), is.to_owned()])).join("\n")
        },
    )?;
    Ok(())
}

pub(super) async fn delete_account(place: &Place, printer: Printer, args: DeleteAccountArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let password = account::password(args.password_stdin)?;
    client.delete_account(&password).await?;
    let name = client.name().to_owned();
    client.close().await;
    client::Profile::log_out(&*place.profile()?)?;
    printer.print(|| json!({ "name": name }), || format!("the account {} is gone", harmless(&name)))?;
    Ok(())
}

pub(super) async fn users(place: &Place, printer: Printer, args: UsersArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let (mut page, mut left) = (String::new(), args.limit);
    while left > 0 {
        let mut found = persist(|| client.search_users(&args.search, &page, USERS_PAGE)).await?;
        found.users.truncate(left);
        left -= found.users.len();
        let row = |user: &wire::UserInfo| {
            let bot = if user.bot { "bot" } else { "" };
            vec![user.name.clone(), user.display_name.clone(), user.status_line.clone(), bot.into()]
        };
        let rows: Vec<_> = found.users.iter().map(row).collect();
        for (user, line) in found.users.iter().zip(table(&rows)) {
            printer.print(|| user_json(user), || line)?;
        }
        page = found.next_page;
        if page.is_empty() {
            break;
        }
    }
    client.close().await;
    Ok(())
}

/// What everybody may know of a user.
pub(super) fn user_json(user: &wire::UserInfo) -> serde_json::Value {
    json!({
        "id": user.id.to_string(),
        "name": user.name,
        "display_name": user.display_name,
        "status_line": user.status_line,
        "bot": user.bot,
    })
}

pub(super) async fn report(place: &Place, printer: Printer, args: ReportArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let reason = match args.reason {
        Reason::Other => wire::ReportReason::Other,
        Reason::Spam => wire::ReportReason::Spam,
        Reason::Abuse => wire::ReportReason::Abuse,
        Reason::Illegal => wire::ReportReason::Illegal,
        Reason::Impersonation => wire::ReportReason::Impersonation,
    };
    let id = target::once();
    match args.message {
        Some(position) => {
            let words = Words::split(args.group, args.name.into_iter().collect(), &[])?;
            let (conversation, _) = target::conversation(&client, &words.target).await?;
            persist(|| client.report_message(conversation, position, reason, &args.text, id)).await?;
        }
        None => {
            let name = args.name.context("wanted is a NAME, or --message POSITION")?;
            let user: UserId = target::user_id(&client, &name).await?;
            persist(|| client.report_user(user, reason, &args.text, id)).await?;
        }
    }
    client.close().await;
    printer.print(|| json!({ "id": id.to_string() }), || "reported to those who run this server".into())?;
    Ok(())
}
