//! Read and delivered positions: those of all calls that wait are moved in one transaction, so that they meet at the clock
//! once rather than each by itself. No timer: a call that comes alone is carried out alone, at once.

use std::{collections::BTreeSet, sync::Weak};

use tokio::sync::{mpsc, oneshot};

use super::{
    MysqlStore, Shared,
    facts::Need,
    look::Logs,
    transaction::transaction,
    workbench::{self, Missing, Workbench},
};
use crate::{Error, Moved, ReadMark, Result, append};

/// Calls that wait at most; further ones wait for room.
const CALLS_MAX: usize = 4_096;
/// Calls in one transaction.
const GATHERED_MAX: usize = 512;

/// How far to move which position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Read(ReadMark),
    Delivered(ReadMark),
}

impl Mark {
    fn mark(&self) -> &ReadMark {
        let (Self::Read(mark) | Self::Delivered(mark)) = self;
        mark
    }

    fn foreseen(&self, needs: &mut BTreeSet<Need>) {
        let mark = self.mark();
        let conversation = mark.conversation;
        needs.extend([Need::Log(conversation), Need::Member(mark.user, conversation), Need::Standings(conversation)]);
    }

    fn carry_out(&self, bench: &mut Workbench) -> Result<Option<Moved>, Missing> {
        match self {
            Self::Read(mark) => append::mark_read(bench, mark),
            Self::Delivered(mark) => append::mark_delivered(bench, mark),
        }
    }
}

#[derive(Debug)]
struct Call {
    marks: Vec<Mark>,
    answer: oneshot::Sender<Result<Vec<Option<Moved>>>>,
}

/// Where calls wait.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<Call>);

/// Takes the calls.
pub(super) struct Gatherer(mpsc::Receiver<Call>);

pub(super) fn queue() -> (Queue, Gatherer) {
    let (calls, waiting) = mpsc::channel(CALLS_MAX);
    (Queue(calls), Gatherer(waiting))
}

impl Queue {
    /// Moves positions; `None` where nothing moved. The marks are carried out though the future is dropped.
    pub(super) async fn mark(&self, marks: Vec<Mark>) -> Result<Vec<Option<Moved>>> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::NotStored("the store is closed".into());
        self.0.send(Call { marks, answer }).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(Error::Unknown("the store ended without an answer".into())))
    }
}

impl Gatherer {
    /// Carries out what waits, until the store is gone.
    pub(super) async fn run(mut self, store: Weak<Shared>) {
        let mut calls = Vec::new();
        while self.0.recv_many(&mut calls, GATHERED_MAX).await > 0 {
            let Some(shared) = store.upgrade() else { return };
            let store = MysqlStore { shared };
            let marks: Vec<Mark> = calls.iter().flat_map(|call| call.marks.iter().copied()).collect();
            let outcome = store.mark_all(&marks).await;
            drop(store);
            answer(calls.drain(..), outcome);
        }
    }
}

fn answer(calls: impl Iterator<Item = Call>, outcome: Result<Vec<Option<Moved>>>) {
    match outcome {
        Ok(moved) => {
            let mut moved = moved.into_iter();
            for call in calls {
                // Whoever asked may have gone meanwhile.
                let _ = call.answer.send(Ok(moved.by_ref().take(call.marks.len()).collect()));
            }
        }
        Err(error) => {
            let error = std::sync::Arc::new(error);
            for call in calls {
                let _ = call.answer.send(Err(shared(&error)));
            }
        }
    }
}

/// One call's part of a failure.
fn shared(error: &std::sync::Arc<Error>) -> Error {
    match **error {
        Error::NotWritable(_) => Error::NotWritable(error.clone().into()),
        Error::NotStored(_) => Error::NotStored(error.clone().into()),
        Error::Unknown(_) => Error::Unknown(error.clone().into()),
    }
}

impl MysqlStore {
    async fn mark_all(&self, marks: &[Mark]) -> Result<Vec<Option<Moved>>> {
        transaction!(self, |connection| {
            let rule = |bench: &mut Workbench, mark: &Mark| mark.carry_out(bench);
            // A log's end only moves forward, so that it need not be held.
            let decided = workbench::decide(connection, marks, Mark::foreseen, rule, Logs::Read, false).await?;
            Ok((decided.outcomes, decided.pending.write(connection).await?))
        })
    }
}
