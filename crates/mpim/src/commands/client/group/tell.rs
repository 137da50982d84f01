//! What a group is, and who is in it.

use client::{Client, wire};
use protocol::{GroupId, UserId, limits::MEMBERS_PAGE_MAX};
use serde_json::{Value, json};

use super::WhichArgs;
use crate::commands::client::{
    connection::persist,
    entries::{in_their_words, policy_name, role_name},
    print::{Printer, harmless, local_time, one_line, rfc3339, table},
    profile::user_json,
};

/// Prints a group's members.
pub(super) async fn members(printer: Printer, client: &Client, group: GroupId) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = persist(|| client.members(group, after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = page.members.last() else { return Ok(()) };
        after = last.user.as_ref().map(|user| UserId::new(user.id));
        let rows: Vec<_> = page.members.iter().map(member_row).collect();
        for (member, line) in page.members.iter().zip(table(&rows)) {
            printer.print(|| member_json(member), || line)?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Prints the user's groups.
pub(super) async fn groups(printer: Printer, client: &Client) -> anyhow::Result<()> {
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

fn member_row(member: &wire::Member) -> Vec<String> {
    let name = member.user.as_ref().map_or(String::new(), |user| user.name.clone());
    let muted = match member.muted_until_ms {
        0 => String::new(),
        until => format!("muted until {}", local_time(until)),
    };
    vec![name, role_name(member.role()).into(), member.nickname.clone(), muted]
}

fn member_json(member: &wire::Member) -> Value {
    let user = member.user.clone().unwrap_or_default();
    json!({
        "id": user.id.to_string(),
        "name": user.name,
        "role": role_name(member.role()),
        "nickname": member.nickname,
        "muted_until": time(member.muted_until_ms),
    })
}

/// Prints what a group is.
pub(super) async fn info(printer: Printer, client: &Client, which: WhichArgs) -> anyhow::Result<()> {
    let info = match (which.id, which.link) {
        (Some(group), _) => persist(|| client.group(group)).await?,
        (None, link) => {
            let link = link.unwrap_or_default();
            persist(|| client.group_of_link(&link)).await?
        }
    };
    let group = info.conversation.clone().unwrap_or_default();
    let role = info.me.as_ref().map(|me| role_name(me.role()));
    let json = || {
        json!({
            "id": group.id.to_string(),
            "title": group.title,
            "description": info.description,
            "announcement": info.announcement,
            "join": policy_name(info.join_policy()),
            "admins_invite": info.admins_invite,
            "muted": info.muted,
            "dissolved": info.dissolved,
            "members": info.members,
            "created": rfc3339(info.created_ms),
            "role": role,
        })
    };
    let text = || {
        let mut lines = vec![format!("group {} “{}”, {} members", group.id, harmless(&group.title), info.members)];
        lines.push(format!("joining: {}", policy_name(info.join_policy())));
        lines.extend(role.map(|role| format!("you are: {role}")));
        for (what, text) in [("about", &info.description), ("announcement", &info.announcement)] {
            if !text.is_empty() {
                lines.push(format!("{what}: {}", one_line(text)));
            }
        }
        for (is, what) in [(info.muted, "only owner and admins write"), (info.dissolved, "dissolved")] {
            if is {
                lines.push(what.into());
            }
        }
        lines.join("\n")
    };
    printer.print(json, text)?;
    Ok(())
}

/// Prints who asks to be let in.
pub(super) async fn requests(printer: Printer, client: &Client, group: GroupId) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let requests = persist(|| client.join_requests(group, after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = requests.last() else { return Ok(()) };
        after = last.user.as_ref().map(|user| UserId::new(user.id));
        for request in &requests {
            let user = request.user.clone().unwrap_or_default();
            let (message, asked) = (&request.message, rfc3339(request.time_ms));
            let json = || json!({ "id": user.id.to_string(), "name": user.name, "message": message, "time": asked });
            printer.print(json, || format!("{}{}", harmless(&user.name), in_their_words(message)))?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Prints who may not come back.
pub(super) async fn bans(printer: Printer, client: &Client, group: GroupId) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let users = persist(|| client.bans(group, after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = users.last() else { return Ok(()) };
        after = Some(UserId::new(last.id));
        for user in &users {
            printer.print(|| user_json(user), || harmless(&user.name))?;
        }
    }
}

/// Prints a link.
pub(super) fn link(printer: Printer, link: &wire::GroupLink) -> anyhow::Result<()> {
    let json = || {
        json!({
            "code": link.code,
            "group": link.group.to_string(),
            "created": rfc3339(link.created_ms),
            "expires": time(link.expires_ms),
            "uses_max": link.uses_max,
            "uses": link.uses,
        })
    };
    let text = || {
        let until = match link.expires_ms {
            0 => "for good".into(),
            ms => format!("until {}", local_time(ms)),
        };
        format!("{}  {until}, used {} times", harmless(&link.code), link.uses)
    };
    printer.print(json, text)?;
    Ok(())
}

/// `null`: never.
fn time(ms: i64) -> Value {
    if ms == 0 { Value::Null } else { rfc3339(ms).into() }
}
