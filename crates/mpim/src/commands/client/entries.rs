//! How entries look.

use std::{collections::HashMap, sync::Arc};

use client::{Client, wire};
use protocol::UserId;
use serde_json::{Value, json};
use wire::content::Kind;

use crate::commands::client::{
    connection::persist,
    print::{harmless, harmless_lines, rfc3339},
};

/// Names of users, by id.
pub(super) type Names = HashMap<UserId, Arc<str>>;

/// Everybody whom these entries name.
pub(super) async fn names(client: &Client, entries: &[wire::Entry]) -> anyhow::Result<Names> {
    let mut users = Vec::new();
    for entry in entries {
        users.push(UserId::new(entry.sender));
        match kind(entry) {
            Some(Kind::GroupCreated(created)) => users.extend(created.members.into_iter().map(UserId::new)),
            Some(Kind::MembersAdded(added)) => users.extend(added.members.into_iter().map(UserId::new)),
            _ => {}
        }
    }
    persist(|| client.names(&users)).await
}

pub(super) fn kind(entry: &wire::Entry) -> Option<Kind> {
    entry.content.as_ref()?.view().ok()?.kind
}

/// The user's name; users who are not there any more go by their number.
pub(super) fn name_of(names: &Names, user: u64) -> String {
    names.get(&UserId::new(user)).map_or_else(|| user.to_string(), ToString::to_string)
}

/// An entry for scripts.
pub(super) fn to_json(conversation: u64, kind_name: &str, entry: &wire::Entry, names: &Names) -> Value {
    let mut json = json!({
        "conversation": conversation.to_string(),
        "kind": kind_name,
        "position": entry.position,
        "id": entry.id,
        "from": name_of(names, entry.sender),
        "text": null,
        "time": rfc3339(entry.time_ms),
    });
    let members = |members: &[u64]| members.iter().map(|&user| name_of(names, user)).collect::<Vec<_>>();
    let content = kind(entry);
    match &content {
        Some(Kind::Text(text)) => json["text"] = text.body.as_str().into(),
        Some(Kind::GroupCreated(created)) => {
            json["title"] = created.title.as_str().into();
            json["members"] = members(&created.members).into();
        }
        Some(Kind::MembersAdded(added)) => json["members"] = members(&added.members).into(),
        _ => {}
    }
    if let Some(event) = event_name(content.as_ref()) {
        json["event"] = event.into();
    }
    json
}

/// What happened, if it is not a text.
fn event_name(content: Option<&Kind>) -> Option<&'static str> {
    Some(match content {
        Some(Kind::Text(_)) => return None,
        Some(Kind::GroupCreated(_)) => "group_created",
        Some(Kind::MembersAdded(_)) => "members_added",
        Some(Kind::MemberJoined(_)) => "member_joined",
        Some(Kind::MemberLeft(_)) => "member_left",
        Some(Kind::GroupEntered(_)) => "group_entered",
        Some(Kind::GroupExited(_)) => "group_exited",
        Some(Kind::SessionStarted(_)) => "session_started",
        Some(Kind::SessionEnded(_)) => "session_ended",
        Some(Kind::PasswordChanged(_)) => "password_changed",
        _ => "unknown",
    })
}

/// What an entry says, for people: `from` is the sender as the reader calls them.
pub(super) fn to_text(entry: &wire::Entry, from: &str, names: &Names, indent: usize) -> String {
    let from = harmless(from);
    let members = |members: &[u64]| {
        let names: Vec<_> = members.iter().map(|&user| harmless(&name_of(names, user))).collect();
        names.join(", ")
    };
    match kind(entry) {
        Some(Kind::Text(text)) => format!("{from}: {}", harmless_lines(&text.body, indent)),
        Some(Kind::GroupCreated(created)) => {
            format!("* {from} made the group “{}” with {}", harmless(&created.title), members(&created.members))
        }
        Some(Kind::MembersAdded(added)) => format!("* {from} brought in {}", members(&added.members)),
        Some(Kind::MemberJoined(_)) => format!("* {from} joined"),
        Some(Kind::MemberLeft(_)) => format!("* {from} left"),
        Some(Kind::GroupEntered(entered)) => format!("* you are a member of group {}", entered.group),
        Some(Kind::GroupExited(exited)) => format!("* you are no longer a member of group {}", exited.group),
        Some(Kind::SessionStarted(started)) => {
            format!("* session {} was started on “{}”", started.session, harmless(&started.device))
        }
        Some(Kind::SessionEnded(ended)) => format!("* session {} was ended", ended.session),
        Some(Kind::PasswordChanged(_)) => "* the password was changed".into(),
        _ => format!("* {from} did something that this version does not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: Kind) -> wire::Entry {
        wire::Entry { position: 3, id: "i".into(), sender: 1, time_ms: 0, content: Some(content.into()) }
    }

    fn names() -> Names {
        [(UserId::new(1), "alice".into()), (UserId::new(2), "小明".into())].into()
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
        assert_eq!(to_text(&added, "you", &names(), 0), "* you brought in 小明, 9");
    }

    #[test]
    fn a_text_cannot_pretend_to_be_something_that_happened() {
        let text = entry(Kind::Text(wire::Text { body: "x\n* bob left\x1b[2J".into() }));
        assert_eq!(to_text(&text, "alice", &names(), 2), "alice: x\n  * bob left\u{241b}[2J");
    }
}
