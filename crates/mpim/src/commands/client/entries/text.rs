//! Entries for people.

use client::wire;
use wire::content::Kind;

use super::{Names, policy_name, role_name};
use protocol::UserId;

use crate::commands::client::print::{harmless, harmless_lines, local_time, one_line};

/// What an entry says, for people: `from` is the sender as the reader calls them. `None` if there is nothing to be shown to
/// this reader.
pub(in crate::commands::client) fn to_text(
    entry: &wire::Entry,
    from: &str,
    names: &Names,
    indent: usize,
) -> Option<String> {
    let from = harmless(from);
    let content = entry.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
    let mut about = String::new();
    if content.reply_to > 0 {
        about.push_str(&format!(" (to {})", content.reply_to));
    }
    if let Some(forwarded) = &content.forwarded {
        about.push_str(&format!(" (from {})", harmless(&called(names, forwarded.sender))));
    }
    let text = match &content.kind {
        Some(Kind::Hidden(_)) => return None,
        Some(kind) => match message(kind, names, indent) {
            Some(said) => format!("{from}{about}: {said}"),
            None => format!("* {}", happened(kind, &from, names, indent)),
        },
        None => format!("* {from} did something that this version does not know"),
    };
    Some(text)
}

/// What a message says; `None` if it is not one.
fn message(kind: &Kind, names: &Names, indent: usize) -> Option<String> {
    Some(match kind {
        Kind::Text(text) => harmless_lines(&text.body, indent),
        Kind::Link(link) if link.title.is_empty() => harmless(&link.url),
        Kind::Link(link) => format!("“{}” {}", harmless(&link.title), harmless(&link.url)),
        Kind::Card(card) => match card.of {
            Some(wire::card::Of::User(user)) => format!("[user {}]", harmless(&called(names, user))),
            Some(wire::card::Of::Group(group)) => format!("[group {group} “{}”]", harmless(&card.title)),
            None => format!("[{}]", harmless(&card.title)),
        },
        Kind::Custom(custom) if custom.fallback.is_empty() => format!("[{}]", harmless(&custom.r#type)),
        Kind::Custom(custom) => harmless_lines(&custom.fallback, indent),
        Kind::Opaque(opaque) => format!("[encrypted, {}]", harmless(&opaque.r#type)),
        _ => return None,
    })
}

/// What happened in a conversation.
fn happened(kind: &Kind, from: &str, names: &Names, indent: usize) -> String {
    let name = |user: u64| harmless(&called(names, user));
    let all = |users: &[u64]| users.iter().map(|&user| name(user)).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Recalled(_) => format!("{from}: a message that was recalled"),
        Kind::GroupCreated(created) if created.members.is_empty() => {
            format!("{from} made the group “{}”", one_line(&created.title))
        }
        Kind::GroupCreated(created) => {
            format!("{from} made the group “{}” with {}", one_line(&created.title), all(&created.members))
        }
        Kind::MembersAdded(added) => format!("{from} brought in {}", all(&added.members)),
        Kind::MemberJoined(_) => format!("{from} joined"),
        Kind::MemberLeft(_) => format!("{from} left"),
        Kind::MembersRemoved(removed) if removed.banned => format!("{from} banned {}", all(&removed.members)),
        Kind::MembersRemoved(removed) => format!("{from} removed {}", all(&removed.members)),
        Kind::BansLifted(lifted) => format!("{from} lifted the ban of {}", all(&lifted.users)),
        Kind::RoleChanged(changed) => {
            format!("{from} made {} {}", name(changed.member), role_name(changed.role()))
        }
        Kind::OwnerChanged(changed) => format!("{from} made {} owner", name(changed.owner)),
        Kind::MembersMuted(muted) if muted.until_ms == 0 => format!("{from} let {} write again", all(&muted.members)),
        Kind::MembersMuted(muted) => {
            format!("{from} muted {} until {}", all(&muted.members), local_time(muted.until_ms))
        }
        Kind::GroupChanged(changed) => format!("{from} changed the group: {}", changes(changed)),
        Kind::NicknameChanged(changed) if changed.nickname.is_empty() => format!("{from} gave up the nickname"),
        Kind::NicknameChanged(changed) => format!("{from} took the nickname “{}”", harmless(&changed.nickname)),
        Kind::GroupDissolved(_) => format!("{from} dissolved the group"),
        Kind::Edit(edit) => {
            let kind = edit.content.as_ref().and_then(|content| content.view().ok()).and_then(|view| view.kind);
            match kind.and_then(|kind| message(&kind, names, indent)) {
                Some(text) => format!("{from} changed message {} to: {text}", edit.position),
                // What it said is gone with the message.
                None => format!("{from} changed message {}", edit.position),
            }
        }
        Kind::Recall(recall) => format!("{from} recalled message {}", recall.position),
        Kind::Reaction(reaction) => {
            let removed = if reaction.removed { "not " } else { "" };
            format!("{from} marked message {} {removed}with {}", reaction.position, harmless(&reaction.reaction))
        }
        Kind::Pin(pin) if pin.removed => format!("{from} unpinned message {}", pin.position),
        Kind::Pin(pin) => format!("{from} pinned message {}", pin.position),
        other => happened_to_user(other, names),
    }
}

/// What happened to the user, as the personal log tells.
fn happened_to_user(kind: &Kind, names: &Names) -> String {
    let name = |user: u64| harmless(&called(names, user));
    match kind {
        Kind::GroupEntered(entered) => format!("you are a member of group {}", entered.group),
        Kind::GroupExited(exited) => format!("you are no longer a member of group {}", exited.group),
        Kind::SessionStarted(started) => {
            format!("session {} was started on “{}”", started.session, harmless(&started.device))
        }
        Kind::SessionEnded(ended) => format!("session {} was ended", ended.session),
        Kind::PasswordChanged(_) => "the password was changed".into(),
        Kind::ProfileChanged(changed) => {
            let user = changed.user.clone().unwrap_or_default();
            format!("your profile is that of {} “{}” now", harmless(&user.name), harmless(&user.display_name))
        }
        Kind::SettingsChanged(changed) => {
            let who = if changed.write_policy() == wire::WritePolicy::Friends { "friends" } else { "anyone" };
            let seen = if changed.invisible { "nobody sees" } else { "others see" };
            format!("{who} may write to you, and {seen} when you are online")
        }
        Kind::FriendRequested(asked) if asked.received => {
            format!("{} asks to be friends{}", name(asked.user), in_their_words(&asked.message))
        }
        Kind::FriendRequested(asked) => format!("you asked {} to be friends", name(asked.user)),
        Kind::FriendAdded(added) => format!("you and {} are friends", name(added.user)),
        Kind::FriendRequestClosed(closed) => match (closed.received, closed.withdrawn) {
            (true, true) => format!("{} no longer asks to be friends", name(closed.user)),
            (true, false) => format!("you refused {}’s request", name(closed.user)),
            (false, true) => format!("you no longer ask {} to be friends", name(closed.user)),
            (false, false) => format!("{} refused your request", name(closed.user)),
        },
        Kind::FriendRemoved(removed) => format!("you and {} are friends no longer", name(removed.user)),
        Kind::RemarkChanged(changed) => format!("you call {} “{}”", name(changed.user), harmless(&changed.remark)),
        Kind::BlockChanged(changed) if changed.blocked => format!("you blocked {}", name(changed.user)),
        Kind::BlockChanged(changed) => format!("you unblocked {}", name(changed.user)),
        Kind::ConversationChanged(changed) => {
            format!("you changed how conversation {} is shown", changed.conversation)
        }
        Kind::DraftChanged(changed) => format!("your draft in conversation {} was kept", changed.conversation),
        Kind::MessagesDeleted(deleted) => format!("you deleted messages in conversation {}", deleted.conversation),
        Kind::JoinRequested(asked) => {
            format!("{} asks to enter group {}{}", name(asked.user), asked.group, in_their_words(&asked.message))
        }
        Kind::JoinRequestClosed(closed) => {
            let answer = if closed.admitted { "was let in" } else { "was not let in" };
            format!("{} {answer} to group {}", name(closed.user), closed.group)
        }
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
        | Kind::Pin(_) => String::new(),
    }
}

/// What somebody says to a request, after it; may be nothing.
pub(in crate::commands::client) fn in_their_words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", one_line(message)) }
}

/// The user's name, for people: whoever is gone has none any more.
pub(in crate::commands::client) fn called(names: &Names, user: u64) -> String {
    match names.get(&UserId::new(user)) {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => format!("deleted account {user}"),
    }
}

fn changes(changed: &wire::GroupChanged) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("title", &changed.title),
        ("description", &changed.description),
        ("picture", &changed.avatar),
        ("announcement", &changed.announcement),
    ];
    for (what, text) in texts {
        parts.extend(text.as_ref().map(|text| format!("{what} “{}”", one_line(text))));
    }
    parts.extend(changed.join_policy.map(|_| format!("joining {}", policy_name(changed.join_policy()))));
    parts.extend(changed.admins_invite.map(|only| if only { "admins invite" } else { "members invite" }.into()));
    parts.extend(changed.muted.map(|muted| if muted { "only admins write" } else { "all write" }.into()));
    parts.join(", ")
}
