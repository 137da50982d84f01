//! `bot`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use client::{Client, Target, wire};
use protocol::{GroupId, UserId, limits::PAGE_ENTRIES_MAX};
use serde_json::{Value, json};

use crate::commands::client::{
    connection::{Place, persist},
    print::{Printer, harmless, local_time, rfc3339},
    profile::user_json,
    target,
};

#[derive(Debug, Subcommand)]
pub(super) enum BotCommand {
    /// Make a bot: a user of yours that acts by keys.
    ///
    /// JSON: id, name, display_name, status_line, bot.
    Create {
        /// The bot's name
        name: String,
        /// What to show instead of the name
        #[arg(long, value_name = "NAME", default_value = "")]
        display_name: String,
    },
    /// List your bots.
    ///
    /// JSON: as `create`.
    List,
    /// End a bot for good.
    Delete {
        /// The bot's name
        name: String,
    },
    /// Keys by which a bot acts.
    #[command(subcommand)]
    Key(KeyCommand),
    /// URLs to which the entries of a bot's conversations are posted.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// URLs that post into a conversation as a bot.
    #[command(subcommand)]
    Incoming(IncomingCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key; its secret is told this once.
    ///
    /// JSON: id, label, scopes, created, expires (null: never), secret.
    Create(KeyArgs),
    /// List a bot's keys.
    ///
    /// JSON: as `create`, without the secret.
    List {
        /// The bot's name
        name: String,
    },
    /// End a key; connections with it are closed.
    Revoke {
        /// The bot's name
        name: String,
        /// The key's id, from the list
        key: u64,
    },
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The bot's name
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// What it may be used for; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// For how long; 0: for good
    #[arg(long, value_name = "DAYS", default_value = "0")]
    days: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    Read,
    Write,
    Groups,
    Contacts,
    Profile,
}

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Have entries posted to a URL; the secret that deliveries are signed with is told this once.
    ///
    /// JSON: id, url, created, dead_letters, last_error, secret.
    Create {
        /// The bot's name
        name: String,
        /// https:, or http: where the server allows it
        url: String,
    },
    /// List a bot's webhooks.
    ///
    /// JSON: as `create`, without the secret.
    List {
        /// The bot's name
        name: String,
    },
    /// End a webhook.
    Delete {
        /// The webhook's id
        id: u64,
    },
    /// List the deliveries that were given up.
    ///
    /// JSON: id, conversation, position, time, attempts, error.
    Dead {
        /// The webhook's id
        id: u64,
    },
    /// Try deliveries again that were given up: these, or all.
    Redeliver {
        /// The webhook's id
        id: u64,
        /// Ids from the list of `dead`
        letters: Vec<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum IncomingCommand {
    /// Make a URL that posts as a bot: into its direct conversation with you, or into a group, of which it must be a member.
    /// The URL holds a token, and is told this once.
    ///
    /// JSON: id, conversation, label, created, token, url.
    Create {
        /// The bot's name
        name: String,
        /// Into this group
        #[arg(long, value_name = "ID")]
        group: Option<GroupId>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// List a bot's incoming webhooks.
    ///
    /// JSON: as `create`, without token and url.
    List {
        /// The bot's name
        name: String,
    },
    /// End an incoming webhook.
    Delete {
        /// The webhook's id
        id: u64,
    },
}

pub(super) async fn run(place: &Place, printer: Printer, command: BotCommand) -> anyhow::Result<()> {
    let client = place.connect().await?;
    match command {
        BotCommand::Create { name, display_name } => {
            let id = target::once();
            let bot = persist(|| client.create_bot(&name, &display_name, id)).await?;
            print_bot(printer, &bot)?;
        }
        BotCommand::List => {
            for bot in persist(|| client.bots()).await? {
                print_bot(printer, &bot)?;
            }
        }
        BotCommand::Delete { name } => {
            let bot = find(&client, &name).await?;
            client.delete_bot(bot).await?;
            printer.print(|| json!({ "name": name }), || format!("the bot {} is gone", harmless(&name)))?;
        }
        BotCommand::Key(command) => key(printer, &client, command).await?,
        BotCommand::Webhook(command) => webhook(printer, &client, command).await?,
        BotCommand::Incoming(command) => incoming(place, printer, &client, command).await?,
    }
    client.close().await;
    Ok(())
}

/// One of the user's bots.
async fn find(client: &Client, name: &str) -> anyhow::Result<UserId> {
    let id = target::user_id(client, name).await?;
    let bots = persist(|| client.bots()).await?;
    let own = bots.iter().any(|bot| bot.user.as_ref().is_some_and(|user| user.id == id.get()));
    own.then_some(id).with_context(|| format!("{name:?} is no bot of yours"))
}

fn print_bot(printer: Printer, bot: &wire::Bot) -> anyhow::Result<()> {
    let user = bot.user.clone().unwrap_or_default();
    let text = || format!("{}  {}", harmless(&user.name), harmless(&user.display_name)).trim_end().to_owned();
    printer.print(|| user_json(&user), text)?;
    Ok(())
}

async fn key(printer: Printer, client: &Client, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create(args) => {
            let bot = find(client, &args.name).await?;
            let scopes: Vec<_> = args.scopes.iter().map(|&scope| wire::Scope::from(scope)).collect();
            let (expires_ms, id) = (after_days(args.days), target::once());
            let key = persist(|| client.create_api_key(bot, &args.label, &scopes, expires_ms, id)).await?;
            print_key(printer, &key)?;
        }
        KeyCommand::List { name } => {
            let bot = find(client, &name).await?;
            for key in persist(|| client.api_keys(bot)).await? {
                print_key(printer, &key)?;
            }
        }
        KeyCommand::Revoke { name, key } => {
            let bot = find(client, &name).await?;
            persist(|| client.revoke_api_key(bot, key)).await?;
            printer.print(|| json!({ "id": key.to_string() }), || format!("key {key} is ended"))?;
        }
    }
    Ok(())
}

impl From<Scope> for wire::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Write => Self::Write,
            Scope::Groups => Self::Groups,
            Scope::Contacts => Self::Contacts,
            Scope::Profile => Self::Profile,
        }
    }
}

