//! Binding a connection to its session.

use std::{collections::HashSet, sync::Arc, time::Duration};

use api::{Call, Caller, ConnectIdentity, ListGroupsRequest, Scopes, Token};
use protocol::{
    Error, GroupId, Result, SessionId, UserId,
    wire::{Connect, Connected, ErrorCode, Sync, SyncPage, client_frame, connect},
};
use tokio::time::Instant;

use super::{Connection, Hub};
use crate::{
    admission::allowed,
    dispatch::{self, now_ms},
    session::accepted_heartbeat,
};

/// What a connection is bound to.
pub(crate) struct Bound {
    /// Whom it acts for.
    pub(crate) caller: Caller,
    /// The answer.
    pub(crate) connected: Connected,
    /// When the time of the API key that it shows is over.
    pub(crate) ends_at: Option<Instant>,
}

impl Hub {
    /// Binds the connection to the token's session. The order is what makes catching up complete: the route stands and
    /// the groups' topics are heard before `sync` reads.
    ///
    /// # Errors
    ///
    /// The token is not valid, or a service fails. The client may try again on the same connection, with the same
    /// session.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        mut call: Call,
        request: Connect,
    ) -> Result<Bound> {
        let services = self.dispatch.services();
        let Some(connect::Token::AccessToken(token) | connect::Token::ResumeToken(token)) = request.token else {
            return Err(Error::invalid("token is missing: an access token or a resume token"));
        };
        let ConnectIdentity { identity, resume_token, resume_expires_ms } =
            services.user.connect(&call, Token { token }).await?;
        let (user, session, scopes) = identity
            .clone()
            .and_then(|identity| Some((identity.user?, identity.session, Scopes::of_identity(&identity.scopes))))
            .ok_or_else(|| Error::unavailable("the user service did not say who this is"))?;
        let ends_at = identity.as_ref().and_then(|identity| moment(identity.expires_ms));
        let caller = Caller { user: UserId::new(user.id), session: SessionId::new(session), scopes };
        if request.sync.is_some() {
            let sync = client_frame::Body::Sync(Sync::default());
            allowed(caller, dispatch::row(&sync))?;
        }
        call.caller = Some(caller);
        self.enter(connection, caller)?;
        // If the session ended meanwhile, those who were told to close did not include this connection.
        services.user.check_session(&call, identity.unwrap_or_default()).await?;
        // A route that cannot be told costs immediacy, which the hub goes on trying to regain, and nothing else.
        let _ = self.settle_route(caller).await;
        self.hear_groups(&call, caller.user).await?;
        let sync = match request.sync {
            Some(sync) => Some(self.dispatch.sync(&call, sync).await?),
            None => None,
        };
        let heartbeat = accepted_heartbeat(request.heartbeat_ms);
        let connected = Connected {
            user: Some(user),
            session,
            resume_token,
            resume_expires_ms,
            heartbeat_ms: u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX),
            sync,
            time_ms: now_ms(),
        };
        Ok(Bound { caller, connected, ends_at })
    }

    async fn hear_groups(&self, call: &Call, user: UserId) -> Result<()> {
        let listed = self.dispatch.services().message.list_groups(call, ListGroupsRequest {}).await?;
        let groups: HashSet<GroupId> = listed.ids.into_iter().map(GroupId::new).collect();
        self.doubt_groups_except(user, &groups);
        let topics = self.add_groups(user, groups);
        // Without the queue nobody hears anything; who connects now catches up as everybody does.
        let _ = self.topics.heard(topics).await;
        Ok(())
    }

    /// Hears the groups that a client was just told of. They are all heard already, unless the push that the user
    /// entered one was lost.
    pub(crate) fn repair_groups(&self, user: UserId, page: &SyncPage) {
        let groups = page.heads.iter().filter_map(|head| {
            let conversation = head.conversation.as_ref()?;
            (conversation.kind() == protocol::wire::ConversationKind::Group).then(|| GroupId::new(conversation.id))
        });
        self.add_missing_groups(user, groups);
    }

    fn enter(&self, connection: &Arc<Connection>, caller: Caller) -> Result<()> {
        let entered = *connection.caller.get_or_init(|| caller);
        if entered != caller {
            return Err(Error::new(ErrorCode::Invalid, "this connection belongs to another session: make a new one"));
        }
        let mut state = self.state.lock();
        let user = state.users.entry(caller.user).or_default();
        if user.connections.iter().all(|other| other.id != connection.id) {
            user.connections.push(connection.clone());
        }
        self.metrics.users.set(i64::try_from(state.users.len()).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// When a time has come, milliseconds since 1970; `None` if never (0), or so late that nobody will see it.
fn moment(time_ms: i64) -> Option<Instant> {
    let wait = Duration::from_millis(u64::try_from(time_ms - now_ms()).unwrap_or(0));
    if time_ms == 0 { None } else { Instant::now().checked_add(wait) }
}
