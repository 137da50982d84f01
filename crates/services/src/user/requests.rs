//! What the service is asked, and where it is done.

use api::{AccountEnd, Call, Caller, ConnectIdentity, Identity, IncomingTarget, Token, UserService, contact_act::What};
use async_trait::async_trait;
use protocol::{
    Error, Result, SessionId, UserId, limits,
    wire::{self, Done, Session},
};

use super::{
    Service,
    bots::API_KEY_PREFIX,
    full, ms,
    sessions::session_ended,
    tokens::{Claims, Purpose},
};
use crate::text;

#[async_trait]
impl UserService for Service {
    async fn register(&self, call: &Call, request: wire::Register) -> Result<Session> {
        self.make_account(call, request).await
    }

    async fn log_in(&self, call: &Call, request: wire::LogIn) -> Result<Session> {
        self.start_session(call, request).await
    }

    async fn refresh(&self, call: &Call, request: wire::Refresh) -> Result<Session> {
        self.renew_session(call, request).await
    }

    async fn authenticate(&self, _call: &Call, request: Token) -> Result<Identity> {
        if let Some(secret) = request.token.strip_prefix(API_KEY_PREFIX) {
            return self.key_identity(secret).await;
        }
        let (claims, identity) = self.identify(&[Purpose::Access], &request.token).await?;
        self.note_seen(claims.session);
        Ok(identity)
    }

    async fn connect(&self, _call: &Call, request: Token) -> Result<ConnectIdentity> {
        if let Some(secret) = request.token.strip_prefix(API_KEY_PREFIX) {
            let identity = Some(self.key_identity(secret).await?);
            return Ok(ConnectIdentity { identity, ..ConnectIdentity::default() });
        }
        let purposes = [Purpose::Resume, Purpose::Access, Purpose::Webhook];
        let (claims, identity) = self.identify(&purposes, &request.token).await?;
        if !identity.scopes.is_empty() {
            // A resume token is as good as a session.
            return Ok(ConnectIdentity { identity: Some(identity), ..ConnectIdentity::default() });
        }
        self.note_seen(claims.session);
        let resume_expires_ms = self.clock.now_ms() + ms(self.config.resume_token_ttl());
        let resume_token = self.tokens.issue(Purpose::Resume, &Claims { expires_ms: resume_expires_ms, ..claims })?;
        Ok(ConnectIdentity { identity: Some(identity), resume_token, resume_expires_ms })
    }

    async fn check_session(&self, _call: &Call, request: Identity) -> Result<Done> {
        if !self.ended.contains(SessionId::new(request.session)) {
            return Ok(Done {});
        }
        let user = UserId::new(request.user.unwrap_or_default().id);
        Err(self.refusal(user, session_ended()).await)
    }

    async fn change_password(&self, call: &Call, request: wire::ChangePassword) -> Result<Done> {
        self.replace_password(call, request).await.map(done)
    }

    async fn list_sessions(&self, call: &Call, _request: wire::ListSessions) -> Result<wire::Sessions> {
        let caller = full(call)?;
        let mut sessions = self.store.sessions(caller.user, self.clock.now_ms()).await?;
        for session in &mut sessions {
            session.current = session.id == caller.session.get();
        }
        Ok(wire::Sessions { sessions })
    }

    async fn revoke_session(&self, call: &Call, request: wire::RevokeSession) -> Result<Done> {
        let (user, call) = (full(call)?.user, call.clone());
        self.whole(async move |me| {
            if me.end_session(&call, user, SessionId::new(request.session)).await? {
                Ok(Done {})
            } else {
                Err(Error::not_found(format_args!("session {}", request.session)))
            }
        })
        .await
    }

    async fn log_out(&self, call: &Call, _request: wire::LogOut) -> Result<Done> {
        let (Caller { user, session, .. }, call) = (full(call)?, call.clone());
        self.whole(async move |me| me.end_session(&call, user, session).await.map(|_| Done {})).await
    }

    async fn find_users(&self, _call: &Call, request: wire::FindUsers) -> Result<wire::Users> {
        Ok(wire::Users { users: self.find(request).await?, next_page: String::new() })
    }

    async fn search_users(&self, _call: &Call, request: wire::SearchUsers) -> Result<wire::Users> {
        self.search(request).await
    }

    async fn get_account(&self, call: &Call, _request: wire::GetAccount) -> Result<wire::Account> {
        self.own(call, call.caller()?.user).await
    }

    async fn update_profile(&self, call: &Call, request: wire::UpdateProfile) -> Result<wire::Account> {
        self.change_profile(call, request).await
    }

    async fn update_settings(&self, call: &Call, request: wire::UpdateSettings) -> Result<wire::Account> {
        self.change_settings(call, request).await
    }

    async fn rename(&self, call: &Call, request: wire::Rename) -> Result<wire::Account> {
        self.change_name(call, request).await
    }