fn print_key(printer: Printer, key: &wire::ApiKey) -> anyhow::Result<()> {
    let scopes: Vec<String> = key.scopes().map(|scope| scope.as_str_name().to_lowercase()).collect();
    let mut json = json!({
        "id": key.id.to_string(),
        "label": key.label,
        "scopes": scopes,
        "created": rfc3339(key.created_ms),
        "expires": if key.expires_ms == 0 { Value::Null } else { rfc3339(key.expires_ms).into() },
    });
    let mut text = format!("{}  {}  {}", key.id, harmless(&key.label), scopes.join(", "));
    if !key.secret.is_empty() {
        json["secret"] = key.secret.as_str().into();
        text = format!("{text}\n{}", harmless(&key.secret));
    }
    printer.print(|| json, || text)?;
    Ok(())
}

async fn webhook(printer: Printer, client: &Client, command: WebhookCommand) -> anyhow::Result<()> {
    match command {
        WebhookCommand::Create { name, url } => {
            let (bot, id) = (find(client, &name).await?, target::once());
            print_webhook(printer, &persist(|| client.create_webhook(bot, &url, id)).await?)?;
        }
        WebhookCommand::List { name } => {
            let bot = find(client, &name).await?;
            for webhook in persist(|| client.webhooks(bot)).await? {
                print_webhook(printer, &webhook)?;
            }
        }
        WebhookCommand::Delete { id } => {
            persist(|| client.delete_webhook(id)).await?;
            printer.print(|| json!({ "id": id.to_string() }), || format!("webhook {id} is ended"))?;
        }
        WebhookCommand::Dead { id } => dead(printer, client, id).await?,
        WebhookCommand::Redeliver { id, letters } => {
            let none = persist(|| client.dead_letters(id, 0, 1)).await?.is_empty();
            persist(|| client.redeliver(id, &letters)).await?;
            let done = if none { "no delivery was given up" } else { "what was given up is tried again" };
            printer.print(|| json!({ "id": id.to_string() }), || done.into())?;
        }
    }
    Ok(())
}

