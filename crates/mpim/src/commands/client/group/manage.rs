//! What changes a group.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use client::{Client, wire};
use protocol::EntryId;
use serde_json::json;

use super::{GroupCommand, JoinArgs, LinkCommand, Role, SetArgs, tell};
use crate::commands::client::{
    connection::persist,
    print::{Printer, harmless},
    target,
};

pub(super) async fn run(printer: Printer, client: &Client, command: GroupCommand) -> anyhow::Result<()> {
    use GroupCommand::{
        Admit, Create, Dissolve, Info, Invite, Join, Leave, Link, List, Members, Mute, Nickname, Refuse, Remove,
        Requests, Role as SetRole, Set, Transfer, Unban,
    };
    // The same in every try, so that what is tried twice happens once.
    let id = target::once();
    let (group, done) = match command {
        Create(args) => {
            if !args.others.is_empty() {
                let wanted = "members are named with --member NAME, and a title of several words is written in quotes";
                bail!("wanted is TITLE and nothing after it: {wanted}");
            }
            let members = target::users(client, &args.members).await?;
            let group = persist(|| client.create_group(&args.title, &members, args.join.into(), id)).await?;
            printer.print(
                || json!({ "id": group.id.to_string(), "title": group.title }),
                || format!("made group {} “{}”", group.id, harmless(&group.title)),
            )?;
            return Ok(());
        }
        Join(args) => return join(printer, client, args, id).await,
        Link(command) => return link(printer, client, command, id).await,
        Leave { id: group } => {
            persist(|| client.leave_group(group, id)).await?;
            (group, format!("left group {group}"))
        }
        Invite { id: group, names } => {
            let users = target::users(client, &names).await?;
            persist(|| client.invite(group, &users, id)).await?;
            (group, format!("brought {} into group {group}", names.join(", ")))
        }
        Remove { id: group, names, ban } => {
            let users = target::users(client, &names).await?;
            persist(|| client.remove_members(group, &users, ban, id)).await?;
            let done = if ban { "banned" } else { "removed" };
            (group, format!("{done} {} from group {group}", names.join(", ")))
        }
        Unban { id: group, names } => {
            let users = target::users(client, &names).await?;
            persist(|| client.lift_bans(group, &users, id)).await?;
            (group, format!("{} may come back to group {group}", names.join(", ")))
        }
        Set(args) => {
            let SetArgs { id: group, title, description, avatar, announcement, join, admins_invite, muted } = args;
            let join_policy = join.map(|join| wire::JoinPolicy::from(join).into());
            let change =
                wire::GroupChanged { title, description, avatar, announcement, join_policy, admins_invite, muted };
            persist(|| client.update_group(group, change.clone(), id)).await?;
            (group, format!("changed group {group}"))
        }
        SetRole { id: group, name, role } => {
            let user = target::user_id(client, &name).await?;
            let (role, called) = match role {
                Role::Admin => (wire::Role::Admin, "an admin"),
                Role::Member => (wire::Role::Member, "a member"),
            };
            persist(|| client.set_role(group, user, role, id)).await?;
            (group, format!("{name} is {called} of group {group}"))
        }
        Transfer { id: group, name } => {
            let user = target::user_id(client, &name).await?;
            persist(|| client.transfer_group(group, user, id)).await?;
            (group, format!("{name} is the owner of group {group}"))
        }
        Mute { id: group, names, minutes } => {
            let users = target::users(client, &names).await?;
            let until_ms = later(Duration::from_secs(60) * minutes);
            persist(|| client.mute_members(group, &users, until_ms, id)).await?;
            let names = names.join(", ");
            let done = match minutes {
                0 => format!("{names} may write again in group {group}"),
                _ => format!("{names} may not write in group {group} for {minutes} minutes"),
            };
            (group, done)
        }
        Nickname { id: group, nickname } => {
            persist(|| client.set_nickname(group, &nickname, id)).await?;
            (group, format!("your nickname in group {group} is “{nickname}”"))
        }
        Dissolve { id: group } => {
            persist(|| client.dissolve_group(group, id)).await?;
            (group, format!("dissolved group {group}"))
        }
        Admit { id: group, name } => {
            let user = target::user_id(client, &name).await?;
            persist(|| client.answer_join(group, user, true, id)).await?;
            (group, format!("let {name} into group {group}"))
        }
        Refuse { id: group, name } => {
            let user = target::user_id(client, &name).await?;
            persist(|| client.answer_join(group, user, false, id)).await?;
            (group, format!("did not let {name} into group {group}"))
        }
        Members { .. } | List | Info(_) | Requests { .. } => unreachable!("they change nothing, and were told before"),
    };
    printer.print(|| json!({ "id": group.to_string() }), || harmless(&done))?;
    Ok(())
}

async fn join(printer: Printer, client: &Client, args: JoinArgs, id: EntryId) -> anyhow::Result<()> {
    let joined = match (args.which.id, args.which.link) {
        (Some(group), _) => persist(|| client.ask_to_join(group, &args.message, id)).await?,
        (None, link) => {
            let link = link.unwrap_or_default();
            persist(|| client.join_by_link(&link, id)).await?
        }
    };
    let group = joined.conversation.unwrap_or_default();
    let done = if joined.waiting { "asked to enter" } else { "entered" };
    printer.print(
        || json!({ "id": group.id.to_string(), "title": group.title, "waiting": joined.waiting }),
        || format!("{done} group {} “{}”", group.id, harmless(&group.title)),
    )?;
    Ok(())
}

async fn link(printer: Printer, client: &Client, command: LinkCommand, id: EntryId) -> anyhow::Result<()> {
    match command {
        LinkCommand::Create { id: group, hours, uses } => {
            let expires_ms = later(Duration::from_secs(3_600) * hours);
            let link = persist(|| client.create_group_link(group, expires_ms, uses, id)).await?;
            tell::link(printer, &link)?;
        }
        LinkCommand::List { id: group } => {
            for link in persist(|| client.group_links(group)).await? {
                tell::link(printer, &link)?;
            }
        }
        LinkCommand::Revoke { id: group, code } => {
            persist(|| client.revoke_group_link(group, &code)).await?;
            printer.print(|| json!({ "code": code }), || "nobody joins by this link any more".into())?;
        }
    }
    Ok(())
}

/// So long from now, in milliseconds since 1970; 0 for no time.
fn later(time: Duration) -> i64 {
    if time.is_zero() {
        return 0;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + time).as_millis() as i64
}
