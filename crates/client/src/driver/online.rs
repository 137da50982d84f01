//! The life of one connection.

use std::{collections::HashMap, io, mem, pin::Pin, time::Duration};

use protocol::{
    Advice, ConversationId, UserId,
    limits::REQUESTS_IN_FLIGHT_MAX,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    Error, Event, Target,
    backoff::jittered,
    calls::unexpected,
    driver::{Ask, FAR, Work, connect::Opened},
    sync,
    transport::Socket,
};

/// Requests of the application under way; the engine's and pings are left some of what the server allows.
const ASKS_MAX: usize = REQUESTS_IN_FLIGHT_MAX - 6;
/// Nothing takes so long. An answer that is overdue this much while others come was lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// The least wait after a request of the engine was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// For the farewell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum End {
    /// The client is closed, or nobody holds it any more.
    Closed,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A request that is under way.
enum Pending {
    Send(u64),
    Ask(Ask),
    Sync,
    Fetch(Vec<ConversationId>),
    Ping,
}

pub(super) struct Online<'a> {
    work: &'a mut Work,
    socket: Socket,
    frames: Vec<wire::ServerFrame>,
    last_request: u32,
    pending: HashMap<u32, (Instant, Pending)>,
    asks: usize,
    heartbeat: Duration,
    last_written: Instant,
    /// Since when answers are due and nothing has come.
    waiting_since: Option<Instant>,
    next_resync: Instant,
    /// Rings at the next moment at which something may be due, or before.
    alarm: Pin<Box<Sleep>>,
}

impl<'a> Online<'a> {
    pub(super) fn new(work: &'a mut Work, opened: Opened) -> Self {
        let Opened { socket, connected, early, round_trips } = opened;
        let now = Instant::now();
        work.notify(Event::Connected { round_trips });
        let heartbeat = match connected.heartbeat_ms {
            0 => work.options.heartbeat,
            ms => Duration::from_millis(ms.into()),
        };
        if let Some(engine) = &mut work.engine {
            match connected.sync {
                Some(page) => engine.on_sync_page(page, now),
                None => engine.on_sync_refused(now),
            }
        }
        let next_resync = now + jittered(work.options.resync_every);
        Self {
            work,
            socket,
            frames: early,
            last_request: 0,
            pending: HashMap::new(),
            asks: 0,
            // A little early, so that it is not a little late.
            heartbeat: heartbeat.mul_f64(0.8),
            last_written: now,
            waiting_since: None,
            next_resync,
            alarm: Box::pin(sleep_until(now)),
        }
    }

    pub(super) async fn run(mut self) -> End {
        match self.exchange().await {
            Ok(()) => {
                // Whatever becomes of the farewell, the connection is over.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.close()).await;
                End::Closed
            }
            Err(error) => {
                for (_, pending) in mem::take(&mut self.pending).into_values() {
                    if let Pending::Ask(ask) = pending {
                        // Whoever asked may have given up.
                        let _ = ask.answer.send(Err(error.clone()));
                    }
                }
                // Answers that came before the end have been dealt with; their entries shall not get lost.
                self.work.hand_over();
                End::Failed(error)
            }
        }
    }

    async fn exchange(&mut self) -> Result<(), Error> {
        loop {
            let now = Instant::now();
            self.take_frames(now)?;
            self.work.hand_over();
            self.tick(now)?;
            self.fill(now);
            self.work.forget_settled().await;
            if self.work.is_over(now) && (self.work.close_by.is_none_or(|by| now >= by) || self.asks == 0) {
                return Ok(());
            }
            let wake = self.next_wake(now);
            if wake < self.alarm.deadline() || self.alarm.is_elapsed() {
                self.alarm.as_mut().reset(wake);
            }
            // While the application does not take its events, only answers that somebody waits for make us read on.
            let read = !self.work.is_congested() || !self.pending.is_empty();
            let asks_room = ASKS_MAX.saturating_sub(self.asks);
            tokio::select! {
                result = self.socket.drive(read, &mut self.frames) => result?,
                asks = self.work.next_input(asks_room) => {
                    // It may have been quiet for long, and answers are due from now on.
                    let now = Instant::now();
                    // Those that were given up meanwhile are not asked.
                    for ask in asks.into_iter().filter(|ask| !ask.answer.is_closed()) {
                        self.ask(ask, now);
                    }
                }
                () = self.alarm.as_mut() => {}
            }
        }
    }

