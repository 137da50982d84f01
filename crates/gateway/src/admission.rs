//! Whether a request may be made, and now: scopes, and the rates of users, addresses and conversations.
//!
//! Everything here is told with what is allowed: the scope that is missing, the time after which to come back. The
//! connection's own rate is with the connection.

use std::{net::IpAddr, time::Duration};

use api::Caller;
use parking_lot::RwLock;
use protocol::{
    ConversationId, Error, Result, UserId,
    wire::{self, ErrorCode, client_frame::Body as Request, send::Target},
};

use crate::{
    Limits, Rate,
    dispatch::{
        self,
        table::{Access, Class, Row},
    },
    rate::Buckets,
};

/// What becomes of a request that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It is answered by its service.
    Served,
    /// It is answered as if it were, and goes no further: over the rate, but not worth an error.
    Dropped,
}

/// The accounts of all who ask.
pub(crate) struct Admission {
    limits: RwLock<Limits>,
    users: Buckets<(Class, UserId)>,
    conversations: Buckets<ConversationId>,
    addresses: Buckets<IpAddr>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: RwLock::new(limits),
            users: Buckets::new(),
            conversations: Buckets::new(),
            addresses: Buckets::new(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.read()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write() = limits;
    }

    /// Whether one more request to register, log in or refresh may come from this address now.
    ///
    /// # Errors
    ///
    /// The address is over its rate.
    pub(crate) fn account_request(&self, address: IpAddr) -> Result<()> {
        let rate = self.limits().accounts_per_address;
        self.addresses.take(address, rate).map_err(|after| too_many("requests from your address", after))
    }

    /// Whether this caller may make this request now.
    ///
    /// # Errors
    ///
    /// The caller's API key does not allow it, or the user, or the conversation, is over a rate.
    pub(crate) fn request(&self, caller: Caller, request: &Request) -> Result<Admitted> {
        let row = dispatch::row(request);
        allowed(caller, row)?;
        match request {
            Request::Send(send) => self.send(caller.user, send).map(|()| Admitted::Served),
            _ => self.class(caller.user, row.class),
        }
    }

    /// Whether this user may send one more message now, and into this conversation. First the user: what is refused for
    /// that must not use up what the others of the conversation have.
    ///
    /// # Errors
    ///
    /// One of both is over its rate.
    pub(crate) fn send(&self, user: UserId, send: &wire::Send) -> Result<()> {
        let limits = self.limits();
        let rate = of_user(user, limits.sends_per_user, &limits);
        self.users.take((Class::Sends, user), rate).map_err(|after| too_many("messages", after))?;
        // One that is named by its other member has no more than two who write.
        if let Some(Target::Conversation(conversation)) = send.target {
            let conversation = ConversationId::new(conversation);
            let taken = self.conversations.take(conversation, limits.sends_per_conversation);
            taken.map_err(|after| too_many("messages in this conversation", after))?;
        }
        Ok(())
    }

    fn class(&self, user: UserId, class: Class) -> Result<Admitted> {
        let limits = self.limits();
        let (rate, what) = match class {
            Class::General | Class::Accounts | Class::Sends => return Ok(Admitted::Served),
            Class::Contacts => (limits.contacts_per_user, "changes of your contacts and your profile"),
            Class::Groups => (limits.groups_per_user, "groups, invitations and changes of groups"),
            Class::Searches => (limits.searches_per_user, "searches"),
            Class::Bots => (limits.bots_per_user, "changes of your bots and their keys"),
            Class::Reports => (limits.reports_per_user, "reports"),
            Class::Typing => (limits.typing_per_user, "notices of typing"),
            Class::Drafts => (limits.drafts_per_user, "drafts"),
        };
        match self.users.take((class, user), of_user(user, rate, &limits)) {
            Ok(()) => Ok(Admitted::Served),
            Err(_) if class == Class::Typing => Ok(Admitted::Dropped),
            Err(after) => Err(too_many(what, after)),
        }
    }
}

