//! Read and delivered positions: those of all calls that wait are moved in one transaction, so that they meet at the clock
//! once rather than each by itself. No timer: a call that comes alone is carried out alone, at once.

use std::{collections::BTreeSet, sync::Weak, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    MysqlStore, Shared,
    facts::Need,
    failure,
    look::Logs,
    pool::silent,
    transaction::transaction,
    workbench::{self, Missing, Workbench},
};
use crate::{Error, Moved, ReadMark, Result, append};

/// Calls that wait at most; further ones wait for room.
const CALLS_MAX: usize = 4_096;
/// Further calls wait for the next transaction when one has so many marks.
const MARKS_MAX: usize = 2_000;

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
    /// It is not begun any more after this.
    deadline: Instant,
    answer: oneshot::Sender<Result<Vec<Option<Moved>>>>,
}

/// Where calls wait.
#[derive(Debug)]
pub(super) struct Queue {
    calls: mpsc::Sender<Call>,
    timeout: Duration,
}

/// Takes the calls.
pub(super) struct Gatherer {
    calls: mpsc::Receiver<Call>,
    timeout: Duration,
}

/// A queue in which a call waits for its turn for so long at most.
pub(super) fn queue(timeout: Duration) -> (Queue, Gatherer) {
    let (calls, waiting) = mpsc::channel(CALLS_MAX);
    (Queue { calls, timeout }, Gatherer { calls: waiting, timeout })
}

impl Queue {
    /// Moves positions; `None` where nothing moved. The marks are carried out though the future is dropped.
    pub(super) async fn mark(&self, marks: Vec<Mark>) -> Result<Vec<Option<Moved>>> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + self.timeout;
        let room = timeout_at(deadline, self.calls.reserve()).await.map_err(|_| late(self.timeout))?;
        let room = room.map_err(|_| Error::NotStored("the store is closed".into()))?;
        let (answer, answered) = oneshot::channel();
        room.send(Call { marks, deadline, answer });
        answered.await.unwrap_or_else(|_| Err(Error::Unknown("the store ended without an answer".into())))
    }
}

impl Gatherer {
    /// Carries out what waits, until the store is gone.
    pub(super) async fn run(mut self, store: Weak<Shared>) {
        while let Some(calls) = self.gather().await {
            let Some(shared) = store.upgrade() else { return };
            let store = MysqlStore { shared };
            let marks: Vec<Mark> = calls.iter().flat_map(|call| call.marks.iter().copied()).collect();
            let outcome = store.mark_all(&marks).await;
            drop(store);
            answer(calls.into_iter(), outcome);
        }
    }

    /// The calls of the next transaction: at least one, and what else waits already. Those that come too late are told so.
    /// `None`: there will be none any more.
    async fn gather(&mut self) -> Option<Vec<Call>> {
        let (mut calls, mut marks) = (Vec::new(), 0);
        while marks < MARKS_MAX {
            let next = if calls.is_empty() { self.calls.recv().await } else { self.calls.try_recv().ok() };
            let Some(call) = next else { break };
            if Instant::now() >= call.deadline {
                // Whoever asked may have gone meanwhile.
                let _ = call.answer.send(Err(late(self.timeout)));
            } else {
                marks += call.marks.len();
                calls.push(call);
            }
        }
        (!calls.is_empty()).then_some(calls)
    }
}

/// What is told to whom it was too late to begin for.
fn late(timeout: Duration) -> Error {
    failure::not_stored(silent(timeout))
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

#[cfg(test)]
mod tests {
    use protocol::{ConversationId, UserId};
    use tokio::task::JoinSet;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn marks(count: usize) -> Vec<Mark> {
        let mark = ReadMark { conversation: ConversationId::new(1), user: UserId::new(1), position: 1 };
        vec![Mark::Read(mark); count]
    }

    /// So many calls of so many marks, which wait for their turn.
    async fn waiting(calls: usize, of: usize) -> (JoinSet<Result<Vec<Option<Moved>>>>, Gatherer) {
        let (queue, gatherer) = queue(TIMEOUT);
        let queue = std::sync::Arc::new(queue);
        let mut asked = JoinSet::new();
        for _ in 0..calls {
            let queue = std::sync::Arc::clone(&queue);
            asked.spawn(async move { queue.mark(marks(of)).await });
        }
        while gatherer.calls.len() < calls {
            tokio::task::yield_now().await;
        }
        (asked, gatherer)
    }

    #[tokio::test]
    async fn a_transaction_takes_no_more_calls_than_it_has_room_for_marks() {
        let (_asked, mut gatherer) = waiting(50, 99).await;
        let full = gatherer.gather().await.unwrap();
        let count: usize = full.iter().map(|call| call.marks.len()).sum();
        assert!((MARKS_MAX..MARKS_MAX + 99).contains(&count), "{count}");
        assert_eq!(full.len() + gatherer.gather().await.unwrap().len() + gatherer.gather().await.unwrap().len(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waited_for_too_long_is_not_begun() {
        let (mut asked, mut gatherer) = waiting(3, 1).await;
        tokio::time::advance(TIMEOUT).await;
        let turn = tokio::spawn(async move { gatherer.gather().await.is_none() });
        while let Some(answer) = asked.join_next().await {
            assert!(matches!(answer.unwrap(), Err(Error::NotStored(_))));
        }
        assert!(turn.await.unwrap(), "nobody is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_finds_no_room_is_told_so_in_time() {
        let (calls, waiting) = mpsc::channel(1);
        let queue = Queue { calls, timeout: TIMEOUT };
        let (answer, _answered) = oneshot::channel();
        queue.calls.try_send(Call { marks: marks(1), deadline: Instant::now(), answer }).unwrap();
        let begun = Instant::now();
        assert!(matches!(queue.mark(marks(1)).await, Err(Error::NotStored(_))));
        assert_eq!(begun.elapsed(), TIMEOUT);
        drop(waiting);
        assert!(matches!(queue.mark(marks(1)).await, Err(Error::NotStored(_))), "it is closed");
    }
}
