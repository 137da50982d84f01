//! Puts the services together, whatever they stand on: the embedded back ends or those of a distributed system.

mod bots;

use std::{sync::Arc, time::Duration};

use api::{GroupService, MessageService, PresenceService, Services, UserService};
use cache::Cache;
use clap::ValueEnum;
use prometheus_client::registry::Registry;
use protocol::IdGenerator;
use queue::Queue;
use services::{Clock, group, message, presence, user, user::SecretKey};
use store::{Groups, LastSeen, Messages, Users};
use webhooks::{Announcing, Bell};

pub(crate) use self::bots::{Bots, entrance};
use crate::config::{Config, Lifetimes};

/// Where there are several instances: how often each looks at what the others did …
const LOOK_AT_PEERS_EVERY: Duration = Duration::from_secs(1);
/// … and whether one left something to be told when it ended.
const RELAY_EVERY: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Role {
    /// Takes clients.
    Gateway,
    /// Accounts, sessions, contacts, bots; webhooks.
    User,
    /// The logs.
    Message,
    /// Who is online.
    Presence,
    /// Groups.
    Group,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gateway, Self::User, Self::Message, Self::Presence, Self::Group];

    /// Its name, as in the registry and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::User => "user",
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Group => "group",
        }
    }
}

/// A store, as each service sees it.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) users: Arc<dyn Users>,
    pub(crate) groups: Arc<dyn Groups>,
    pub(crate) seen: Arc<dyn LastSeen>,
    pub(crate) webhooks: Arc<dyn store::Webhooks>,
}

impl Stores {
    pub(crate) fn of<S>(store: &Arc<S>) -> Self
    where
        S: Messages + Users + Groups + LastSeen + store::Webhooks,
    {
        Self {
            messages: store.clone(),
            users: store.clone(),
            groups: store.clone(),
            seen: store.clone(),
            webhooks: store.clone(),
        }
    }
}

/// What services stand on.
#[derive(Clone)]
pub(crate) struct BackEnds {
    pub(crate) stores: Stores,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) ids: Arc<IdGenerator>,
    pub(crate) clock: Clock,
}

/// The services that run in this process.
#[derive(Default)]
pub(crate) struct Local {
    pub(crate) user: Option<Arc<user::Service>>,
    pub(crate) message: Option<Arc<message::Service>>,
    pub(crate) presence: Option<Arc<presence::Service>>,
    pub(crate) group: Option<Arc<group::Service>>,
    /// Rung when webhooks, or their bots, are others than before.
    pub(crate) bell: Bell,
    user_tasks: Option<user::Tasks>,
    message_tasks: Option<message::Tasks>,
    presence_tasks: Option<presence::Tasks>,
}

impl Local {
    /// Starts the services of these roles. Each calls the others in this process, or by `remote` where they run elsewhere; there
    /// are no others if it is `None`: then all roles are to be here.
    ///
    /// # Errors
    ///
    /// The user service's: the store cannot be read.
    pub(crate) async fn start(
        roles: &[Role],
        config: &Config,
        back_ends: BackEnds,
        key: Option<SecretKey>,
        remote: Option<&Services>,
        metrics: &mut Registry,
    ) -> anyhow::Result<Self> {
        let mut local = Self::default();
        if roles.contains(&Role::Message) {
            local.start_message(config, &back_ends, remote.is_some(), metrics);
        }
        // Entries go to the instance that owns their log, which need not be this one.
        let messages: Arc<dyn MessageService> = match (remote, &local.message) {
            (Some(remote), _) => Arc::clone(&remote.message),
            (None, Some(here)) => here.clone(),
            (None, None) => anyhow::bail!("the message service runs nowhere"),
        };
        if roles.contains(&Role::User) {
            let key = key.ok_or_else(|| anyhow::anyhow!("the user service has no key to sign tokens with"))?;
            local.start_user(config, &back_ends, Arc::clone(&messages), key, remote.is_some()).await?;
        }
        let BackEnds { stores, cache, lifetimes, queue, ids, clock } = back_ends;
        if roles.contains(&Role::Group) {
            let users: Arc<dyn UserService> = match (&local.user, remote) {
                (Some(here), _) => here.clone(),
                (None, Some(remote)) => Arc::clone(&remote.user),
                (None, None) => anyhow::bail!("the user service runs nowhere"),
            };
            let (cache, messages, clock) = (Arc::clone(&cache), Arc::clone(&messages), clock.clone());
            let config = config.group(&lifetimes);
            local.group = Some(group::Service::new(&config, stores.groups, cache, users, messages, ids, clock));
        }
        if roles.contains(&Role::Presence) {
            let (service, tasks) =
                presence::Service::start(&config.presence(&lifetimes), stores.seen, cache, queue, messages, clock);
            (local.presence, local.presence_tasks) = (Some(service), Some(tasks));
        }
        Ok(local)
    }

