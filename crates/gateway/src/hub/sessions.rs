//! Whether sessions with a connection here have ended without this gateway's hearing of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use api::{Call, Identity};
use futures_util::{StreamExt as _, stream};
use protocol::{
    SessionId, UserId,
    queue::AccountClosed,
    wire::{ErrorCode, UserInfo},
};
use tokio::time::{Instant, sleep};

use super::Hub;

/// Sessions asked about at a time.
const CHECKS_MAX: usize = 64;
/// All are asked about once more after this: an instance of the user service hears of what another one did a moment later.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// All are asked about so often in any case: who connects just when a session ends may be let in by an instance that has not
/// heard of it, and the push that closes connections has come before.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(60);

impl Hub {
    /// Asks about each session, and closes the connections of those that have ended: the push that was to tell it may be
    /// among those that were lost.
    pub(super) async fn check_sessions(self: Arc<Self>) {
        self.check_all().await;
        sleep(AGAIN_AFTER).await;
        self.check_all().await;
    }

    async fn check_all(&self) {
        let sessions: HashSet<(UserId, SessionId)> = {
            let state = self.state.lock();
            let callers = state.connections.values().filter_map(|connection| connection.caller.get());
            callers.map(|caller| (caller.user, caller.session)).collect()
        };
        let checks = sessions.into_iter().map(|(user, session)| self.check(user, session));
        stream::iter(checks).for_each_concurrent(CHECKS_MAX, |check| check).await;
    }

    async fn check(&self, user: UserId, session: SessionId) {
        let deadline = Instant::now() + self.dispatch.request_timeout();
        let call = Call { caller: None, origin: None, address: None, deadline };
        let who = UserInfo { id: user.get(), ..UserInfo::default() };
        let identity = Identity { user: Some(who), session: session.get(), ..Identity::default() };
        match self.dispatch.services().user.check_session(&call, identity).await {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::SessionEnded => self.end_session(user, session),
            Err(error) if error.code() == ErrorCode::Suspended => self.close_account(user, AccountClosed::Suspended),
            // It is refused when it connects again.
            Err(error) => tracing::warn!(%error, %user, "whether a session has ended cannot be told"),
        }
    }
}