fn print_webhook(printer: Printer, webhook: &wire::Webhook) -> anyhow::Result<()> {
    let mut json = json!({
        "id": webhook.id.to_string(),
        "url": webhook.url,
        "created": rfc3339(webhook.created_ms),
        "dead_letters": webhook.dead_letters,
        "last_error": webhook.last_error,
    });
    let mut text = format!("{}  {}", webhook.id, harmless(&webhook.url));
    if webhook.dead_letters > 0 {
        text.push_str(&format!("  {} given up", webhook.dead_letters));
    }
    if !webhook.last_error.is_empty() {
        text.push_str(&format!("  last: {}", harmless(&webhook.last_error)));
    }
    if !webhook.secret.is_empty() {
        json["secret"] = webhook.secret.as_str().into();
        text = format!("{text}\n{}", harmless(&webhook.secret));
    }
    printer.print(|| json, || text)?;
    Ok(())
}

async fn dead(printer: Printer, client: &Client, webhook: u64) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let letters = persist(|| client.dead_letters(webhook, after, PAGE_ENTRIES_MAX)).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        after = last.id;
        for letter in &letters {
            let json = || {
                json!({
                    "id": letter.id.to_string(),
                    "conversation": letter.conversation.to_string(),
                    "position": letter.position,
                    "time": rfc3339(letter.time_ms),
                    "attempts": letter.attempts,
                    "error": letter.error,
                })
            };
            let text = || {
                let (time, error) = (local_time(letter.time_ms), harmless(&letter.error));
                format!("{}  {time}  {}/{}  {error}", letter.id, letter.conversation, letter.position)
            };
            printer.print(json, text)?;
        }
    }
}

async fn incoming(place: &Place, printer: Printer, client: &Client, command: IncomingCommand) -> anyhow::Result<()> {
    match command {
        IncomingCommand::Create { name, group, label } => {
            let (bot, id) = (find(client, &name).await?, target::once());
            let target = group.map_or(Target::Name(name), |group| Target::Conversation(group.conversation()));
            let (conversation, _) = target::conversation(client, &target).await?;
            let webhook = persist(|| client.create_incoming_webhook(bot, conversation, &label, id)).await?;
            print_incoming(printer, &webhook, &place.http()?)?;
        }
        IncomingCommand::List { name } => {
            let bot = find(client, &name).await?;
            for webhook in persist(|| client.incoming_webhooks(bot)).await? {
                print_incoming(printer, &webhook, "")?;
            }
        }
        IncomingCommand::Delete { id } => {
            persist(|| client.delete_incoming_webhook(id)).await?;
            printer.print(|| json!({ "id": id.to_string() }), || format!("incoming webhook {id} is ended"))?;
        }
    }
    Ok(())
}

/// `server` is needed for a webhook whose token is told.
fn print_incoming(printer: Printer, webhook: &wire::IncomingWebhook, server: &str) -> anyhow::Result<()> {
    let mut json = json!({
        "id": webhook.id.to_string(),
        "conversation": webhook.conversation.to_string(),
        "label": webhook.label,
        "created": rfc3339(webhook.created_ms),
    });
    let mut text = format!("{}  conversation {}  {}", webhook.id, webhook.conversation, harmless(&webhook.label));
    if !webhook.token.is_empty() {
        let url = format!("{server}/api/v1/hooks/{}", webhook.token);
        text = format!("{text}\n{}", harmless(&url));
        json["token"] = webhook.token.as_str().into();
        json["url"] = url.into();
    }
    printer.print(|| json, || text)?;
    Ok(())
}

/// So many days from now, in milliseconds since 1970; 0 for none.
fn after_days(days: u32) -> i64 {
    if days == 0 {
        return 0;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + Duration::from_secs(86_400) * days).as_millis() as i64
}
