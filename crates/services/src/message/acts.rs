//! What services have appended, and what users do to their own view of a conversation.

use api::{AppendRequest, Call, append_request, contact_act};
use protocol::{
    ConversationId, EntryId, Error, RawContent, Result, UserId, limits,
    wire::{self, ErrorCode, WritePolicy, content::Kind},
};
use store::{
    Act, ContactAct, ContactEvent, ConversationAct, Headed, Membership, NewEntry, PageRequest, ReadMark, SettingsChange,
};

use super::{
    Service,
    content::{POSITION_MAX, position},
};
use crate::text;

/// Which entry a service's request stands for.
pub(super) fn entry(request: AppendRequest, time_ms: i64) -> Result<NewEntry> {
    let conversation = ConversationId::new(request.conversation);
    let sender = UserId::new(request.sender);
    let personal = || {
        if conversation == sender.personal_log() {
            Ok(())
        } else {
            Err(Error::invalid("conversation: contacts and settings are told in the sender's personal log"))
        }
    };
    let content = || request.content.clone().ok_or_else(|| Error::invalid("content: missing"));
    let (act, content) = match request.act {
        // What only tells is the relay's. An act that this version does not know must not be told as if it were done: another
        // instance may know it.
        None => {
            return Err(Error::unavailable(
                "certainly not stored: act: none that this instance knows; allowed are membership, contact and settings",
            ));
        }
        Some(append_request::Act::Membership(membership)) => {
            (Act::Membership(self::membership(membership)), content()?)
        }
        Some(append_request::Act::Contact(act)) => {
            personal()?;
            (Act::Contact(contact(act)?), RawContent::default())
        }
        Some(append_request::Act::Settings(act)) => {
            personal()?;
            (Act::Settings(settings(act)?), RawContent::default())
        }
    };
    let id = text::entry_id(&request.id)?;
    let content = content.as_bytes().clone();
    Ok(NewEntry { conversation, sender, id, time_ms, content, act, settles: None })
}

fn membership(membership: api::Membership) -> Membership {
    let at_least = membership.at_least();
    let users = |users: Vec<u64>| users.into_iter().map(UserId::new).collect::<Vec<_>>();
    let roles = |members: Vec<api::MemberRole>| {
        members.into_iter().map(|member| (UserId::new(member.user), member.role())).collect::<Vec<_>>()
    };
    Membership {
        create: membership.create,
        enter: roles(membership.enter),
        exit: users(membership.exit),
        ban: users(membership.ban),
        lift: users(membership.lift),
        roles: roles(membership.roles),
        mute: users(membership.mute).into_iter().map(|user| (user, membership.mute_until_ms)).collect(),
        nickname: membership.nickname,
        change: membership.change.unwrap_or_default(),
        dissolve: membership.dissolve,
        at_least,
        above: users(membership.above),
    }
}

fn contact(act: api::ContactAct) -> Result<ContactEvent> {
    let what = match act.what {
        Some(contact_act::What::Request(message)) => ContactAct::Request(message),
        Some(contact_act::What::Withdraw(_)) => ContactAct::Withdraw,
        Some(contact_act::What::Answer(accept)) => ContactAct::Answer(accept),
        Some(contact_act::What::Remove(_)) => ContactAct::Remove,
        Some(contact_act::What::Remark(remark)) => ContactAct::Remark(remark),
        Some(contact_act::What::Block(block)) => ContactAct::Block(block),
        None => return Err(Error::invalid("contact.what: missing")),
    };
    Ok(ContactEvent { peer: UserId::new(act.peer), what })
}

fn settings(act: api::SettingsAct) -> Result<SettingsChange> {
    let write_policy = act.write_policy.map(WritePolicy::try_from).transpose();
    let write_policy = write_policy.map_err(|_| Error::invalid("write_policy: allowed are ANYONE and FRIENDS"))?;
    Ok(SettingsChange { write_policy, invisible: act.invisible })
}

impl Service {
    pub(super) async fn change_settings(&self, call: &Call, request: wire::SetConversation) -> Result<()> {
        let settings = request.settings.unwrap_or_default();
        let conversation = ConversationId::new(request.conversation);
        let changed = wire::ConversationChanged { conversation: request.conversation, settings: Some(settings) };
        let act = ConversationAct::Settings(settings);
        self.tell_self(call, &request.id, conversation, Kind::ConversationChanged(changed), act).await
    }

