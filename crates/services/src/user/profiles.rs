//! What users show of themselves, how they are found by it, and their settings.

use std::collections::HashMap;

use api::{AppendRequest, Call, SettingsAct, SettingsRequest, append_request};
use protocol::{
    Error, Result, UserId, limits, name_key,
    wire::{self, UserInfo},
};
use store::{NAME_KEPT, ProfileChange};

use super::{
    Service,
    accounts::{name_taken, new_name},
    ms,
};
use crate::text;

/// A search's page is named by a key, which is at most so long.
const PAGE_BYTES_MAX: usize = 2_048;

impl Service {
    pub(super) async fn own(&self, call: &Call, user: UserId) -> Result<wire::Account> {
        let account = self.store.account(user).await?.filter(|account| !account.user.deleted);
        let account = account.ok_or_else(|| Error::not_found("the account"))?;
        let settings = self.messages.get_settings(call, SettingsRequest { user: user.get() }).await?;
        Ok(wire::Account {
            user: Some(account.user),
            write_policy: settings.write_policy,
            invisible: settings.invisible,
            created_ms: account.created_ms,
        })
    }

    pub(super) async fn change_profile(&self, call: &Call, request: wire::UpdateProfile) -> Result<wire::Account> {
        let user = call.caller()?.user;
        let display_name = request.display_name.map(|name| display_name(&name)).transpose()?;
        let line = |text: String| text::line("status_line", &text, limits::STATUS_LINE_CHARS_MAX);
        let change = ProfileChange {
            display_name: display_name.map(|name| {
                let key = name_key(&name);
                (name, key)
            }),
            avatar: request.avatar.map(|avatar| text::avatar("avatar", &avatar)).transpose()?,
            status_line: request.status_line.map(line).transpose()?,
            language: request.language.map(|language| text::language(&language)).transpose()?,
        };
        let before = self.store.account(user).await?.ok_or_else(|| Error::not_found("the account"))?;
        let call = call.clone();
        self.whole(async move |me| {
            let outcome = me.store.update_profile(user, change, me.clock.now_ms()).await;
            // Who was renamed meanwhile has another name than before.
            let now = outcome.as_ref().ok().and_then(|changed| changed.as_ref());
            let names = now.map(|now| name_key(&now.name)).into_iter().chain([name_key(&before.user.name)]);
            me.changed(user, &names.collect::<Vec<_>>()).await;
            outcome?.ok_or_else(|| Error::not_found("the account"))?;
            me.relay(&call).await;
            me.own(&call, user).await
        })
        .await
    }

    pub(super) async fn change_name(&self, call: &Call, request: wire::Rename) -> Result<wire::Account> {
        let user = call.caller()?.user;
        let name = new_name(&request.name)?;
        let before = self.store.account(user).await?.ok_or_else(|| Error::not_found("the account"))?;
        let call = call.clone();
        self.whole(async move |me| {
            let now_ms = me.clock.now_ms();
            let outcome = me.store.rename(user, name.to_string(), name.key(), now_ms, now_ms - ms(NAME_KEPT)).await;
            me.changed(user, &[name_key(&before.user.name), name.key()]).await;
            if outcome?.is_none() {
                return Err(name_taken(&name));
            }
            me.renamed.add(user, name.to_string(), now_ms, now_ms + ms(me.config.tokens_live()));
            me.relay(&call).await;
            me.own(&call, user).await
        })
        .await
    }

    pub(super) async fn change_settings(&self, call: &Call, request: wire::UpdateSettings) -> Result<wire::Account> {
        let user = call.caller()?.user;
        let act = SettingsAct { write_policy: request.write_policy, invisible: request.invisible };
        let request = AppendRequest {
            conversation: user.personal_log().get(),
            sender: user.get(),
            id: request.id,
            content: None,
            act: Some(append_request::Act::Settings(act)),
        };
        self.append_own(call, request).await?;
        self.own(call, user).await
    }

    /// Appends to the caller's own personal log. No origin: the answer does not bear the position, so the connection that
    /// asked needs the push as well.
    pub(super) async fn append_own(&self, call: &Call, request: AppendRequest) -> Result<()> {
        let call = Call { origin: None, ..call.clone() };
        self.messages.append(&call, request).await.map(drop)
    }

