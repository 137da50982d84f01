//! What is on its way out: messages in the order of submission, a window of them under way.
//!
//! A message stays until it is settled: acknowledged, refused for good, or given up at its deadline. What a lost connection
//! leaves unanswered goes out again, in order and with the same ids. A message is *uncertain* from the first try whose
//! outcome nobody told; then only an answer to a later try can tell that it is not stored.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use protocol::{Advice, EntryId, limits::SENDS_IN_FLIGHT_MAX, wire};
use tokio::time::Instant;

use crate::{Backoff, Error, Event, Options, SendError, Target, driver::Submission, profile::Outgoing};

#[derive(Debug)]
pub(super) struct Outbox {
    messages: VecDeque<Message>,
    next_sequence: u64,
    /// All messages before this index are under way.
    first_waiting: usize,
    under_way: usize,
    window: usize,
    /// How much of the window may be used: halved when the server refuses for the moment, and growing again by one for each
    /// windowful of acknowledgements, so that a limited sender does not spend itself on refusals.
    allowed: usize,
    acknowledged: usize,
    max: usize,
    timeout: Duration,
    /// The server asked for a pause.
    paused_until: Option<Instant>,
    backoff: Backoff,
    failures: u32,
    /// To be removed from the profile.
    settled: Vec<EntryId>,
    /// Refusals that nobody else waits for.
    refused: Vec<Event>,
}

#[derive(Debug)]
struct Message {
    sequence: u64,
    submission: Box<Submission>,
    under_way: bool,
    uncertain: bool,
    last_error: Option<Error>,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.message.fmt(f)
    }
}

impl Outbox {
    /// With the messages of an earlier run, whose fate nobody knows.
    pub(super) fn new(earlier: Vec<Outgoing>, options: &Options) -> Self {
        let mut outbox = Self {
            messages: VecDeque::new(),
            next_sequence: 0,
            first_waiting: 0,
            under_way: 0,
            window: options.send_window.clamp(1, SENDS_IN_FLIGHT_MAX),
            allowed: options.send_window.clamp(1, SENDS_IN_FLIGHT_MAX),
            acknowledged: 0,
            max: options.outbox_max.max(1),
            timeout: options.send_timeout.unwrap_or_default(),
            paused_until: None,
            backoff: options.backoff,
            failures: 0,
            settled: Vec::new(),
            refused: Vec::new(),
        };
        for message in earlier {
            outbox.push(Box::new(Submission { message, deadline: None, answer: None }));
        }
        for message in &mut outbox.messages {
            message.uncertain = true;
        }
        outbox
    }