    pub(super) async fn change_draft(&self, call: &Call, request: wire::SaveDraft) -> Result<()> {
        let conversation = ConversationId::new(request.conversation);
        let draft = request.draft.clone().filter(|draft| !draft.text.is_empty() || draft.reply_to > 0);
        let draft = draft.map(|draft| wire::Draft { time_ms: self.clock.now_ms(), ..draft });
        if let Some(draft) = &draft {
            text::at_most_bytes("draft.text", &draft.text, limits::DRAFT_BYTES_MAX)?;
            text::no_nul("draft.text", &draft.text)?;
            if draft.reply_to > 0 {
                position("draft.reply_to", draft.reply_to)?;
            }
        }
        let changed = wire::DraftChanged { conversation: request.conversation, draft: draft.clone() };
        let act = ConversationAct::Draft(draft);
        match self.tell_self(call, &request.id, conversation, Kind::DraftChanged(changed), act).await {
            Err(error) if error.code() == ErrorCode::IdReused && self.kept_draft(call, &request).await? => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether this request kept a draft before: a retry bears another time, and what the first one said may be erased.
    async fn kept_draft(&self, call: &Call, request: &wire::SaveDraft) -> Result<bool> {
        let id = text::entry_id(&request.id)?;
        let found = self.store.find_entry(call.caller()?.user, id).await?;
        let kind = found.and_then(|(_, entry)| entry.content?.view().ok()?.kind);
        Ok(matches!(kind, Some(Kind::DraftChanged(told)) if told.conversation == request.conversation))
    }

    pub(super) async fn delete_from_view(&self, call: &Call, request: wire::DeleteForMe) -> Result<()> {
        let user = call.caller()?.user;
        let conversation = ConversationId::new(request.conversation);
        let count = request.positions.len();
        if count > limits::DELETE_POSITIONS_MAX {
            return Err(Error::limit("positions", count, limits::DELETE_POSITIONS_MAX));
        }
        let mut positions = request.positions;
        positions.sort_unstable();
        positions.dedup();
        for at in &positions {
            position("positions", *at)?;
        }
        let largest = positions.last().copied().unwrap_or(0).max(request.up_to);
        if largest == 0 {
            return Err(Error::invalid("positions, up_to: name at least one message"));
        }
        // Who is no member is refused where it is written, which knows a retry of what a member did.
        if let Some(end) = self.log_end(user, conversation).await? {
            if largest > end {
                let message = format!("positions, up_to: the conversation ends at {end}, before {largest}");
                return Err(Error::invalid(message));
            }
            // Before they are hidden, so that what cannot be seen does not count as unread.
            let mark = ReadMark { conversation, user, position: largest };
            self.mark_read(call, mark).await?;
        }
        let deleted = wire::MessagesDeleted {
            conversation: request.conversation,
            positions: positions.clone(),
            up_to: request.up_to,
        };
        let act = ConversationAct::Delete { positions, up_to: request.up_to };
        self.tell_self(call, &request.id, conversation, Kind::MessagesDeleted(deleted), act).await
    }

    /// The conversation's last position; `None` for those who are not members.
    async fn log_end(&self, user: UserId, conversation: ConversationId) -> Result<Option<u64>> {
        let page = PageRequest { conversation, from: Headed::After(POSITION_MAX), limit: 1 };
        let page = self.store.read_pages(user, vec![page], limits::PAGE_BYTES_MAX).await?.pop().flatten();
        Ok(page.map(|page| page.last_position))
    }

    /// Appends to the caller's personal log. That it is so already is no failure.
    async fn tell_self(
        &self,
        call: &Call,
        id: &str,
        conversation: ConversationId,
        kind: Kind,
        act: ConversationAct,
    ) -> Result<()> {
        let user = call.caller()?.user;
        let id: EntryId = text::entry_id(id)?;
        let entry = NewEntry {
            conversation: user.personal_log(),
            sender: user,
            id,
            time_ms: self.clock.now_ms(),
            content: RawContent::from(kind).as_bytes().clone(),
            act: Act::Conversation(conversation, act),
            settles: None,
        };
        // No origin: the answer does not bear the position, so the connection that asked needs the push as well.
        let call = Call { origin: None, ..call.clone() };
        self.append_one(&call, entry).await.map(drop)
    }
}
