//! What has arrived and what was read, and who writes something just now.

use api::{Call, UserIds};
use protocol::{
    ConversationId, Error, Result, UserId, limits,
    queue::delivery::What,
    wire::{self, ErrorCode, WritePolicy, server_frame::Body},
};
use queue::Topic;
use store::{Audience, MemberRow, Moved, ReadMark};

use super::{Service, content::position};
use crate::{
    push::{self, Pushes},
    text::bounded,
};

impl Service {
    /// Moves the caller's read position and tells of it.
    pub(super) async fn mark_read(&self, call: &Call, mark: ReadMark) -> Result<()> {
        let moved = self.store.mark_read(vec![mark]).await?;
        let told = moved.into_iter().flatten().map(|moved| {
            let conversation = mark.conversation.get();
            let read = wire::ReadMoved { conversation, user: mark.user.get(), position: moved.position };
            (Body::ReadMoved(read), moved)
        });
        self.tell_moved(call, told);
        Ok(())
    }

    pub(super) async fn mark_delivered(&self, call: &Call, marks: Vec<wire::Mark>) -> Result<()> {
        let user = call.caller()?.user;
        if marks.len() > limits::DELIVER_MARKS_MAX {
            return Err(Error::limit("marks", marks.len(), limits::DELIVER_MARKS_MAX));
        }
        let marks: Vec<ReadMark> = marks
            .into_iter()
            .map(|mark| ReadMark {
                conversation: ConversationId::new(mark.conversation),
                user,
                position: mark.position,
            })
            .collect();
        if marks.is_empty() {
            return Ok(());
        }
        let moved = self.store.mark_delivered(marks.clone()).await?;
        let told = marks.into_iter().zip(moved).filter_map(|(mark, moved)| {
            let moved = moved?;
            let conversation = mark.conversation.get();
            let delivered = wire::DeliveredMoved { conversation, user: mark.user.get(), position: moved.position };
            Some((Body::DeliveredMoved(delivered), moved))
        });
        self.tell_moved(call, told);
        Ok(())
    }

    fn tell_moved(&self, call: &Call, told: impl Iterator<Item = (Body, Moved)>) {
        let origin = call.origin.map_or(0, |origin| origin.0);
        let mut pushes = Pushes::default();
        for (body, moved) in told {
            let what = What::Frame(push::frame(body));
            match moved.audience {
                Audience::Users(users) => pushes.add_for_users(&users, origin, what),
                Audience::Group(group) => pushes.add_for_topic(Topic::Group(group), origin, what),
            }
        }
        self.publisher.publish(pushes);
    }

    pub(super) async fn receipts(&self, call: &Call, request: wire::ListReceipts) -> Result<wire::Receipts> {
        let user = call.caller()?.user;
        let conversation = ConversationId::new(request.conversation);
        let place = position("position", request.position)?;
        let limit = bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let page = self.store.members(user, conversation, UserId::new(request.after), limit, false).await?;
        let page = page.ok_or_else(Error::not_member)?;
        if page.total > limits::RECEIPTS_MEMBERS_MAX {
            return Err(Error::limit(
                "receipts are listed in small conversations only: members",
                page.total,
                limits::RECEIPTS_MEMBERS_MAX,
            ));
        }
        let counts = self.store.receipts(user, conversation, place).await?.ok_or_else(|| {
            Error::new(ErrorCode::Forbidden, "receipts are for the sender of the message at this position")
        })?;
        let receipt = |row: MemberRow| wire::Receipt {
            user: Some(wire::UserInfo { id: row.user.get(), ..Default::default() }),
            delivered_position: row.delivered_position,
            read_position: row.read_position,
        };
        Ok(wire::Receipts {
            members: counts.members,
            delivered: counts.delivered,
            read: counts.read,
            receipts: page.members.into_iter().filter(|row| row.user != user).map(receipt).collect(),
        })
    }

    /// Tells the others that the caller writes something. Of two, neither hears it if one has blocked the other, or if what
    /// comes of it would be refused, as the other wants to hear of friends only.
    pub(super) async fn tell_typing(&self, call: &Call, conversation: ConversationId) -> Result<()> {
        let user = call.caller()?.user;
        let limit = u32::try_from(limits::TYPING_MEMBERS_MAX).unwrap_or(u32::MAX);
        let page = self.store.members(user, conversation, UserId::new(0), limit, false).await?;
        let page = page.ok_or_else(Error::not_member)?;
        let notice = wire::TypingNotice { conversation: conversation.get(), user: user.get() };
        let what = What::Frame(push::frame(Body::Typing(notice)));
        let origin = call.origin.map_or(0, |origin| origin.0);
        let others: Vec<UserId> = page.members.iter().map(|row| row.user).filter(|other| *other != user).collect();
        let mut pushes = Pushes::default();
        match others.as_slice() {
            [] => {}
            [other] => {
                if self.may_reach(user, *other).await? {
                    pushes.add_for_users(&others, origin, what);
                }
            }
            _ if page.total > limits::TYPING_MEMBERS_MAX => {}
            _ => pushes.add_for_topic(Topic::Group(conversation.group()), origin, what),
        }
        self.publisher.publish(pushes);
        Ok(())
    }

    /// Whether a message of the user's would reach the other.
    async fn may_reach(&self, user: UserId, other: UserId) -> Result<bool> {
        let theirs = self.store.standings(user, vec![other]).await?.pop();
        let mine = self.store.standings(other, vec![user]).await?.pop();
        let (contact, settings) = theirs.unwrap_or_default();
        let (friend, blocked) = contact.map_or((false, false), |contact| (contact.friend, contact.blocked));
        let is_blocking = mine.and_then(|(contact, _)| contact).is_some_and(|contact| contact.blocked);
        Ok(!blocked && !is_blocking && (friend || settings.write_policy == WritePolicy::Anyone))
    }

    pub(super) async fn standings(&self, call: &Call, request: UserIds) -> Result<api::Standings> {
        let user = call.caller()?.user;
        if request.ids.len() > limits::INVITE_MAX {
            return Err(Error::limit("users", request.ids.len(), limits::INVITE_MAX));
        }
        let of: Vec<UserId> = request.ids.iter().copied().map(UserId::new).collect();
        let standings = self.store.standings(user, of).await?;
        let standing = |(of, (contact, settings)): (u64, (Option<store::ContactRow>, store::UserSettings))| {
            let (friend, blocked) = contact.map_or((false, false), |contact| (contact.friend, contact.blocked));
            api::Standing { user: of, blocked, friend, write_policy: settings.write_policy.into() }
        };
        Ok(api::Standings { standings: request.ids.into_iter().zip(standings).map(standing).collect() })
    }
}
