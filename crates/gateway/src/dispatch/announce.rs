//! What others are told at once of a change that a user made: the profile, whether the user can be seen.

use std::time::Duration;

use api::{Announcement, Call};
use protocol::{
    Result,
    wire::{Account, Done, RemoveFriend, Rename, SetBlocked, UpdateProfile, UpdateSettings},
};
use tokio::time::timeout;

use super::Dispatch;

/// How long the answer may wait for it: the change stands, and others learn of it sooner or later.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(1);

impl Dispatch {
    pub(super) async fn update_profile(&self, call: &Call, request: UpdateProfile) -> Result<Account> {
        let account = self.services.user.update_profile(call, request).await?;
        self.announce_profile(call, &account).await;
        Ok(account)
    }

    pub(super) async fn rename(&self, call: &Call, request: Rename) -> Result<Account> {
        let account = self.services.user.rename(call, request).await?;
        self.announce_profile(call, &account).await;
        Ok(account)
    }

    pub(super) async fn update_settings(&self, call: &Call, request: UpdateSettings) -> Result<Account> {
        let concerns_visibility = request.invisible.is_some();
        let account = self.services.user.update_settings(call, request).await?;
        if concerns_visibility {
            self.announce(call, Announcement { visibility: true, ..Announcement::default() }).await;
        }
        Ok(account)
    }

    pub(super) async fn set_blocked(&self, call: &Call, request: SetBlocked) -> Result<Done> {
        let SetBlocked { user, blocked, .. } = request;
        let done = self.services.user.set_blocked(call, request).await?;
        if blocked {
            self.announce(call, Announcement { hide_from: user, ..Announcement::default() }).await;
        }
        Ok(done)
    }

    pub(super) async fn remove_friend(&self, call: &Call, request: RemoveFriend) -> Result<Done> {
        let parted_from = request.user;
        let done = self.services.user.remove_friend(call, request).await?;
        self.announce(call, Announcement { parted_from, ..Announcement::default() }).await;
        Ok(done)
    }

    async fn announce_profile(&self, call: &Call, account: &Account) {
        self.announce(call, Announcement { user: account.user.clone(), ..Announcement::default() }).await;
    }

    /// The request has succeeded, whatever becomes of this.
    async fn announce(&self, call: &Call, announcement: Announcement) {
        let told = timeout(ANNOUNCE_WITHIN, self.services.presence.announce(call, announcement)).await;
        let why = match told {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(why, "a change of a user cannot be announced now");
    }
}
