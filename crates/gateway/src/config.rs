//! What may be set, and the defaults.

use std::{fmt, str::FromStr, time::Duration};

use subtle::ConstantTimeEq as _;

use crate::{Network, TlsFiles};

/// The settings of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Connections at a time from one address; further ones are closed at once.
    pub connections_per_address_max: usize,
    /// Bytes of pushes waiting for one connection; beyond, it is closed as a slow consumer.
    pub outbox_bytes_max: usize,
    /// Pushes waiting for one connection; beyond, it is closed as a slow consumer.
    pub outbox_frames_max: usize,
    /// How long a client may take without reading before it is closed as a slow consumer.
    pub write_timeout: Duration,
    /// How long a client may take for its first bytes, for the head of an HTTP request, and between two of those.
    pub handshake_timeout: Duration,
    /// How long a request may take before it is answered with an error.
    pub request_timeout: Duration,
    /// How long an HTTP connection lives; a WebSocket connection leaves HTTP with its upgrade.
    pub http_connection_max: Duration,
    /// How long a user whose connections have all ended may take to come back before being told as gone.
    pub departure_grace: Duration,
    /// A gateway that drains spreads its clients' reconnects over this time.
    pub drain_reconnect_spread: Duration,
    /// The rates that may change while the gateway runs.
    pub limits: Limits,
    /// The certificate to speak TLS with, WebSocket, HTTP and TCP alike; read again whenever the files change. Without,
    /// everything is plain.
    pub tls: Option<TlsFiles>,
    /// The proxies that are believed when they say whom they speak for: by `X-Forwarded-For`, or a header of the PROXY
    /// protocol before all else.
    pub trusted_proxies: Vec<Network>,
    /// A gateway that is told to stop answers `/readyz` with an error for so long before it stops accepting, so that who
    /// sends it clients hears of it.
    pub drain_notice: Duration,
    /// What those who run the server show to administer it over HTTP; without it nobody can.
    pub admin_key: Option<AdminKey>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            outbox_bytes_max: 1024 * 1024,
            outbox_frames_max: 4_096,
            write_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            http_connection_max: Duration::from_secs(60),
            departure_grace: Duration::from_secs(3),
            drain_reconnect_spread: Duration::from_secs(5),
            drain_notice: Duration::ZERO,
            limits: Limits::default(),
            tls: None,
            trusted_proxies: Vec::new(),
            admin_key: None,
        }
    }
}

/// The secret of those who run the server: 64 hexadecimal digits. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey(String);

/// A text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an admin key has to be 64 hexadecimal digits")]
pub struct InvalidAdminKey;

impl AdminKey {
    /// The digits of a key.
    pub const DIGITS: usize = 64;

    /// Whether a text is the key. Takes the same time whatever the text, so that the key cannot be found out digit by digit.
    pub(crate) fn is(&self, text: &str) -> bool {
        bool::from(self.0.as_bytes().ct_eq(text.trim().to_ascii_lowercase().as_bytes()))
    }
}

impl FromStr for AdminKey {
    type Err = InvalidAdminKey;

    fn from_str(text: &str) -> Result<Self, InvalidAdminKey> {
        let text = text.trim();
        let is_key = text.len() == Self::DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_key { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidAdminKey) }
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

/// How much one client, user, conversation or address may ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests of one connection, sends apart.
    pub requests_per_connection: Rate,
    /// Messages sent by one user, over all connections.
    pub sends_per_user: Rate,
    /// Messages sent into one conversation by all its members.
    pub sends_per_conversation: Rate,
    /// Requests of one address to register, log in or refresh tokens.
    pub accounts_per_address: Rate,
    /// One user's changes to contacts (friend requests, remarks, blocks) and to profile and settings.
    pub contacts_per_user: Rate,
    /// Groups that one user makes, joins, invites to and changes.
    pub groups_per_user: Rate,
    /// One user's searches, for messages and for users.
    pub searches_per_user: Rate,
    /// One user's changes to bots, keys and webhooks.
    pub bots_per_user: Rate,
    /// One user's reports.
    pub reports_per_user: Rate,
    /// One user's notices of typing; further ones are dropped without a word.
    pub typing_per_user: Rate,
    /// Drafts saved by one user.
    pub drafts_per_user: Rate,
    /// How long an account is new, and has but a part of the rates of users.
    pub new_account_age: Duration,
    /// That part, of a hundred; at least 1.
    pub new_account_percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let per_minute = |count: u32, burst| Rate { per_second: f64::from(count) / 60.0, burst };
        Self {
            requests_per_connection: Rate { per_second: 200.0, burst: 1_000 },
            sends_per_user: Rate { per_second: 1_000.0, burst: 2_000 },
            sends_per_conversation: Rate { per_second: 500.0, burst: 2_000 },
            accounts_per_address: Rate { per_second: 50.0, burst: 500 },
            contacts_per_user: per_minute(120, 200),
            groups_per_user: per_minute(120, 200),
            searches_per_user: Rate { per_second: 10.0, burst: 100 },
            bots_per_user: per_minute(60, 100),
            reports_per_user: per_minute(10, 20),
            typing_per_user: Rate { per_second: 5.0, burst: 20 },
            drafts_per_user: Rate { per_second: 5.0, burst: 50 },
            new_account_age: Duration::from_secs(24 * 3_600),
            new_account_percent: 25,
        }
    }
}

impl Limits {
    /// No limits at all: for tests and measurements.
    pub const UNLIMITED: Self = Self {
        requests_per_connection: Rate::UNLIMITED,
        sends_per_user: Rate::UNLIMITED,
        sends_per_conversation: Rate::UNLIMITED,
        accounts_per_address: Rate::UNLIMITED,
        contacts_per_user: Rate::UNLIMITED,
        groups_per_user: Rate::UNLIMITED,
        searches_per_user: Rate::UNLIMITED,
        bots_per_user: Rate::UNLIMITED,
        reports_per_user: Rate::UNLIMITED,
        typing_per_user: Rate::UNLIMITED,
        drafts_per_user: Rate::UNLIMITED,
        new_account_age: Duration::ZERO,
        new_account_percent: 100,
    };
}

/// So many at once, and so many more each second. A rate of 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Lasting, each second.
    pub per_second: f64,
    /// At once, after a pause.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0.0, burst: 0 };

    /// So many hundredths of it (at least one, as none would be no limit), and at least one at once.
    pub(crate) fn part(self, percent: u32) -> Self {
        let part = f64::from(percent.clamp(1, 100)) / 100.0;
        Self { per_second: self.per_second * part, burst: (f64::from(self.burst) * part).ceil() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_key_is_sixty_four_digits_is_recognized_and_never_shown() {
        let digits = "0123456789abcdef".repeat(4);
        let key: AdminKey = format!("{}\n", digits.to_uppercase()).parse().unwrap();
        assert!(key.is(&digits) && key.is(&digits.to_uppercase()));
        assert!(!key.is("") && !key.is(&digits[1..]) && !key.is(&digits.replace('f', "e")));
        assert_eq!(format!("{key:?}"), "AdminKey(…)");
        for wrong in ["", &digits[1..], &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<AdminKey>(), Err(InvalidAdminKey));
        }
    }
}