/// Whether a caller may make such requests at all.
///
/// # Errors
///
/// The caller's API key does not allow it; the message names what would.
pub(crate) fn allowed(caller: Caller, row: &Row) -> Result<()> {
    match row.access {
        Access::Anybody | Access::LoggedIn => Ok(()),
        Access::Scope(scope) if caller.scopes.contain(scope) => Ok(()),
        Access::Scope(scope) => Err(Error::new(
            ErrorCode::ScopeMissing,
            format!("{}: this API key does not have the scope {}", row.name, scope.as_str_name()),
        )),
        Access::Session if caller.scopes.are_all() => Ok(()),
        Access::Session => Err(Error::new(
            ErrorCode::ScopeMissing,
            format!("{}: no scope of an API key allows this: it needs a log-in with the password", row.name),
        )),
    }
}

/// A rate, for this user: a part of it while the account is new.
fn of_user(user: UserId, rate: Rate, limits: &Limits) -> Rate {
    let age_ms = dispatch::now_ms().saturating_sub(user.created_ms());
    let is_new = age_ms < i64::try_from(limits.new_account_age.as_millis()).unwrap_or(i64::MAX);
    if is_new { rate.part(limits.new_account_percent) } else { rate }
}

/// What a request over a rate is answered with.
pub(crate) fn too_many(what: &str, retry_after: Duration) -> Error {
    // Rounded up: who waits as long as the message says waits long enough.
    let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
    Error::new(ErrorCode::RateLimited, format!("too many {what}: try again in {seconds} s"))
        .with_retry_after(retry_after)
}

#[cfg(test)]
mod tests {
    use api::Scopes;
    use protocol::{SessionId, wire::Scope};

    use super::*;

    #[test]
    fn a_new_account_has_a_part_of_the_rates_and_no_limit_stays_none() {
        let limits = Limits { new_account_percent: 25, ..Limits::default() };
        let rate = Rate { per_second: 8.0, burst: 10 };
        let made = |ago: Duration| {
            let ms = u64::try_from(dispatch::now_ms()).unwrap() - u64::try_from(ago.as_millis()).unwrap();
            // 2026-01-01, as the ids have it.
            UserId::new((ms - u64::try_from(UserId::new(0).created_ms()).unwrap()) << 22)
        };
        let new = made(Duration::from_secs(3_600));
        let old = made(limits.new_account_age + Duration::from_secs(1));
        assert_eq!(of_user(new, rate, &limits), Rate { per_second: 2.0, burst: 3 });
        assert_eq!(of_user(old, rate, &limits), rate);
        assert_eq!(of_user(new, Rate::UNLIMITED, &limits), Rate::UNLIMITED);
        let limits = Limits { new_account_percent: 0, ..limits };
        assert!(of_user(new, rate, &limits).per_second > 0.0, "a part of a limit is a limit");
    }

    #[test]
    fn a_key_may_do_what_its_scopes_say_and_nothing_that_needs_a_session() {
        let caller = |scopes: &[i32]| Caller {
            user: UserId::new(7),
            session: SessionId::new(70),
            scopes: Scopes::of_identity(scopes),
        };
        for row in dispatch::table::ROWS {
            allowed(caller(&[]), row).unwrap();
            let every = [1, 2, 3, 4, 5];
            let refused = allowed(caller(&every), row).err().map(|error| error.code());
            assert_eq!(refused, (row.access == Access::Session).then_some(ErrorCode::ScopeMissing), "{}", row.name);
            let Access::Scope(needed) = row.access else { continue };
            for scope in [Scope::Read, Scope::Write, Scope::Groups, Scope::Contacts, Scope::Profile] {
                match allowed(caller(&[scope.into()]), row) {
                    Ok(()) => assert_eq!(scope, needed, "{}", row.name),
                    Err(error) => {
                        assert_ne!(scope, needed, "{}", row.name);
                        assert_eq!(error.code(), ErrorCode::ScopeMissing);
                        assert!(error.message().contains(needed.as_str_name()), "{error}");
                    }
                }
            }
        }
    }
}
