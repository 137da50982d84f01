//! `group`.

use anyhow::bail;
use clap::{Args, Subcommand};
use client::{Client, wire};
use protocol::{EntryId, GroupId, UserId, limits::MEMBERS_PAGE_MAX};
use serde_json::json;

use crate::commands::client::{
    connection::{Place, persist},
    print::{Printer, harmless, table},
};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group.
    ///
    /// JSON: id, title.
    Create(CreateArgs),
    /// Enter a group that is open to all who know its id.
    ///
    /// JSON: id, title.
    Join {
        /// The group's id
        id: GroupId,
    },
    /// Leave a group.
    Leave {
        /// The group's id
        id: GroupId,
    },
    /// Bring users into a group.
    Invite {
        /// The group's id
        id: GroupId,
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List a group's members.
    ///
    /// JSON: id, name, role ("owner", "member").
    Members {
        /// The group's id
        id: GroupId,
    },
    /// List the groups one is a member of, those that moved last first.
    ///
    /// JSON: id, title, last_position, unread.
    List,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The group's title
    title: String,
    /// A member beside oneself; may be given several times
    #[arg(long = "member", value_name = "NAME")]
    members: Vec<String>,
    /// Members bring in others; nobody joins alone. Without it, whoever knows or guesses the group's id may join
    #[arg(long)]
    invite_only: bool,
}

pub(super) async fn run(place: &Place, printer: Printer, command: GroupCommand) -> anyhow::Result<()> {
    let client = place.connect().await?;
    // The same in every try, so that what is tried twice happens once.
    let id = EntryId::generate();
    match command {
        GroupCommand::Create(args) => {
            let members = find(&client, &args.members).await?;
            let policy = if args.invite_only { wire::JoinPolicy::ByInvitation } else { wire::JoinPolicy::Open };
            let group = persist(|| client.create_group(&args.title, &members, policy, id)).await?;
            print_group(printer, &group, "made")?;
        }
        GroupCommand::Join { id: group } => {
            let group = persist(|| client.join_group(group, id)).await?;
            print_group(printer, &group.conversation.unwrap_or_default(), "entered")?;
        }
        GroupCommand::Leave { id: group } => {
            persist(|| client.leave_group(group, id)).await?;
            printer.print(|| json!({ "id": group.to_string() }), || format!("left group {group}"))?;
        }
        GroupCommand::Invite { id: group, names } => {
            let users = find(&client, &names).await?;
            persist(|| client.invite(group, &users, id)).await?;
            printer.print(
                || json!({ "id": group.to_string() }),
                || format!("brought {} into group {group}", harmless(&names.join(", "))),
            )?;
        }
        GroupCommand::Members { id: group } => print_members(printer, &client, group).await?,
        GroupCommand::List => print_groups(printer, &client).await?,
    }
    client.close().await;
    Ok(())
}

fn print_group(printer: Printer, group: &wire::Conversation, done: &str) -> anyhow::Result<()> {
    printer.print(
        || json!({ "id": group.id.to_string(), "title": group.title }),
        || format!("{done} group {} “{}”", group.id, harmless(&group.title)),
    )?;
    Ok(())
}

async fn print_members(printer: Printer, client: &Client, group: GroupId) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = persist(|| client.members(group, after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = page.members.last() else { return Ok(()) };
        after = last.user.as_ref().map(|user| UserId::new(user.id));
        let members: Vec<_> = page
            .members
            .iter()
            .map(|member| {
                let user = member.user.clone().unwrap_or_default();
                let role = if member.role() == wire::Role::Owner { "owner" } else { "member" };
                (user, role)
            })
            .collect();
        let rows: Vec<_> = members.iter().map(|(user, role)| vec![user.name.clone(), (*role).into()]).collect();
        for ((user, role), line) in members.iter().zip(table(&rows)) {
            printer.print(|| json!({ "id": user.id.to_string(), "name": user.name, "role": role }), || line)?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn print_groups(printer: Printer, client: &Client) -> anyhow::Result<()> {
    let mut pages = client.heads();
    while let Some(heads) = pages.next().await? {
        let is_group =
            |head: &wire::Head| head.conversation.as_ref().is_some_and(|c| c.kind() == wire::ConversationKind::Group);
        let groups: Vec<_> = heads.into_iter().filter(is_group).collect();
        let rows: Vec<Vec<String>> = groups
            .iter()
            .map(|head| {
                let group = head.conversation.clone().unwrap_or_default();
                let unread = if head.unread > 0 { format!("{} unread", head.unread) } else { String::new() };
                vec![group.id.to_string(), group.title, unread]
            })
            .collect();
        for (head, line) in groups.iter().zip(table(&rows)) {
            let group = head.conversation.clone().unwrap_or_default();
            let json = || {
                json!({
                    "id": group.id.to_string(),
                    "title": group.title,
                    "last_position": head.last_position,
                    "unread": head.unread,
                })
            };
            printer.print(json, || line)?;
        }
    }
    Ok(())
}

/// The users of these names, all of them.
async fn find(client: &Client, names: &[String]) -> anyhow::Result<Vec<UserId>> {
    let mut users = Vec::with_capacity(names.len());
    for name in names {
        // One by one, as an answer bears names as their owners write them, not as they were asked for.
        match persist(|| client.find_users(std::slice::from_ref(name))).await?.first() {
            Some(user) => users.push(UserId::new(user.id)),
            None => bail!("there is no user {name:?}"),
        }
    }
    Ok(users)
}