    /// Queues what may go now: the engine's requests, then messages.
    fn fill(&mut self, now: Instant) {
        while self.socket.has_room()
            && let Some(request) = self.work.engine.as_mut().and_then(|engine| engine.next_request(now))
        {
            match request {
                sync::Request::Sync(sync) => self.queue(Request::Sync(sync), Pending::Sync, now),
                sync::Request::Fetch(fetch, ids) => self.queue(Request::Fetch(fetch), Pending::Fetch(ids), now),
            }
        }
        while self.socket.has_room()
            && let Some((sequence, send)) = self.work.outbox.next(now)
        {
            self.queue(Request::Send(send), Pending::Send(sequence), now);
        }
    }

    fn ask(&mut self, mut ask: Ask, now: Instant) {
        // The body is not needed again: a request whose answer gets lost is the application's to repeat.
        let body = mem::replace(&mut *ask.body, Request::Ping(wire::Ping {}));
        self.asks += 1;
        self.queue(body, Pending::Ask(ask), now);
    }

    fn queue(&mut self, body: Request, pending: Pending, now: Instant) {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        self.socket.queue(&wire::ClientFrame { request: self.last_request, body: Some(body) });
        self.pending.insert(self.last_request, (now, pending));
        self.last_written = now;
        self.waiting_since.get_or_insert(now);
    }

    fn take_frames(&mut self, now: Instant) -> Result<(), Error> {
        if self.frames.is_empty() {
            return Ok(());
        }
        let mut frames = mem::take(&mut self.frames);
        for frame in frames.drain(..) {
            match (frame.request, frame.body) {
                // Something that a newer server says and we do not understand.
                (_, None) => {}
                (0, Some(push)) => self.on_push(push, now)?,
                (request, Some(answer)) => self.on_answer(request, answer, now)?,
            }
        }
        // An idle connection holds next to nothing.
        if frames.capacity() <= 8 {
            self.frames = frames;
        }
        self.waiting_since = (!self.pending.is_empty()).then_some(now);
        if self.pending.is_empty() && self.pending.capacity() > 32 {
            self.pending = HashMap::new();
        }
        Ok(())
    }

    fn on_push(&mut self, push: Answer, now: Instant) -> Result<(), Error> {
        match push {
            Answer::Goodbye(goodbye) => return Err(Error::goodbye(goodbye)),
            Answer::PresenceChanged(presence) => self.work.notify(Event::Presence(presence)),
            Answer::DeliveredMoved(wire::DeliveredMoved { conversation, user, position }) => {
                let (conversation, user) = (ConversationId::new(conversation), UserId::new(user));
                self.work.notify(Event::DeliveredMoved { conversation, user, position });
            }
            Answer::Typing(wire::TypingNotice { conversation, user }) => {
                let (conversation, user) = (ConversationId::new(conversation), UserId::new(user));
                self.work.notify(Event::Typing { conversation, user });
            }
            Answer::UserChanged(user) => {
                self.work.notify(Event::UserChanged(user));
            }
            other => self.tell_engine(other, now),
        }
        Ok(())
    }

    /// Pushes that concern the sync engine, if somebody wants entries.
    fn tell_engine(&mut self, push: Answer, now: Instant) {
        let Some(engine) = &mut self.work.engine else { return };
        match push {
            Answer::Entry(mut push) => {
                if let Some(entry) = push.entry.take() {
                    engine.on_entry(ConversationId::new(push.conversation), push.kind(), entry, now);
                }
            }
            Answer::ReadMoved(moved) => {
                let conversation = ConversationId::new(moved.conversation);
                engine.on_read_moved(conversation, UserId::new(moved.user), moved.position);
            }
            Answer::Resync(_) => engine.want_sync(),
            // Of a newer server.
            _ => {}
        }
    }

