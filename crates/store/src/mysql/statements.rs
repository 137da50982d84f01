//! What decisions say in SQL, but for the entries and what moves with each of them: a few statements, executed one by one.

use bytes::Bytes;
use prost::Message as _;
use protocol::{
    ConversationId, UserId,
    wire::{ConversationKind, ConversationSettings, Draft, GroupChanged, Role},
};

use super::{
    convert::column,
    lists::Query,
    pending::{NewMember, Pending, Step},
};
use crate::{ContactRow, UserSettings, kinds};

impl Pending {
    fn then(&mut self, statement: &'static str, values: Values) {
        self.rest.push(Step::Statement(statement, values));
    }

    /// Erases a message, its edits, mentions and pin.
    pub(super) fn erase_message(&mut self, conversation: ConversationId, target: u64, recalled: Bytes, edit: Bytes) {
        self.erased.push(conversation);
        self.then(
            "UPDATE entries SET content = ?, kind = ? WHERE conversation = ? AND position = ?",
            Values::new().bytes(recalled).number(kinds::RECALLED).id(conversation.get()).id(target),
        );
        self.then(
            "UPDATE entries JOIN changes
                 ON entries.conversation = changes.conversation AND entries.position = changes.position
             SET entries.content = ? WHERE changes.conversation = ? AND changes.target = ? AND entries.kind = ?",
            Values::new().bytes(edit).id(conversation.get()).id(target).number(kinds::EDIT),
        );
        let at = Values::new().id(conversation.get()).id(target);
        self.then("DELETE FROM mentions WHERE conversation = ? AND position = ?", at);
        self.forget_pin(conversation, target);
    }

    /// Pins; if `keeps`, a pin that is there stays.
    pub(super) fn pin(&mut self, conversation: ConversationId, target: u64, position: u64, keeps: bool) {
        let statement = if keeps {
            "INSERT IGNORE INTO pins (conversation, target, position) VALUES (?, ?, ?)"
        } else {
            "REPLACE INTO pins (conversation, target, position) VALUES (?, ?, ?)"
        };
        self.then(statement, Values::new().id(conversation.get()).id(target).id(position));
    }

    pub(super) fn forget_pin(&mut self, conversation: ConversationId, target: u64) {
        let values = Values::new().id(conversation.get()).id(target);
        self.then("DELETE FROM pins WHERE conversation = ? AND target = ?", values);
    }

    /// Adds members of a group.
    pub(super) fn enter(&mut self, conversation: ConversationId, users: &[(UserId, Role)], read_position: u64) {
        let row = |&(user, role)| NewMember {
            user,
            conversation,
            kind: ConversationKind::Group,
            peer: None,
            role,
            read_position,
            blocked_at: None,
        };
        self.rest.push(Step::Enter(users.iter().map(row).collect()));
    }

    pub(super) fn exit(&mut self, conversation: ConversationId, user: UserId) {
        self.members.remove(&(user, conversation));
        let values = Values::new().id(user.get()).id(conversation.get());
        self.then("DELETE FROM members WHERE user = ? AND conversation = ?", values);
    }

    pub(super) fn store_ban(&mut self, conversation: ConversationId, user: UserId, banned: bool) {
        let statement = if banned {
            "INSERT IGNORE INTO bans (conversation, user) VALUES (?, ?)"
        } else {
            "DELETE FROM bans WHERE conversation = ? AND user = ?"
        };
        self.then(statement, Values::new().id(conversation.get()).id(user.get()));
    }