    async fn delete_account(&self, call: &Call, request: wire::DeleteAccount) -> Result<AccountEnd> {
        self.close_own(call, request).await
    }

    async fn request_friend(&self, call: &Call, request: wire::RequestFriend) -> Result<Done> {
        let message = text::lines("message", &request.message, limits::FRIEND_MESSAGE_CHARS_MAX)?;
        self.contact(call, request.id, request.user, What::Request(message)).await
    }

    async fn answer_friend(&self, call: &Call, request: wire::AnswerFriend) -> Result<Done> {
        self.contact(call, request.id, request.user, What::Answer(request.accept)).await
    }

    async fn withdraw_friend(&self, call: &Call, request: wire::WithdrawFriend) -> Result<Done> {
        self.contact(call, request.id, request.user, What::Withdraw(true)).await
    }

    async fn remove_friend(&self, call: &Call, request: wire::RemoveFriend) -> Result<Done> {
        self.contact(call, request.id, request.user, What::Remove(true)).await
    }

    async fn set_remark(&self, call: &Call, request: wire::SetRemark) -> Result<Done> {
        let remark = text::line("remark", &request.remark, limits::REMARK_CHARS_MAX)?;
        self.contact(call, request.id, request.user, What::Remark(remark)).await
    }

    async fn set_blocked(&self, call: &Call, request: wire::SetBlocked) -> Result<Done> {
        self.contact(call, request.id, request.user, What::Block(request.blocked)).await
    }

    async fn list_contacts(&self, call: &Call, request: wire::ListContacts) -> Result<wire::Contacts> {
        self.contacts(call, request).await
    }

    async fn create_bot(&self, call: &Call, request: wire::CreateBot) -> Result<wire::Bot> {
        self.make_bot(call, request).await
    }

    async fn list_bots(&self, call: &Call, _request: wire::ListBots) -> Result<wire::Bots> {
        self.own_bots(call).await
    }

    async fn delete_bot(&self, call: &Call, request: wire::DeleteBot) -> Result<AccountEnd> {
        let bot = self.own_bot(call, request.bot).await?;
        self.close_bot(UserId::new(bot.user.id)).await
    }

    async fn create_api_key(&self, call: &Call, request: wire::CreateApiKey) -> Result<wire::ApiKey> {
        self.make_api_key(call, request).await
    }

    async fn list_api_keys(&self, call: &Call, request: wire::ListApiKeys) -> Result<wire::ApiKeys> {
        self.own_api_keys(call, request).await
    }

    async fn revoke_api_key(&self, call: &Call, request: wire::RevokeApiKey) -> Result<Done> {
        self.end_api_key(call, request).await.map(done)
    }

    async fn create_webhook(&self, call: &Call, request: wire::CreateWebhook) -> Result<wire::Webhook> {
        self.make_webhook(call, request).await
    }

    async fn list_webhooks(&self, call: &Call, request: wire::ListWebhooks) -> Result<wire::Webhooks> {
        self.own_webhooks(call, request).await
    }

    async fn delete_webhook(&self, call: &Call, request: wire::DeleteWebhook) -> Result<Done> {
        self.remove_webhook(call, request.webhook).await.map(done)
    }

    async fn list_dead_letters(&self, call: &Call, request: wire::ListDeadLetters) -> Result<wire::DeadLetters> {
        self.dead_letters(call, request).await
    }

    async fn redeliver(&self, call: &Call, request: wire::Redeliver) -> Result<Done> {
        self.redeliver_letters(call, request).await.map(done)
    }

    async fn create_incoming_webhook(
        &self,
        call: &Call,
        request: wire::CreateIncomingWebhook,
    ) -> Result<wire::IncomingWebhook> {
        self.make_incoming(call, request).await
    }

    async fn list_incoming_webhooks(
        &self,
        call: &Call,
        request: wire::ListIncomingWebhooks,
    ) -> Result<wire::IncomingWebhooks> {
        self.own_incoming(call, request).await
    }

    async fn delete_incoming_webhook(&self, call: &Call, request: wire::DeleteIncomingWebhook) -> Result<Done> {
        self.remove_incoming(call, request.webhook).await.map(done)
    }

    async fn open_incoming_webhook(&self, _call: &Call, request: Token) -> Result<IncomingTarget> {
        self.incoming_target(&request.token).await
    }

    async fn report(&self, call: &Call, request: wire::Report) -> Result<Done> {
        self.file_report(call, request).await.map(done)
    }

    async fn suspend(&self, _call: &Call, request: wire::Suspend) -> Result<Done> {
        self.keep_out(request).await.map(done)
    }

    async fn list_reports(&self, _call: &Call, request: wire::ListReports) -> Result<wire::Reports> {
        self.filed_reports(request).await
    }

    async fn close_report(&self, _call: &Call, request: wire::CloseReport) -> Result<Done> {
        self.finish_report(request).await.map(done)
    }
}

fn done((): ()) -> Done {
    Done {}
}