    fn on_answer(&mut self, request: u32, answer: Answer, now: Instant) -> Result<(), Error> {
        // An answer to a request that was given up comes too late.
        let Some((_, pending)) = self.pending.remove(&request) else { return Ok(()) };
        match (pending, answer) {
            (Pending::Send(sequence), Answer::Sent(sent)) => self.on_sent(sequence, sent, now),
            (Pending::Send(sequence), Answer::Error(error)) => self.work.outbox.refused(sequence, error.into(), now),
            (Pending::Ask(ask), answer) => {
                self.asks -= 1;
                // It is not pushed to the connection that sent it, and here nobody knows any longer what it says.
                if let (Answer::Sent(_), Some(engine)) = (&answer, &mut self.work.engine) {
                    engine.want_sync();
                }
                // Whoever asked may have given up.
                let _ = ask.answer.send(Ok(answer));
            }
            (Pending::Sync, Answer::Sync(page)) => {
                if let Some(engine) = &mut self.work.engine {
                    engine.on_sync_page(page, now);
                }
            }
            (Pending::Sync, Answer::Error(error)) => {
                let error = protocol::Error::from(error);
                if let Some(engine) = &mut self.work.engine {
                    if error.advice() == Advice::GiveUp {
                        engine.forget_cursor();
                    }
                    engine.on_sync_refused(now + pause(&error));
                }
            }
            (Pending::Fetch(ids), Answer::Fetched(fetched)) => {
                if let Some(engine) = &mut self.work.engine {
                    engine.on_fetched(&ids, fetched.pages, now);
                }
            }
            (Pending::Fetch(ids), Answer::Error(error)) => {
                if let Some(engine) = &mut self.work.engine {
                    engine.on_fetch_refused(&ids, now + pause(&error.into()));
                }
            }
            (Pending::Ping, _) => {}
            (_, answer) => return Err(unexpected(&answer)),
        }
        Ok(())
    }

    /// The server does not push to the connection that sent: the acknowledgement stands for the entry.
    fn on_sent(&mut self, sequence: u64, sent: wire::Sent, now: Instant) {
        let Some(message) = self.work.outbox.acknowledged(sequence, sent) else { return };
        let Some(engine) = &mut self.work.engine else { return };
        let kind = match message.target {
            Target::Name(_) => wire::ConversationKind::Direct,
            Target::Conversation(_) => wire::ConversationKind::Unspecified,
        };
        let entry = wire::Entry {
            position: sent.position,
            id: message.id.to_string(),
            sender: self.work.user.get(),
            time_ms: sent.time_ms,
            content: Some(message.content),
        };
        engine.on_entry(ConversationId::new(sent.conversation), kind, entry, now);
    }

    /// Does what is due by the clock.
    fn tick(&mut self, now: Instant) -> Result<(), Error> {
        self.work.outbox.expire(now, None);
        if self.waiting_since.is_some_and(|since| now >= since + self.work.options.silence_timeout) {
            return Err(Error::broken(io::Error::new(io::ErrorKind::TimedOut, "the server is silent")));
        }
        if !self.alarm.is_elapsed() {
            return Ok(());
        }
        if now >= self.last_written + self.heartbeat {
            self.queue(Request::Ping(wire::Ping {}), Pending::Ping, now);
        }
        if now >= self.next_resync {
            self.next_resync = now + jittered(self.work.options.resync_every);
            if let Some(engine) = &mut self.work.engine {
                engine.want_sync();
            }
        }
        let overdue = |since: &Instant| now >= *since + ANSWER_TIMEOUT;
        let lost = |(since, pending): &(Instant, Pending)| overdue(since) && !matches!(pending, Pending::Ask(_));
        if self.pending.values().any(lost) {
            return Err(Error::broken(io::Error::new(io::ErrorKind::TimedOut, "an answer got lost")));
        }
        // Whoever asked has long given up.
        self.pending.retain(|_, (since, _)| !overdue(since));
        self.asks = self.pending.values().filter(|(_, pending)| matches!(pending, Pending::Ask(_))).count();
        Ok(())
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let engine = self.work.engine.as_ref().filter(|_| !self.work.is_congested());
        let resync = engine.map(|_| self.next_resync);
        // What could have been done by now waits for something else than time.
        let engine = engine.and_then(|engine| engine.next_wake()).filter(|&due| due > now);
        let pause = self.work.outbox.paused_until().filter(|&until| until > now);
        [
            Some(self.last_written + self.heartbeat),
            self.waiting_since.map(|since| since + self.work.options.silence_timeout),
            resync,
            engine,
            self.work.outbox.next_deadline(),
            pause,
            self.work.close_by,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + FAR)
    }
}

fn pause(error: &protocol::Error) -> Duration {
    error.retry_after().unwrap_or_default().max(REFUSED_PAUSE)
}
