//! The accounts with their devices, and the conversations they share.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::ConversationId;
use tokio::{sync::watch, task::JoinSet};

use super::{
    device::{Device, Heard, Phase},
    plan::{Plan, Room},
};
use crate::{
    accounts::{Account, Route, patiently},
    drive::Bench,
    group,
    measure::Recorder,
};

/// Devices of each account.
pub(super) const DEVICES: usize = 2;
/// Log-ins, or conversations being opened, at a time.
const OPENING_MAX: usize = 16;

/// Everyone who takes part.
pub(super) struct Cast {
    /// By account, [`DEVICES`] each; the first one is always on.
    pub(super) devices: Arc<[Arc<Device>]>,
    /// The conversations of the plan's rooms, in their order.
    pub(super) rooms: Arc<[Place]>,
    /// When texts were sent.
    pub(super) heard: Arc<Heard>,
    phase: watch::Sender<Phase>,
    lives: JoinSet<Result<()>>,
}

/// A room that has been opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) conversation: ConversationId,
    /// The accounts, by their numbers.
    pub(super) members: Vec<usize>,
}

impl Cast {
    /// Makes the accounts, switches their devices on and opens the conversations.
    ///
    /// # Errors
    ///
    /// The server refuses something, or is away for longer than the patience.
    pub(super) async fn gather(bench: &Bench, plan: &Plan, rng: &mut Rng, recorder: &Arc<Recorder>) -> Result<Self> {
        let route = bench.route()?;
        let accounts = route.register(plan.restless.len(), &bench.progress).await?;
        let seconds: Vec<_> = stream::iter(&accounts)
            .map(|account| route.log_in(&account.name, "second"))
            .buffered(OPENING_MAX)
            .try_collect()
            .await?;

        let (phase, heard) = (watch::channel(Phase::Playing).0, Arc::new(Heard::new(recorder.clone())));
        let (mut devices, mut lives) = (Vec::with_capacity(accounts.len() * DEVICES), JoinSet::new());
        for ((account, second), restless) in accounts.iter().zip(seconds).zip(&plan.restless) {
            let first = (format!("first device of {}", account.name), account.profile.clone(), None);
            let second = (format!("second device of {}", account.name), second, restless.then(|| rng.fork()));
            for (name, profile, restless) in [first, second] {
                let device = Arc::new(Device::new(name, restless.is_none(), profile));
                devices.push(device.clone());
                let (route, phase, heard) = (route.clone(), phase.subscribe(), heard.clone());
                lives.spawn(async move { device.live(&route, restless, phase, &heard).await });
            }
        }
        let mut cast = Self { devices: devices.into(), rooms: Arc::new([]), heard, phase, lives };
        let bar = bench.progress.bar("conversations", plan.rooms.len() as u64);
        let opening = stream::iter(plan.rooms.iter().enumerate())
            .map(|(number, room)| cast.open(&route, &accounts, number, room))
            .buffered(OPENING_MAX)
            .inspect(|_| bar.step())
            .try_collect::<Vec<_>>();
        match opening.await {
            Ok(rooms) => cast.rooms = rooms.into(),
            Err(error) => return Err(cast.end().await.err().unwrap_or(error)),
        }
        Ok(cast)
    }

    async fn open(&self, route: &Route, accounts: &[Account], number: usize, room: &Room) -> Result<Place> {
        let client = self.first(room.members[0]).client_when_on().await.context("a device has ended")?;
        let others: Vec<_> = room.members[1..].iter().map(|account| accounts[*account].user).collect();
        let conversation = if room.is_group() {
            group::create(route, &client, &format!("replay {number}"), &others).await?
        } else {
            ConversationId::new(patiently(route.patience, || client.open_direct_with(others[0])).await?.id)
        };
        Ok(Place { conversation, members: room.members.clone() })
    }

    /// An account's device that is always on.
    pub(super) fn first(&self, account: usize) -> &Arc<Device> {
        &self.devices[account * DEVICES]
    }

    /// The places of which an account is a member.
    pub(super) fn places(&self, account: usize) -> impl Iterator<Item = &Place> {
        self.rooms.iter().filter(move |place| place.members.contains(&account))
    }

    /// Has all devices stay on.
    pub(super) fn settle(&self) {
        self.phase.send_replace(Phase::Settling);
    }

    /// Switches all devices off, and waits until they are.
    ///
    /// # Errors
    ///
    /// A device had failed.
    pub(super) async fn end(&mut self) -> Result<()> {
        self.phase.send_replace(Phase::Over);
        let mut failure = None;
        while let Some(ended) = self.lives.join_next().await {
            failure = failure.or(ended.map_err(anyhow::Error::from).and_then(|ended| ended).err());
        }
        failure.map_or(Ok(()), Err)
    }
}
