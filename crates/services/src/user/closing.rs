//! Accounts that end, or are kept out.

use std::time::Duration;

use api::{
    AccountEnd, AppendRequest, Call, Caller, ConversationRequest, ListGroupsRequest, Membership, Scopes,
    append_request, contact_act::What,
};
use protocol::{
    Advice, EntryId, Error, Result, SessionId, UserId, limits, name_key,
    queue::AccountClosed,
    wire::{self, ErrorCode, FriendRequest, Role, content::Kind},
};
use tokio::time::Instant;

use super::{Service, contacts::contact_request, full};

/// How long it may take to leave all groups and friends.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(120);
/// How often bots that were made while an account ends are ended with it.
const CLOSING_ATTEMPTS_MAX: usize = 3;

impl Service {
    pub(super) async fn close_own(&self, call: &Call, request: wire::DeleteAccount) -> Result<AccountEnd> {
        let user = full(call)?.user;
        self.own_account(user, request.password, "password").await?;
        self.whole(async move |me| {
            for _ in 0..CLOSING_ATTEMPTS_MAX {
                let bots = me.bots_of(user).await?;
                // What would keep one of them is found out before anything is given up.
                let mut owned = Vec::new();
                for account in bots.iter().chain([&user]) {
                    owned.extend(me.leave_owned(*account).await?);
                }
                if !owned.is_empty() {
                    return Ok(AccountEnd { owned });
                }
                for bot in bots {
                    me.close(bot).await?;
                }
                if me.close(user).await? {
                    return Ok(AccountEnd::default());
                }
            }
            Err(Error::unavailable("bots of yours were made at the same time; try again"))
        })
        .await
    }

    /// The ids of a user's bots.
    async fn bots_of(&self, user: UserId) -> Result<Vec<UserId>> {
        Ok(self.store.bots(user).await?.into_iter().map(|bot| UserId::new(bot.user.id)).collect())
    }

    pub(super) async fn close_bot(&self, bot: UserId) -> Result<AccountEnd> {
        self.whole(async move |me| {
            let owned = me.leave_owned(bot).await?;
            if owned.is_empty() {
                me.close(bot).await?;
            }
            Ok(AccountEnd { owned })
        })
        .await
    }

    /// Leaves groups and friends, then ends the account; `false` if it has bots. What is done before a failure is found done by the
    /// next attempt.
    async fn close(&self, user: UserId) -> Result<bool> {
        let call = as_user(user);
        for group in self.messages.list_groups(&call, ListGroupsRequest {}).await?.ids {
            self.leave(&call, user, group).await?;
        }
        self.end_friendships(&call, user).await?;
        let account = self.store.account(user).await?.ok_or_else(|| Error::not_found("the account"))?;
        let outcome = self.store.delete_account(user, self.clock.now_ms()).await;
        (self.standing_changed)();
        self.changed(user, &[name_key(&account.user.name)]).await;
        let Some(ended) = outcome? else { return Ok(false) };
        self.closed(&[user], AccountClosed::Deleted, ended).await;
        Ok(true)
    }

    /// Leaves the groups that the user owns and is not alone in, which works if they were dissolved; those that were not.
    async fn leave_owned(&self, user: UserId) -> Result<Vec<u64>> {
        let call = as_user(user);
        let mut owned = Vec::new();
        for group in self.messages.list_groups(&call, ListGroupsRequest {}).await?.ids {
            let member = self.messages.get_member(&call, ConversationRequest { conversation: group }).await?;
            if member.role() != Role::Owner {
                continue;
            }
            let one = wire::ListMembers { group, limit: 1, ..wire::ListMembers::default() };
            if self.messages.list_members(&call, one).await?.total <= 1 {
                continue;
            }
            match self.leave(&call, user, group).await {
                Ok(()) => {}
                Err(error) if error.advice() == Advice::GiveUp => owned.push(group),
                Err(error) => return Err(error),
            }
        }
        Ok(owned)
    }

    /// Leaves a group; one that the user is alone in ends.
    async fn leave(&self, call: &Call, user: UserId, group: u64) -> Result<()> {
        let request = AppendRequest {
            conversation: group,
            sender: user.get(),
            id: EntryId::generate().to_string(),
            content: Some(Kind::MemberLeft(wire::MemberLeft {}).into()),
            act: Some(append_request::Act::Membership(Membership { exit: vec![user.get()], ..Membership::default() })),
        };
        match self.messages.append(call, request).await {
            // Somebody else was faster.
            Err(error) if error.code() == ErrorCode::NotMember => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Ends friendships and requests, so that the others hear of it.
    async fn end_friendships(&self, call: &Call, user: UserId) -> Result<()> {
        let mut after = 0;
        loop {
            let page = wire::ListContacts { after, limit: limits::MEMBERS_PAGE_MAX };
            let contacts = self.messages.list_contacts(call, page).await?.contacts;
            let Some(last) = contacts.last().and_then(|contact| contact.user.as_ref()) else { return Ok(()) };
            after = last.id;
            for contact in contacts {
                let what = match contact.request() {
                    _ if contact.friend => What::Remove(true),
                    FriendRequest::Sent => What::Withdraw(true),
                    FriendRequest::Received => What::Answer(false),
                    FriendRequest::NoRequest => continue,
                };
                let peer = contact.user.unwrap_or_default().id;
                let request = contact_request(user, EntryId::generate().to_string(), peer, what);
                match self.messages.append(call, request).await {
                    // The other was faster.
                    Err(error) if error.code() == ErrorCode::Conflict => {}
                    outcome => outcome.map(drop)?,
                }
            }
        }
    }

    pub(super) async fn keep_out(&self, request: wire::Suspend) -> Result<()> {
        let account = self.store.account_by_name(name_key(&request.name)).await?;
        let unknown = || Error::not_found(format_args!("user {:?}", request.name));
        let user = UserId::new(account.ok_or_else(unknown)?.user.id);
        let name = request.name.clone();
        self.whole(async move |me| {
            let outcome = me.store.suspend(user, request.suspended, me.clock.now_ms()).await;
            // Also if it failed: it may be stored all the same.
            (me.standing_changed)();
            me.kept_out.invalidate(&[user]).await;
            let ended = outcome?.ok_or_else(|| Error::not_found(format_args!("user {name:?}")))?;
            tracing::info!(%user, suspended = request.suspended, sessions = ended.len(), "an account was suspended or let in");
            let mut kept_out = me.bots_of(user).await?;
            me.kept_out.invalidate(&kept_out).await;
            if request.suspended {
                kept_out.push(user);
                let ended = ended.into_iter().map(|(_, session)| session).collect();
                me.closed(&kept_out, AccountClosed::Suspended, ended).await;
            }
            Ok(())
        })
        .await
    }
}

/// A call on behalf of a user, by this service alone.
pub(super) fn as_user(user: UserId) -> Call {
    let caller = Caller { user, session: SessionId::new(0), scopes: Scopes::ALL };
    Call { caller: Some(caller), origin: None, address: None, deadline: Instant::now() + CLOSING_TIMEOUT }
}
