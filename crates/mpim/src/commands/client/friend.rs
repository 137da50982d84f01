//! `friend`.

use clap::Subcommand;
use client::{Client, wire};
use protocol::{UserId, limits::MEMBERS_PAGE_MAX};
use serde_json::json;

use crate::commands::client::{
    connection::{Place, persist},
    entries::in_their_words,
    print::{Printer, harmless, rfc3339, table},
    target,
};

#[derive(Debug, Subcommand)]
pub(super) enum FriendCommand {
    /// Ask a user to be friends; one who asked already becomes a friend at once.
    Add {
        /// The user's name
        name: String,
        /// For the other to read
        #[arg(default_value = "")]
        message: String,
    },
    /// Accept a request.
    Accept {
        /// The user's name
        name: String,
    },
    /// Refuse a request.
    Refuse {
        /// The user's name
        name: String,
    },
    /// Take back one's own request.
    Withdraw {
        /// The user's name
        name: String,
    },
    /// List friends, requests, remarks and those who are blocked.
    ///
    /// JSON: id, name, display_name, friend, request (null, "sent", "received"), message, remark, blocked, changed.
    List,
    /// End a friendship, on both sides.
    Remove {
        /// The user's name
        name: String,
    },
    /// Keep what a user writes from arriving; nothing tells them.
    Block {
        /// The user's name
        name: String,
    },
    /// Let a user's messages arrive again.
    Unblock {
        /// The user's name
        name: String,
    },
    /// Give a user a name that only you see; without one, take it away.
    Remark {
        /// The user's name
        name: String,
        /// What you call them
        #[arg(default_value = "")]
        remark: String,
    },
}

pub(super) async fn run(place: &Place, printer: Printer, command: FriendCommand) -> anyhow::Result<()> {
    use FriendCommand::{Accept, Add, Block, List, Refuse, Remark, Remove, Unblock, Withdraw};
    let client = place.connect().await?;
    let id = target::once();
    let (name, done) = match command {
        List => {
            list(printer, &client).await?;
            client.close().await;
            return Ok(());
        }
        Add { name, message } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.request_friend(user, &message, id)).await?;
            (name, "asked")
        }
        Accept { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.answer_friend(user, true, id)).await?;
            (name, "accepted")
        }
        Refuse { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.answer_friend(user, false, id)).await?;
            (name, "refused")
        }
        Withdraw { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.withdraw_friend(user, id)).await?;
            (name, "no longer ask")
        }
        Remove { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.remove_friend(user, id)).await?;
            (name, "removed")
        }
        Block { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.set_blocked(user, true, id)).await?;
            (name, "blocked")
        }
        Unblock { name } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.set_blocked(user, false, id)).await?;
            (name, "unblocked")
        }
        Remark { name, remark } => {
            let user = target::user_id(&client, &name).await?;
            persist(|| client.set_remark(user, &remark, id)).await?;
            (name, if remark.is_empty() { "no remark for" } else { "remark kept for" })
        }
    };
    client.close().await;
    printer.print(|| json!({ "name": name }), || format!("{done} {}", harmless(&name)))?;
    Ok(())
}

async fn list(printer: Printer, client: &Client) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let contacts = persist(|| client.contacts(after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = contacts.last() else { return Ok(()) };
        after = last.user.as_ref().map(|user| UserId::new(user.id));
        let rows: Vec<_> = contacts.iter().map(row).collect();
        for (contact, line) in contacts.iter().zip(table(&rows)) {
            printer.print(|| contact_json(contact), || line)?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

fn row(contact: &wire::Contact) -> Vec<String> {
    let user = contact.user.clone().unwrap_or_default();
    let mut what = Vec::new();
    match contact.request() {
        wire::FriendRequest::NoRequest => {}
        wire::FriendRequest::Sent => what.push("asked by you".to_owned()),
        wire::FriendRequest::Received => what.push(format!("asks{}", in_their_words(&contact.message))),
    }
    if contact.friend {
        what.push("friend".into());
    }
    if contact.blocked {
        what.push("blocked".into());
    }
    vec![user.name, contact.remark.clone(), what.join(", ")]
}

fn contact_json(contact: &wire::Contact) -> serde_json::Value {
    let user = contact.user.clone().unwrap_or_default();
    let request = match contact.request() {
        wire::FriendRequest::NoRequest => None,
        wire::FriendRequest::Sent => Some("sent"),
        wire::FriendRequest::Received => Some("received"),
    };
    json!({
        "id": user.id.to_string(),
        "name": user.name,
        "display_name": user.display_name,
        "friend": contact.friend,
        "request": request,
        "message": contact.message,
        "remark": contact.remark,
        "blocked": contact.blocked,
        "changed": rfc3339(contact.changed_ms),
    })
}
