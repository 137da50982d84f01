//! What each part of the process is given of the configuration.

use std::num::NonZeroUsize;

use cache::Lifetime;
use client::{Backoff, Server};
use gateway::{Limits, Rate, TlsFiles};
use services::{group, message, presence, user};
use store::sqlite::SqliteConfig;

use super::Config;

/// Pages of the write-ahead log in one MiB.
const PAGES_PER_MIB: u32 = 256;

/// How long the cache keeps what, which may change while the process runs. Clones are the same lifetimes.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    user_info: Lifetime,
    group_info: Lifetime,
    status: Lifetime,
}

impl Lifetimes {
    /// As this configuration says.
    pub fn of(config: &Config) -> Self {
        let cache = &config.redis_cache;
        Self {
            user_info: cache.user_info_ttl.into(),
            group_info: cache.group_info_ttl.into(),
            status: cache.status_ttl.into(),
        }
    }

    /// From now on as this configuration says.
    pub fn set(&self, config: &Config) {
        let cache = &config.redis_cache;
        self.user_info.set(cache.user_info_ttl);
        self.group_info.set(cache.group_info_ttl);
        self.status.set(cache.status_ttl);
    }
}

impl Config {
    /// For the gateway.
    pub fn gateway(&self) -> gateway::Config {
        let gateway = &self.gateway;
        gateway::Config {
            connections_max: gateway.connections_max,
            connections_per_address_max: gateway.connections_per_address_max,
            outbox_bytes_max: gateway.outbox_bytes_max,
            outbox_frames_max: gateway.outbox_frames_max,
            write_timeout: gateway.write_timeout,
            handshake_timeout: gateway.handshake_timeout,
            request_timeout: gateway.request_timeout,
            http_connection_max: gateway.http_connection_max,
            departure_grace: gateway.departure_grace,
            drain_reconnect_spread: gateway.drain_reconnect_spread,
            drain_notice: gateway.drain_notice,
            limits: self.limits(),
            tls: gateway.tls_certificate.clone().map(|certificate| TlsFiles {
                key: gateway.tls_key.clone().unwrap_or_else(|| certificate.clone()),
                certificate,
            }),
            trusted_proxies: gateway.trusted_proxies.clone(),
            // Of the data directory, which the configuration only names.
            admin_key: None,
        }
    }

    /// The gateway's rates, which may change while it runs.
    pub fn limits(&self) -> Limits {
        let gateway = &self.gateway;
        let rate = |per_second, burst| Rate { per_second: f64::from(per_second), burst };
        let slow = |per_minute, burst| Rate { per_second: f64::from(per_minute) / 60.0, burst };
        Limits {
            requests_per_connection: rate(gateway.requests_per_second, gateway.requests_burst),
            sends_per_user: rate(gateway.sends_per_second, gateway.sends_burst),
            sends_per_conversation: rate(gateway.conversation_sends_per_second, gateway.conversation_sends_burst),
            accounts_per_address: rate(gateway.accounts_per_second, gateway.accounts_burst),
            contacts_per_user: slow(gateway.contacts_per_minute, gateway.contacts_burst),
            groups_per_user: slow(gateway.groups_per_minute, gateway.groups_burst),
            searches_per_user: rate(gateway.searches_per_second, gateway.searches_burst),
            bots_per_user: slow(gateway.bots_per_minute, gateway.bots_burst),
            reports_per_user: slow(gateway.reports_per_minute, gateway.reports_burst),
            typing_per_user: rate(gateway.typing_per_second, gateway.typing_burst),
            drafts_per_user: rate(gateway.drafts_per_second, gateway.drafts_burst),
            new_account_age: gateway.new_account_age,
            new_account_percent: gateway.new_account_percent,
        }
    }

    /// For the user service.
    pub fn user(&self, lifetimes: &Lifetimes) -> user::Config {
        let user = &self.user;
        user::Config {
            passwords: user::PasswordConfig {
                memory_kib: user.password_memory_kib,
                iterations: user.password_iterations,
                threads: user.hashing_threads,
                queue_max: user.hashing_queue,
            },
            access_token_ttl: user.access_token_ttl,
            refresh_token_ttl: user.refresh_token_ttl,
            resume_token_ttl: user.resume_token_ttl,
            info_ttl: lifetimes.user_info.clone(),
            look_at_peers_every: None,
            private_webhooks: self.webhooks.allow_private,
        }
    }

    /// For the message service.
    pub fn message(&self) -> message::Config {
        message::Config {
            append_batch_max: self.message.append_batch_max,
            append_queue_bytes_max: self.message.append_queue_bytes_max,
            edit_within: self.message.edit_within,
            recall_within: self.message.recall_within,
            ..message::Config::default()
        }
    }

    /// For the group service.
    pub fn group(&self, lifetimes: &Lifetimes) -> group::Config {
        group::Config { info_ttl: lifetimes.group_info.clone() }
    }

    /// For the presence service.
    pub fn presence(&self, lifetimes: &Lifetimes) -> presence::Config {
        presence::Config { seen_ttl: lifetimes.status.clone() }
    }

    /// For webhooks.
    pub fn webhooks(&self) -> webhooks::Config {
        let webhooks = &self.webhooks;
        webhooks::Config {
            timeout: webhooks.timeout,
            attempts_max: webhooks.attempts_max,
            backoff: Backoff { min: webhooks.wait_min, max: webhooks.wait_max },
            requests_max: webhooks.requests_max,
            allow_private: webhooks.allow_private,
            ..webhooks::Config::default()
        }
    }

    /// Where those who deliver webhooks reach gateways, if they do.
    pub fn webhooks_gateway(&self) -> Option<Server> {
        let gateway = self.webhooks.gateway.clone()?;
        Some(match &self.webhooks.gateway_authority {
            Some(authority) => gateway.trusting(authority),
            None => gateway,
        })
    }

    /// For the embedded store.
    pub fn store(&self) -> SqliteConfig {
        SqliteConfig {
            readers: NonZeroUsize::new(self.store.readers).unwrap_or(NonZeroUsize::MIN),
            checkpoint_pages: self.store.wal_mib_max.saturating_mul(PAGES_PER_MIB),
            ..SqliteConfig::new(&self.server.data)
        }
    }
}
