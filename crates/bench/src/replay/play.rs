//! Playing: all lanes of all rooms at the same time, while the server may be killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use client::{EntryId, SendError, Target};
use fastrand::Rng;
use parking_lot::Mutex;
use protocol::ConversationId;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    cast::{Cast, DEVICES, Place},
    device::{Device, Heard},
    dialogues::Dialogue,
    plan::Plan,
};
use crate::{
    drive::Bench,
    ledger::{Ledger, Said},
    measure::Recorder,
};

/// How often it is looked whether anything moves.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After everything has come: whether something comes that should not.
const LINGER: Duration = Duration::from_millis(300);

/// What the lanes share.
struct Stage {
    plan: Arc<Plan>,
    dialogues: Arc<[Dialogue]>,
    devices: Arc<[Arc<Device>]>,
    rooms: Arc<[Place]>,
    heard: Arc<Heard>,
    ledger: Mutex<Ledger>,
    acknowledged: watch::Sender<usize>,
    resends: AtomicU64,
}

/// Plays the whole plan; returns what was acknowledged, and how many texts had to be sent again by another device.
///
/// # Errors
///
/// A text is refused; the server cannot be started again; nothing moves for longer than the patience.
pub(super) async fn play(
    bench: &mut Bench,
    plan: &Arc<Plan>,
    dialogues: &Arc<[Dialogue]>,
    cast: &Cast,
    rng: &mut Rng,
    recorder: &Recorder,
) -> Result<(Ledger, u64)> {
    let stage = Arc::new(Stage {
        plan: plan.clone(),
        dialogues: dialogues.clone(),
        devices: cast.devices.clone(),
        rooms: cast.rooms.clone(),
        heard: cast.heard.clone(),
        ledger: Mutex::default(),
        acknowledged: watch::channel(0).0,
        resends: AtomicU64::new(0),
    });
    let mut lanes = JoinSet::new();
    for (number, room) in plan.rooms.iter().enumerate() {
        for lane in 0..room.lanes.len() {
            let (stage, rng) = (stage.clone(), rng.fork());
            lanes.spawn(async move { stage.lane(number, lane, rng).await });
        }
    }
    let bar = bench.progress.bar("texts", plan.texts as u64);
    let patience = bench.args.patience;
    let lanes = async {
        while let Some(ended) = lanes.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let mut acknowledged = stage.acknowledged.subscribe();
    let kills = async {
        for (time, at) in plan.kills.iter().enumerate() {
            acknowledged.wait_for(|acknowledged| acknowledged >= at).await.context("nothing is played any more")?;
            bench.server.kill_and_restart(time).await?;
        }
        Ok(())
    };
    let moved = || {
        let acknowledged = *stage.acknowledged.borrow();
        bar.at(acknowledged as u64);
        acknowledged as u64 + recorder.delivered_total()
    };
    tokio::select! {
        played = async { tokio::try_join!(lanes, kills) } => drop(played?),
        moved = stalled(patience, moved) => bail!("nothing has moved for {patience:?} (at {moved} texts and deliveries)"),
    }
    let resends = stage.resends.load(Ordering::Relaxed);
    let ledger = std::mem::take(&mut *stage.ledger.lock());
    Ok((ledger, resends))
}

/// Waits until every device has received as many texts as were sent to it, or nothing has moved for the patience: what
/// is missing then is a difference.
pub(super) async fn settle(bench: &Bench, cast: &Cast, ledger: &Ledger, recorder: &Recorder) {
    cast.settle();
    let expected: Vec<usize> = (0..cast.devices.len() / DEVICES)
        .map(|account| cast.places(account).map(|place| ledger.count(place.conversation)).sum())
        .collect();
    let bar = bench.progress.bar("deliveries", (expected.iter().sum::<usize>() * DEVICES) as u64);
    let complete = async {
        let all = |(number, device): (usize, &Arc<Device>)| device.texts() >= expected[number / DEVICES];
        while !cast.devices.iter().enumerate().all(all) {
            bar.at(recorder.delivered_total());
            time::sleep(LOOK_EVERY).await;
        }
        time::sleep(LINGER).await;
    };
    tokio::select! {
        () = complete => {}
        _ = stalled(bench.args.patience, || recorder.delivered_total()) => {}
    }
}

/// Ends when a count has not moved for so long; returns it.
async fn stalled(patience: Duration, count: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (count(), Instant::now());
    loop {
        time::sleep(LOOK_EVERY).await;
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > patience {
            return now;
        }
    }
}

impl Stage {
    /// Plays the dialogues of one lane one after the other.
    async fn lane(&self, number: usize, lane: usize, mut rng: Rng) -> Result<()> {
        let room = &self.plan.rooms[number];
        let conversation = self.rooms[number].conversation;
        for dialogue in &room.lanes[lane] {
            let mut before = 0;
            for (turn, text) in self.dialogues[*dialogue].turns.iter().enumerate() {
                let account = room.speaker(*dialogue, turn);
                let position = self.say(account, rng.usize(..DEVICES), conversation, text).await?;
                ensure!(
                    position > before,
                    "turn {turn} of a dialogue is at position {position}, the turn before it at {before}"
                );
                before = position;
            }
        }
        Ok(())
    }

    /// Sends a text until it is acknowledged: from one of the account's devices, and if that goes away meanwhile, with
    /// the same id from the one that is always on.
    async fn say(&self, account: usize, device: usize, conversation: ConversationId, text: &str) -> Result<u64> {
        let id = EntryId::generate();
        self.heard.sending(id);
        let always_on = &self.devices[account * DEVICES];
        let mut client = self.devices[account * DEVICES + device].client();
        loop {
            let sender = match client.take() {
                Some(client) => client,
                None => always_on.client_when_on().await.context("a device has ended")?,
            };
            match sender.send(Target::Conversation(conversation), client::text(text), id).await {
                Ok(sent) => {
                    let (position, text) = (sent.position, text.to_owned());
                    self.ledger.lock().acknowledged(conversation, Said { position, id, text });
                    self.acknowledged.send_modify(|count| *count += 1);
                    return Ok(position);
                }
                Err(SendError::NotStored { error: client::Error::Closed } | SendError::OutcomeUnknown { .. }) => {
                    self.resends.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(anyhow::Error::from(error).context("a text was refused")),
            }
        }
    }
}
