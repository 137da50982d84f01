//! Entries for scripts.

use client::wire;
use serde_json::{Map, Value, json};
use wire::content::Kind;

use super::{Names, name_of, policy_name, role_name};
use crate::commands::client::print::rfc3339;

/// An entry for scripts.
pub(in crate::commands::client) fn to_json(
    conversation: u64,
    kind_name: &str,
    entry: &wire::Entry,
    names: &Names,
) -> Value {
    let mut json = json!({
        "conversation": conversation.to_string(),
        "kind": kind_name,
        "position": entry.position,
        "id": entry.id,
        "from": name_of(names, entry.sender),
        "text": null,
        "time": rfc3339(entry.time_ms),
    });
    let content = entry.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
    let Some(members) = json.as_object_mut() else { return json };
    if content.reply_to > 0 {
        members.insert("reply_to".into(), content.reply_to.into());
    }
    if let Some(mentions) = &content.mentions {
        let users: Vec<_> = mentions.users.iter().map(|&user| name_of(names, user)).collect();
        members.insert("mentions".into(), users.into());
        if mentions.everyone {
            members.insert("everyone".into(), true.into());
        }
    }
    if let Some(forwarded) = &content.forwarded {
        let of = json!({ "from": name_of(names, forwarded.sender), "time": rfc3339(forwarded.time_ms) });
        members.insert("forwarded".into(), of);
    }
    let told = match &content.kind {
        Some(kind) => members_of(kind, names),
        None => json!({ "event": "unknown" }),
    };
    if let Value::Object(told) = told {
        members.extend(told);
    }
    json
}