    pub(super) async fn find(&self, request: wire::FindUsers) -> Result<Vec<UserInfo>> {
        let count = request.ids.len() + request.names.len();
        if count > limits::FIND_USERS_MAX {
            return Err(Error::limit("ids and names", count, limits::FIND_USERS_MAX));
        }
        let mut users = Vec::with_capacity(count);
        if !request.ids.is_empty() {
            let ids: Vec<UserId> = request.ids.into_iter().map(UserId::new).collect();
            users.extend(self.infos(&ids).await?.into_iter().flatten());
        }
        // What is longer has no user.
        let names = request.names.iter().filter(|name| name.chars().count() <= limits::NAME_CHARS_MAX);
        for key in names.map(|name| name_key(name)).filter(|key| !key.is_empty()) {
            let load = || async {
                let found = self.store.find(Vec::new(), vec![key.clone()]).await?;
                Ok(found.into_iter().next())
            };
            users.extend(self.by_name.get(key.as_str(), load).await?);
        }
        Ok(users)
    }

    /// What everybody may know of these users, in their order.
    pub(super) async fn infos(&self, ids: &[UserId]) -> Result<Vec<Option<UserInfo>>> {
        let load = |ids: Vec<UserId>| async move {
            let found = self.store.find(ids, Vec::new()).await?;
            Ok(found.into_iter().map(|user| (UserId::new(user.id), user)).collect())
        };
        self.by_id.get_many(ids, load).await
    }

    /// One user, deleted or not.
    pub(super) async fn info(&self, user: UserId) -> Result<UserInfo> {
        let found = self.infos(&[user]).await?.pop().flatten();
        found.ok_or_else(|| Error::not_found(format_args!("user {user}")))
    }

    /// Puts what everybody may know of users in the place of their ids.
    pub(super) async fn fill(&self, mut users: Vec<&mut UserInfo>) -> Result<()> {
        for users in users.chunks_mut(limits::FIND_USERS_MAX) {
            let ids: Vec<UserId> = users.iter().map(|user| UserId::new(user.id)).collect();
            let found = self.infos(&ids).await?;
            let mut found: HashMap<u64, UserInfo> = found.into_iter().flatten().map(|user| (user.id, user)).collect();
            for user in users {
                if let Some(found) = found.get_mut(&user.id) {
                    **user = found.clone();
                }
            }
        }
        Ok(())
    }

    pub(super) async fn search(&self, request: wire::SearchUsers) -> Result<wire::Users> {
        let length = request.query.chars().count();
        if length > limits::SEARCH_USERS_QUERY_CHARS_MAX {
            return Err(Error::limit("query: characters", length, limits::SEARCH_USERS_QUERY_CHARS_MAX));
        }
        let prefix = name_key(request.query.trim());
        if prefix.is_empty() {
            return Err(Error::invalid(format!(
                "query: empty; allowed are 1 to {} characters",
                limits::SEARCH_USERS_QUERY_CHARS_MAX
            )));
        }
        text::at_most_bytes("page", &request.page, PAGE_BYTES_MAX)?;
        let limit = text::bounded("limit", request.limit, limits::SEARCH_USERS_DEFAULT, limits::SEARCH_USERS_MAX)?;
        let (users, next) = self.store.search(prefix, request.page, limit).await?;
        Ok(wire::Users { users, next_page: next.unwrap_or_default() })
    }

    /// What everybody may know of a user has changed. To be called whatever the store answered: what failed may be stored all
    /// the same, and the retry knows nothing of a former name.
    pub(super) async fn changed(&self, user: UserId, name_keys: &[String]) {
        let keys: Vec<&str> = name_keys.iter().map(String::as_str).collect();
        self.by_name.invalidate(&keys).await;
        self.by_id.invalidate(&[user]).await;
    }
}

/// What to show instead of a name.
pub(super) fn display_name(name: &str) -> Result<String> {
    text::line("display_name", name, limits::DISPLAY_NAME_CHARS_MAX)
}