    /// Of a user who is no member; 0: not muted.
    pub(super) fn keep_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) {
        let key = Values::new().id(conversation.get()).id(user.get());
        match until_ms {
            0 => self.then("DELETE FROM mutes WHERE conversation = ? AND user = ?", key),
            _ => {
                let values = key.number(until_ms);
                self.then("REPLACE INTO mutes (conversation, user, until_ms) VALUES (?, ?, ?)", values);
            }
        }
    }

    pub(super) fn store_role(&mut self, conversation: ConversationId, user: UserId, role: Role) {
        let values = Values::new().number(role as u32).id(user.get()).id(conversation.get());
        self.then("UPDATE members SET role = ? WHERE user = ? AND conversation = ?", values);
    }

    /// Of a member.
    pub(super) fn store_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) {
        let values = Values::new().number(until_ms).id(user.get()).id(conversation.get());
        self.then("UPDATE members SET muted_until_ms = ? WHERE user = ? AND conversation = ?", values);
    }

    pub(super) fn store_nickname(&mut self, conversation: ConversationId, user: UserId, nickname: &str) {
        let values = Values::new().text(nickname).id(user.get()).id(conversation.get());
        self.then("UPDATE members SET nickname = ? WHERE user = ? AND conversation = ?", values);
    }

    pub(super) fn store_blocked_at(&mut self, conversation: ConversationId, user: UserId, position: Option<u64>) {
        let values = Values::new().id_or_null(position).id(user.get()).id(conversation.get());
        self.then("UPDATE members SET blocked_at = ? WHERE user = ? AND conversation = ?", values);
    }

    pub(super) fn store_group(&mut self, group: ConversationId, change: &GroupChanged) {
        self.then(
            "UPDATE `groups` SET title = coalesce(?, title), description = coalesce(?, description),
                 avatar = coalesce(?, avatar), announcement = coalesce(?, announcement),
                 join_policy = coalesce(?, join_policy), admins_invite = coalesce(?, admins_invite)
             WHERE id = ?",
            Values::new()
                .text_or_null(change.title.as_deref())
                .text_or_null(change.description.as_deref())
                .text_or_null(change.avatar.as_deref())
                .text_or_null(change.announcement.as_deref())
                .number_or_null(change.join_policy)
                .number_or_null(change.admins_invite)
                .id(group.get()),
        );
    }

    pub(super) fn store_contact(&mut self, owner: UserId, row: &ContactRow) {
        let key = Values::new().id(owner.get()).id(row.peer.get());
        if row.is_nothing() {
            return self.then("DELETE FROM contacts WHERE user = ? AND peer = ?", key);
        }
        self.then(
            "REPLACE INTO contacts (user, peer, friend, request, message, remark, blocked, changed_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            key.number(row.friend)
                .number(row.request as u32)
                .text(&row.message)
                .text(&row.remark)
                .number(row.blocked)
                .number(row.changed_ms),
        );
    }

    pub(super) fn store_settings(&mut self, user: UserId, settings: UserSettings) {
        self.then(
            "REPLACE INTO user_settings (user, write_policy, invisible) VALUES (?, ?, ?)",
            Values::new().id(user.get()).number(settings.write_policy as u32).number(settings.invisible),
        );
    }

    pub(super) fn store_view(&mut self, user: UserId, conversation: ConversationId, settings: &ConversationSettings) {
        self.then(
            "INSERT INTO own_views (user, conversation, settings) VALUES (?, ?, ?)
             ON DUPLICATE KEY UPDATE settings = VALUES(settings)",
            Values::new().id(user.get()).id(conversation.get()).bytes(settings.encode_to_vec()),
        );
    }

    /// Erases the entry of a personal log that told a draft.
    pub(super) fn erase_draft(&mut self, log: ConversationId, told: u64, erased: Bytes) {
        self.erased.push(log);
        self.then(
            "UPDATE entries SET content = ? WHERE conversation = ? AND position = ?",
            Values::new().bytes(erased).id(log.get()).id(told),
        );
    }

    pub(super) fn store_draft(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        draft: Option<&Draft>,
        position: u64,
    ) {
        self.then(
            "INSERT INTO own_views (user, conversation, draft, draft_position) VALUES (?, ?, ?, ?)
             ON DUPLICATE KEY UPDATE draft = VALUES(draft), draft_position = VALUES(draft_position)",
            Values::new()
                .id(user.get())
                .id(conversation.get())
                .bytes_or_null(draft.map(Draft::encode_to_vec))
                .id_or_null(draft.map(|_| position)),
        );
    }

    pub(super) fn delete_up_to(&mut self, user: UserId, conversation: ConversationId, up_to: u64) {
        let values = || Values::new().id(user.get()).id(conversation.get()).id(up_to);
        self.then(
            "INSERT INTO own_views (user, conversation, deleted_up_to) VALUES (?, ?, ?)
             ON DUPLICATE KEY UPDATE deleted_up_to = GREATEST(deleted_up_to, VALUES(deleted_up_to))",
            values(),
        );
        self.then("DELETE FROM deleted_entries WHERE user = ? AND conversation = ? AND position <= ?", values());
    }

    pub(super) fn delete_entries(&mut self, user: UserId, conversation: ConversationId, positions: &[u64]) {
        for &position in positions {
            self.then(
                "INSERT IGNORE INTO deleted_entries (user, conversation, position) VALUES (?, ?, ?)",
                Values::new().id(user.get()).id(conversation.get()).id(position),
            );
        }
    }
}

/// The values of a statement's parameters, in their order.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Parameter>);

#[derive(Debug)]
enum Parameter {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Values {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// An id or a position.
    pub(super) fn id(self, id: u64) -> Self {
        self.id_or_null(Some(id))
    }

    pub(super) fn id_or_null(self, id: Option<u64>) -> Self {
        self.number_or_null(id.map(column))
    }

    pub(super) fn number(self, number: impl Into<i64>) -> Self {
        self.number_or_null(Some(number))
    }

    pub(super) fn number_or_null(mut self, number: Option<impl Into<i64>>) -> Self {
        self.0.push(Parameter::Number(number.map(Into::into)));
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.text_or_null(Some(text))
    }

    pub(super) fn text_or_null(mut self, text: Option<&str>) -> Self {
        self.0.push(Parameter::Text(text.map(ToOwned::to_owned)));
        self
    }

    pub(super) fn bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.bytes_or_null(Some(bytes.into()))
    }

    pub(super) fn bytes_or_null(mut self, bytes: Option<Vec<u8>>) -> Self {
        self.0.push(Parameter::Bytes(bytes));
        self
    }

    pub(super) fn bind(self, query: Query<'static>) -> Query<'static> {
        self.0.into_iter().fold(query, |query, value| match value {
            Parameter::Number(number) => query.bind(number),
            Parameter::Text(text) => query.bind(text),
            Parameter::Bytes(bytes) => query.bind(bytes),
        })
    }
}
