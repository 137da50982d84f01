//! How entries look.

mod json;
mod text;

use std::{collections::HashMap, sync::Arc};

use client::{Client, wire};
use protocol::UserId;
use wire::content::Kind;

use crate::commands::client::connection::persist;

pub(super) use json::to_json;
pub(super) use text::{called, in_their_words, to_text};

/// Names of users, by id.
pub(super) type Names = HashMap<UserId, Arc<str>>;

/// Everybody whom these entries name.
pub(super) async fn names(client: &Client, entries: &[wire::Entry]) -> anyhow::Result<Names> {
    let users = entries.iter().flat_map(users_of).map(UserId::new).collect::<Vec<_>>();
    persist(|| client.names(&users)).await
}

/// The ids of everybody whom an entry names, its sender first.
pub(super) fn users_of(entry: &wire::Entry) -> Vec<u64> {
    let content = entry.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
    let mut users = vec![entry.sender];
    users.extend(content.mentions.into_iter().flat_map(|mentions| mentions.users));
    users.extend(content.forwarded.map(|forwarded| forwarded.sender));
    match content.kind {
        Some(Kind::GroupCreated(created)) => users.extend(created.members),
        Some(Kind::MembersAdded(added)) => users.extend(added.members),
        Some(Kind::MembersRemoved(removed)) => users.extend(removed.members),
        Some(Kind::MembersMuted(muted)) => users.extend(muted.members),
        Some(Kind::BansLifted(lifted)) => users.extend(lifted.users),
        Some(Kind::RoleChanged(changed)) => users.push(changed.member),
        Some(Kind::OwnerChanged(changed)) => users.push(changed.owner),
        Some(Kind::FriendRequested(asked)) => users.push(asked.user),
        Some(Kind::FriendAdded(added)) => users.push(added.user),
        Some(Kind::FriendRequestClosed(closed)) => users.push(closed.user),
        Some(Kind::FriendRemoved(removed)) => users.push(removed.user),
        Some(Kind::RemarkChanged(changed)) => users.push(changed.user),
        Some(Kind::BlockChanged(changed)) => users.push(changed.user),
        Some(Kind::JoinRequested(asked)) => users.push(asked.user),
        Some(Kind::JoinRequestClosed(closed)) => users.extend([closed.user, closed.by]),
        Some(Kind::Card(wire::Card { of: Some(wire::card::Of::User(user)), .. })) => users.push(user),
        _ => {}
    }
    users.retain(|&user| user != 0);
    users
}

pub(super) fn kind(entry: &wire::Entry) -> Option<Kind> {
    entry.content.as_ref()?.view().ok()?.kind
}

/// The user's name, for scripts; users who are not there any more go by their number.
fn name_of(names: &Names, user: u64) -> String {
    let known = names.get(&UserId::new(user)).filter(|name| !name.is_empty());
    known.map_or_else(|| user.to_string(), ToString::to_string)
}

/// What a role is called.
pub(super) fn role_name(role: wire::Role) -> &'static str {
    match role {
        wire::Role::Member => "member",
        wire::Role::Admin => "admin",
        wire::Role::Owner => "owner",
    }
}