    pub(super) fn push(&mut self, submission: Box<Submission>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.messages.push_back(Message { sequence, submission, under_way: false, uncertain: false, last_error: None });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many more messages may be pushed.
    pub(super) fn room(&self) -> usize {
        self.max.saturating_sub(self.messages.len())
    }

    /// The next message to send, and the number by which its answer is to be reported.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, wire::Send)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        if self.under_way >= self.allowed {
            return None;
        }
        while self.messages.get(self.first_waiting)?.under_way {
            self.first_waiting += 1;
        }
        let message = self.messages.get_mut(self.first_waiting)?;
        message.under_way = true;
        self.first_waiting += 1;
        self.under_way += 1;
        let outgoing = &message.submission.message;
        let target = match &outgoing.target {
            Target::Conversation(id) => wire::send::Target::Conversation(id.get()),
            Target::Name(name) => wire::send::Target::To(name.clone()),
        };
        let content = Some(outgoing.content.clone());
        Some((
            message.sequence,
            wire::Send { id: outgoing.id.to_string(), content, target: Some(target), forward_of: None },
        ))
    }

    /// The message was stored. Gives it back, unless it was given up before.
    pub(super) fn acknowledged(&mut self, sequence: u64, sent: wire::Sent) -> Option<Outgoing> {
        let message = self.remove(sequence)?;
        self.failures = 0;
        self.acknowledged += 1;
        if self.acknowledged >= self.allowed {
            self.acknowledged = 0;
            self.allowed = (self.allowed + 1).min(self.window);
        }
        if let Some(answer) = message.submission.answer {
            // Whoever sent it may not care.
            let _ = answer.send(Ok(sent));
        }
        Some(message.submission.message)
    }

    /// The server answered a try with an error.
    pub(super) fn refused(&mut self, sequence: u64, error: protocol::Error, now: Instant) {
        let Some(index) = self.index(sequence) else { return };
        match error.advice() {
            Advice::GiveUp => self.settle(sequence, false, Error::Refused(error)),
            Advice::LogIn => {
                let uncertain = self.messages[index].uncertain;
                self.settle(sequence, uncertain, Error::Refused(error));
            }
            advice @ (Advice::RetryLater | Advice::RetrySameId) => {
                // Those refused together count once.
                if self.paused_until.is_none_or(|until| until <= now) {
                    self.failures += 1;
                    (self.allowed, self.acknowledged) = ((self.allowed / 2).max(1), 0);
                }
                let wait = error.retry_after().unwrap_or_else(|| self.backoff.wait(self.failures));
                self.paused_until = self.paused_until.max(Some(now + wait));
                let message = &mut self.messages[index];
                message.under_way = false;
                message.uncertain |= advice == Advice::RetrySameId;
                message.last_error = Some(Error::Refused(error));
                self.under_way -= 1;
                self.first_waiting = self.first_waiting.min(index);
            }
        }
    }

    /// The connection is gone, and with it the answers that it owed.
    pub(super) fn disconnected(&mut self) {
        for message in &mut self.messages {
            message.uncertain |= message.under_way;
            message.under_way = false;
        }
        (self.under_way, self.first_waiting, self.paused_until) = (0, 0, None);
    }

    /// Gives up messages whose time is over; `down` is why there is no connection, if there is none.
    pub(super) fn expire(&mut self, now: Instant, down: Option<&Arc<Error>>) {
        while let Some(message) = self.messages.iter().find(|message| message.submission.deadline.is_some())
            && message.submission.deadline.is_some_and(|deadline| deadline <= now)
        {
            let unknown = message.uncertain || message.under_way;
            let source = message.last_error.clone().map(Arc::new).or_else(|| down.cloned());
            let error = Error::TimedOut { after: self.timeout, source };
            self.settle(message.sequence, unknown, error);
        }
    }

    /// When the first message is to be given up. All have the same time, so that they are given up in order.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.messages.iter().find_map(|message| message.submission.deadline)
    }

    /// When the server's pause is over.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The client closes. What is in a durable outbox stays there for the next run.
    pub(super) fn close(&mut self, durable: bool) {
        while let Some(message) = self.messages.front() {
            let unknown = durable || message.uncertain || message.under_way;
            self.settle_front(unknown, durable, Error::Closed);
        }
    }

    /// The session has ended. Messages of an earlier run, which nobody waits for, stay in a durable outbox.
    pub(super) fn give_up(&mut self, error: &Error) {
        while let Some(message) = self.messages.front() {
            let unknown = message.uncertain || message.under_way;
            let keep = message.submission.answer.is_none();
            self.settle_front(unknown, keep, error.clone());
        }
    }

    fn settle_front(&mut self, unknown: bool, keep: bool, error: Error) {
        let Some(front) = self.messages.front() else { return };
        let sequence = front.sequence;
        if front.submission.answer.is_some() {
            self.settle(sequence, unknown, error);
        } else {
            self.remove(sequence);
        }
        if keep {
            self.settled.pop();
        }
    }

    /// Messages that the profile may forget.
    pub(super) fn take_settled(&mut self) -> Vec<EntryId> {
        mem::take(&mut self.settled)
    }

    /// Refusals of messages that nobody waits for.
    pub(super) fn take_refused(&mut self) -> Vec<Event> {
        mem::take(&mut self.refused)
    }

    fn settle(&mut self, sequence: u64, unknown: bool, error: Error) {
        let Some(message) = self.remove(sequence) else { return };
        let id = message.submission.message.id;
        match message.submission.answer {
            None => self.refused.push(Event::SendRefused { id, error }),
            Some(answer) => {
                let error =
                    if unknown { SendError::OutcomeUnknown { id, error } } else { SendError::NotStored { error } };
                // Whoever sent it may not care.
                let _ = answer.send(Err(error));
            }
        }
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        self.messages.binary_search_by_key(&sequence, |message| message.sequence).ok()
    }

    fn remove(&mut self, sequence: u64) -> Option<Message> {
        let index = self.index(sequence)?;
        let message = self.messages.remove(index)?;
        self.under_way -= usize::from(message.under_way);
        if index < self.first_waiting {
            self.first_waiting -= 1;
        }
        self.settled.push(message.submission.message.id);
        if self.messages.is_empty() && self.messages.capacity() > 16 {
            self.messages = VecDeque::new();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ConversationId, wire::ErrorCode};

    use super::*;
    use crate::{MemoryProfile, text};

    fn outbox(messages: usize, window: usize) -> Outbox {
        let server = "tcp://127.0.0.1:1".parse().unwrap();
        let options = Options { send_window: window, ..Options::new(server, Arc::new(MemoryProfile::default())) };
        let target = Target::Conversation(ConversationId::new(1));
        let message = |_| Outgoing { id: EntryId::generate(), target: target.clone(), content: text("x") };
        Outbox::new((0..messages).map(message).collect(), &options)
    }

    fn take_all(outbox: &mut Outbox, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next(now).map(|(sequence, _)| sequence)).collect()
    }

    fn refuse(outbox: &mut Outbox, sequence: u64, now: Instant) {
        let error = protocol::Error::new(ErrorCode::RateLimited, "slow down").with_retry_after(Duration::from_secs(1));
        outbox.refused(sequence, error, now);
    }

    #[test]
    fn refused_messages_go_again_in_order_and_the_window_narrows_and_recovers() {
        let (mut outbox, mut now) = (outbox(100, 8), Instant::now());
        assert_eq!(take_all(&mut outbox, now), [0, 1, 2, 3, 4, 5, 6, 7]);
        outbox.acknowledged(1, wire::Sent::default()).unwrap();
        for refused in [7, 2, 0, 5] {
            refuse(&mut outbox, refused, now);
        }
        assert!(take_all(&mut outbox, now).is_empty(), "the server's pause is kept");
        now += Duration::from_secs(1);
        for acknowledged in [3, 4, 6] {
            outbox.acknowledged(acknowledged, wire::Sent::default()).unwrap();
        }
        assert_eq!(take_all(&mut outbox, now), [0, 2, 5, 7], "half of the window");
        let mut next = vec![0, 2, 5, 7];
        let mut largest = 0;
        while !next.is_empty() {
            largest = largest.max(next.len());
            for sequence in next {
                outbox.acknowledged(sequence, wire::Sent::default()).unwrap();
            }
            next = take_all(&mut outbox, now);
        }
        assert_eq!(largest, 8, "it is as wide as before in the end");
        assert!(outbox.is_empty());
        assert_eq!(outbox.take_settled().len(), 100);
    }

    #[test]
    fn a_disconnect_puts_everything_back_in_order() {
        let (mut outbox, now) = (outbox(6, 4), Instant::now());
        assert_eq!(take_all(&mut outbox, now), [0, 1, 2, 3]);
        outbox.acknowledged(2, wire::Sent::default()).unwrap();
        refuse(&mut outbox, 1, now);
        outbox.disconnected();
        let mut again = take_all(&mut outbox, now);
        while let Some(&first) = again.first() {
            outbox.acknowledged(first, wire::Sent::default()).unwrap();
            again.remove(0);
            again.extend(take_all(&mut outbox, now));
            assert!(again.is_sorted(), "{again:?}");
        }
        assert!(outbox.is_empty());
        assert!(outbox.acknowledged(0, wire::Sent::default()).is_none(), "an answer that comes twice is passed over");
    }
}