/// What an entry tells: `event` is what happened, if it is not a text.
fn members_of(kind: &Kind, names: &Names) -> Value {
    let name = |user: u64| name_of(names, user);
    let all = |users: &[u64]| users.iter().map(|&user| name(user)).collect::<Vec<_>>();
    match kind {
        Kind::Text(text) => json!({ "text": text.body }),
        Kind::Link(link) => json!({
            "event": "link", "url": link.url, "title": link.title, "description": link.description, "image": link.image,
        }),
        Kind::Card(card) => match card.of {
            Some(wire::card::Of::User(user)) => {
                json!({ "event": "card", "user": name(user), "title": card.title, "avatar": card.avatar })
            }
            Some(wire::card::Of::Group(group)) => {
                json!({ "event": "card", "group": group.to_string(), "title": card.title, "avatar": card.avatar })
            }
            None => json!({ "event": "card", "title": card.title }),
        },
        Kind::Custom(custom) => {
            json!({ "event": "custom", "type": custom.r#type, "json": custom.json, "fallback": custom.fallback })
        }
        Kind::Opaque(opaque) => json!({ "event": "opaque", "type": opaque.r#type }),
        Kind::Recalled(_) => json!({ "event": "recalled" }),
        Kind::Hidden(_) => json!({ "event": "hidden" }),
        Kind::GroupCreated(created) => {
            json!({ "event": "group_created", "title": created.title, "members": all(&created.members) })
        }
        Kind::MembersAdded(added) => json!({ "event": "members_added", "members": all(&added.members) }),
        Kind::MemberJoined(_) => json!({ "event": "member_joined" }),
        Kind::MemberLeft(_) => json!({ "event": "member_left" }),
        Kind::MembersRemoved(removed) => {
            json!({ "event": "members_removed", "members": all(&removed.members), "banned": removed.banned })
        }
        Kind::BansLifted(lifted) => json!({ "event": "bans_lifted", "users": all(&lifted.users) }),
        Kind::RoleChanged(changed) => {
            json!({ "event": "role_changed", "member": name(changed.member), "role": role_name(changed.role()) })
        }
        Kind::OwnerChanged(changed) => json!({ "event": "owner_changed", "owner": name(changed.owner) }),
        Kind::MembersMuted(muted) => {
            json!({ "event": "members_muted", "members": all(&muted.members), "until": time(muted.until_ms) })
        }
        Kind::GroupChanged(changed) => group_changed(changed),
        Kind::NicknameChanged(changed) => json!({ "event": "nickname_changed", "nickname": changed.nickname }),
        Kind::GroupDissolved(_) => json!({ "event": "group_dissolved" }),
        Kind::Edit(edit) => {
            let text = edit.content.as_ref().and_then(|content| content.text());
            json!({ "event": "edit", "text": text, "target": edit.position })
        }
        Kind::Recall(recall) => json!({ "event": "recall", "target": recall.position }),
        Kind::Reaction(reaction) => json!({
            "event": "reaction",
            "target": reaction.position,
            "reaction": reaction.reaction,
            "removed": reaction.removed,
        }),
        Kind::Pin(pin) => json!({ "event": "pin", "target": pin.position, "removed": pin.removed }),
        personal => personal_members(personal, names),
    }
}

/// Of the personal log.
fn personal_members(kind: &Kind, names: &Names) -> Value {
    let name = |user: u64| name_of(names, user);
    match kind {
        Kind::GroupEntered(entered) => json!({ "event": "group_entered", "group": entered.group.to_string() }),
        Kind::GroupExited(exited) => {
            json!({ "event": "group_exited", "group": exited.group.to_string(), "removed": exited.removed })
        }
        Kind::SessionStarted(started) => {
            json!({ "event": "session_started", "session": started.session.to_string(), "device": started.device })
        }
        Kind::SessionEnded(ended) => json!({ "event": "session_ended", "session": ended.session.to_string() }),
        Kind::PasswordChanged(_) => json!({ "event": "password_changed" }),
        Kind::ProfileChanged(changed) => {
            let user = changed.user.clone().unwrap_or_default();
            json!({ "event": "profile_changed", "name": user.name, "display_name": user.display_name })
        }
        Kind::SettingsChanged(changed) => {
            let friends = changed.write_policy() == wire::WritePolicy::Friends;
            let policy = if friends { "friends" } else { "anyone" };
            json!({ "event": "settings_changed", "write_policy": policy, "invisible": changed.invisible })
        }
        Kind::FriendRequested(asked) => json!({
            "event": "friend_requested",
            "user": name(asked.user),
            "message": asked.message,
            "received": asked.received,
        }),
        Kind::FriendAdded(added) => json!({ "event": "friend_added", "user": name(added.user) }),
        Kind::FriendRequestClosed(closed) => json!({
            "event": "friend_request_closed",
            "user": name(closed.user),
            "withdrawn": closed.withdrawn,
            "received": closed.received,
        }),
        Kind::FriendRemoved(removed) => {
            json!({ "event": "friend_removed", "user": name(removed.user), "by_peer": removed.by_peer })
        }
        Kind::RemarkChanged(changed) => {
            json!({ "event": "remark_changed", "user": name(changed.user), "remark": changed.remark })
        }
        Kind::BlockChanged(changed) => {
            json!({ "event": "block_changed", "user": name(changed.user), "blocked": changed.blocked })
        }
        Kind::ConversationChanged(changed) => {
            json!({ "event": "conversation_changed", "of": changed.conversation.to_string() })
        }
        Kind::DraftChanged(changed) => {
            let draft = changed.draft.as_ref().map_or("", |draft| &draft.text);
            json!({ "event": "draft_changed", "of": changed.conversation.to_string(), "draft": draft })
        }
        Kind::MessagesDeleted(deleted) => json!({
            "event": "messages_deleted",
            "of": deleted.conversation.to_string(),
            "targets": deleted.positions,
            "up_to": deleted.up_to,
        }),
        Kind::JoinRequested(asked) => json!({
            "event": "join_requested",
            "group": asked.group.to_string(),
            "user": name(asked.user),
            "message": asked.message,
        }),
        Kind::JoinRequestClosed(closed) => json!({
            "event": "join_request_closed",
            "group": closed.group.to_string(),
            "user": name(closed.user),
            "admitted": closed.admitted,
        }),
        // The kinds of conversations, which were told before.
        Kind::Text(_)
        | Kind::Link(_)
        | Kind::Card(_)
        | Kind::Custom(_)
        | Kind::Opaque(_)
        | Kind::Recalled(_)
        | Kind::Hidden(_)
        | Kind::GroupCreated(_)
        | Kind::MembersAdded(_)
        | Kind::MemberJoined(_)
        | Kind::MemberLeft(_)
        | Kind::MembersRemoved(_)
        | Kind::BansLifted(_)
        | Kind::RoleChanged(_)
        | Kind::OwnerChanged(_)
        | Kind::MembersMuted(_)
        | Kind::GroupChanged(_)
        | Kind::NicknameChanged(_)
        | Kind::GroupDissolved(_)
        | Kind::Edit(_)
        | Kind::Recall(_)
        | Kind::Reaction(_)
        | Kind::Pin(_) => Value::Null,
    }
}

fn group_changed(changed: &wire::GroupChanged) -> Value {
    let mut members = Map::new();
    members.insert("event".into(), "group_changed".into());
    let texts = [
        ("title", &changed.title),
        ("description", &changed.description),
        ("avatar", &changed.avatar),
        ("announcement", &changed.announcement),
    ];
    for (name, text) in texts {
        members.extend(text.as_ref().map(|text| (name.into(), text.as_str().into())));
    }
    members.extend(changed.join_policy.map(|_| ("join".into(), policy_name(changed.join_policy()).into())));
    members.extend(changed.admins_invite.map(|only| ("admins_invite".into(), only.into())));
    members.extend(changed.muted.map(|muted| ("muted".into(), muted.into())));
    members.into()
}

/// `null`: never.
fn time(ms: i64) -> Value {
    if ms == 0 { Value::Null } else { rfc3339(ms).into() }
}