    fn start_message(&mut self, config: &Config, back_ends: &BackEnds, are_others: bool, metrics: &mut Registry) {
        let BackEnds { stores, queue, ids, clock, .. } = back_ends.clone();
        let config = message::Config { relay_every: are_others.then_some(RELAY_EVERY), ..config.message() };
        let metrics = metrics.sub_registry_with_prefix("mpim_message");
        let (service, tasks) = message::Service::start(&config, stores.messages, queue, ids, clock, metrics);
        (self.message, self.message_tasks) = (Some(service), Some(tasks));
    }

    async fn start_user(
        &mut self,
        config: &Config,
        back_ends: &BackEnds,
        messages: Arc<dyn MessageService>,
        key: SecretKey,
        are_others: bool,
    ) -> anyhow::Result<()> {
        let BackEnds { stores, cache, lifetimes, queue, ids, clock } = back_ends.clone();
        let bell = self.bell.clone();
        let parts = user::Parts {
            store: stores.users,
            // Whoever changes webhooks does so by way of this, so that they who deliver hear of it.
            webhooks: Arc::new(Announcing::new(stores.webhooks, bell.clone())),
            standing_changed: Arc::new(move || bell.ring()),
            cache,
            queue,
            messages,
            ids,
            clock,
            key,
        };
        let look_at_peers_every = are_others.then_some(LOOK_AT_PEERS_EVERY);
        let config = user::Config { look_at_peers_every, ..config.user(&lifetimes) };
        let (service, tasks) = user::Service::start(config, parts).await?;
        (self.user, self.user_tasks) = (Some(service), Some(tasks));
        Ok(())
    }

    /// The services as this process calls them: those here directly, but for the message service where there are others.
    pub(crate) fn services(&self, remote: Option<&Services>) -> anyhow::Result<Services> {
        let nowhere = |role: Role| anyhow::anyhow!("the {} service runs nowhere", role.name());
        let user = self.user.clone().map(|here| here as Arc<dyn UserService>);
        let group = self.group.clone().map(|here| here as Arc<dyn GroupService>);
        let presence = self.presence.clone().map(|here| here as Arc<dyn PresenceService>);
        let message = self.message.clone().map(|here| here as Arc<dyn MessageService>);
        Ok(Services {
            user: user.or_else(|| remote.map(|all| Arc::clone(&all.user))).ok_or_else(|| nowhere(Role::User))?,
            group: group.or_else(|| remote.map(|all| Arc::clone(&all.group))).ok_or_else(|| nowhere(Role::Group))?,
            presence: presence
                .or_else(|| remote.map(|all| Arc::clone(&all.presence)))
                .ok_or_else(|| nowhere(Role::Presence))?,
            message: remote.map(|all| Arc::clone(&all.message)).or(message).ok_or_else(|| nowhere(Role::Message))?,
        })
    }

    /// Finishes what was accepted, and ends.
    pub(crate) async fn stop(self) {
        if let Some(tasks) = self.presence_tasks {
            tasks.stop().await;
        }
        if let Some(tasks) = self.user_tasks {
            tasks.stop().await;
        }
        if let Some(tasks) = self.message_tasks {
            tasks.stop().await;
        }
    }
}