/// What a way of joining is called.
pub(super) fn policy_name(policy: wire::JoinPolicy) -> &'static str {
    match policy {
        wire::JoinPolicy::Open => "open",
        wire::JoinPolicy::ByInvitation => "invitation",
        wire::JoinPolicy::ByApproval => "approval",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(content: Kind) -> wire::Entry {
        wire::Entry { position: 3, id: "i".into(), sender: 1, time_ms: 0, content: Some(content.into()) }
    }

    fn names() -> Names {
        [(UserId::new(1), "alice".into()), (UserId::new(2), "小明".into())].into()
    }

    fn shown(entry: &wire::Entry, from: &str, indent: usize) -> String {
        to_text(entry, from, &names(), indent).unwrap()
    }

    #[test]
    fn what_is_not_for_this_reader_is_not_shown_to_people() {
        assert_eq!(to_text(&entry(Kind::Hidden(wire::Hidden {})), "alice", &names(), 0), None);
    }

    #[test]
    fn a_message_has_the_members_that_scripts_rely_on() {
        let json = to_json(7, "direct", &entry(Kind::Text(wire::Text { body: "hi".into() })), &names());
        let expected = json!({
            "conversation": "7", "kind": "direct", "position": 3, "id": "i", "from": "alice", "text": "hi",
            "time": "1970-01-01T00:00:00.000Z",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_happens_to_members_has_no_text_but_an_event() {
        let added = entry(Kind::MembersAdded(wire::MembersAdded { members: vec![2, 9] }));
        let json = to_json(7, "group", &added, &names());
        assert_eq!((&json["text"], &json["event"]), (&Value::Null, &json!("members_added")));
        assert_eq!(json["members"], json!(["小明", "9"]));
        assert_eq!(shown(&added, "you", 0), "* you brought in 小明, deleted account 9");
    }

    #[test]
    fn a_text_cannot_pretend_to_be_something_that_happened() {
        let text = entry(Kind::Text(wire::Text { body: "x\n* bob left\x1b[2J".into() }));
        assert_eq!(shown(&text, "alice", 2), "alice: x\n  * bob left\u{241b}[2J");
    }

    #[test]
    fn what_belongs_to_a_message_names_it() {
        let content = Some(Box::new(client::text("new")));
        let edit = entry(Kind::Edit(wire::Edit { position: 2, content }));
        let json = to_json(7, "direct", &edit, &names());
        assert_eq!((&json["text"], &json["event"], &json["target"]), (&json!("new"), &json!("edit"), &json!(2)));
        assert_eq!(shown(&edit, "alice", 2), "* alice changed message 2 to: new");
        let reaction = wire::Reaction { position: 2, reaction: "👍".into(), removed: true };
        let json = to_json(7, "direct", &entry(Kind::Reaction(reaction)), &names());
        assert_eq!((&json["text"], &json["event"]), (&Value::Null, &json!("reaction")));
        assert_eq!((&json["reaction"], &json["removed"]), (&json!("👍"), &json!(true)));
    }

    #[test]
    fn a_reply_tells_what_it_answers_and_whom_it_addresses() {
        let content = wire::Content {
            kind: Some(Kind::Text(wire::Text { body: "yes".into() })),
            reply_to: 2,
            mentions: Some(wire::Mentions { users: vec![2], everyone: true }),
            forwarded: None,
        };
        let reply = wire::Entry { content: Some(content.into()), ..entry(Kind::Recalled(wire::Recalled {})) };
        let json = to_json(7, "group", &reply, &names());
        assert_eq!((&json["reply_to"], &json["mentions"]), (&json!(2), &json!(["小明"])));
        assert_eq!(json["everyone"], true);
        assert_eq!(shown(&reply, "alice", 2), "alice (to 2): yes");
    }

    #[test]
    fn what_has_no_words_ends_without_a_colon() {
        let alone = wire::GroupCreated { title: "茶".into(), members: Vec::new() };
        assert_eq!(shown(&entry(Kind::GroupCreated(alone)), "you", 0), "* you made the group “茶”");
        let recalled = wire::Edit { position: 8, content: None };
        assert_eq!(shown(&entry(Kind::Edit(recalled)), "alice", 0), "* alice changed message 8");
        let asked = wire::FriendRequested { user: 2, message: String::new(), received: true };
        assert_eq!(shown(&entry(Kind::FriendRequested(asked)), "", 0), "* 小明 asks to be friends");
        let announced = wire::GroupChanged { announcement: Some("a\r\nb".into()), ..Default::default() };
        let told = shown(&entry(Kind::GroupChanged(announced)), "alice", 0);
        assert_eq!(told, "* alice changed the group: announcement “a b”");
    }

    #[test]
    fn changes_of_a_group_name_what_changed() {
        let change = wire::GroupChanged { title: Some("茶".into()), muted: Some(true), ..Default::default() };
        let json = to_json(7, "group", &entry(Kind::GroupChanged(change)), &names());
        assert_eq!(
            (&json["event"], &json["title"], &json["muted"]),
            (&json!("group_changed"), &json!("茶"), &json!(true))
        );
        assert!(json.get("description").is_none());
    }
}
