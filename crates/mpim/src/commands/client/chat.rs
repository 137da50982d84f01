//! `chat`: the full-screen client.
//!
//! [`app`] is the state of the screen and how it changes, [`ui`] what it looks like; both are pure. This file and
//! [`screen`] are the thin shell that connects them to a terminal and to the SDK.

mod app;
mod editor;
mod language;
mod profile;
mod screen;
#[cfg(test)]
mod tests;
mod theme;
mod ui;
mod width;

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use clap::Args;
use client::{Client, ConversationId, EntryId, Error, Events, Options, RawContent, SendError, Target, wire};
use futures_util::FutureExt as _;
use ratatui::crossterm::event::Event as TerminalEvent;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::commands::client::{
    connection::{Place, log_in_again, start},
    print::local_time,
};
use app::{App, Connection, Effect, Input, Then};
use language::Language;
use profile::ScreenProfile;
use screen::Screen;
use theme::Theme;

/// With how many of its last entries each conversation begins.
const RECENT_ENTRIES: u32 = 30;
/// Inputs taken before the screen is drawn again.
const INPUTS_AT_ONCE: usize = 512;
/// Requests under way.
const REQUESTS_MAX: usize = 64;
/// Messages on their way to the outbox, and news of them on their way back.
const SENDS_MAX: usize = 256;
/// How long requests under way may take at the end, such as keeping a draft.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// How long messages under way may take at the end. What is left goes out with the profile's next command.
const LAST_SENDS: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// The language of the screen [default: by LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// How often time goes on; whatever else happens is shown at once
    #[arg(long, value_name = "MILLISECONDS", default_value = "500", hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    tick_ms: u64,
    /// Leave the mouse to the terminal, which then selects text with it
    #[arg(long)]
    no_mouse: bool,
}

type Send = (ConversationId, RawContent, EntryId);

/// Runs the client until it is told to end.
pub(super) async fn run(place: &Place, args: ChatArgs) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("chat needs a terminal; for scripts there are `mpim client listen` and `mpim client send`");
    }
    let disk = place.profile()?;
    let server = place.server(&disk)?;
    let options = Options {
        recent_entries: Some(RECENT_ENTRIES.into()),
        first_screen_entries: RECENT_ENTRIES,
        close_timeout: LAST_SENDS,
        ..Options::new(server, Arc::new(ScreenProfile(disk)))
    };
    let variable = |name: &str| super::super::environment().find(|(known, _)| known == name).map(|(_, value)| value);
    let language = args.language.unwrap_or_else(|| Language::of_environment(variable));
    let colours = variable("NO_COLOR").is_none_or(|value| value.is_empty());
    let (client, events) = start(options)?;
    let app = App::new(client.user(), client.name(), language, Theme { colours }, local_time);
    let mut shell = Shell::new(app, client, events, Duration::from_millis(args.tick_ms), !args.no_mouse)?;
    let ended = shell.run().await;
    shell.close().await;
    ended
}

/// The outside of an [`App`].
struct Shell {
    app: App,
    client: Client,
    events: Events,
    /// The client's events have ended.
    events_over: bool,
    screen: Screen,
    requests: JoinSet<Input>,
    sends: mpsc::Sender<Send>,
    sent: mpsc::Receiver<Input>,
    sender: JoinHandle<()>,
    tick: Interval,
    signals: [Signal; 3],
}

impl Shell {
    fn new(app: App, client: Client, events: Events, tick: Duration, mouse: bool) -> anyhow::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [terminate, hangup, interrupt] = kinds.map(signal);
        let signals = [terminate?, hangup?, interrupt?];
        let (sends, to_send) = mpsc::channel(SENDS_MAX);
        let (told, sent) = mpsc::channel(SENDS_MAX);
        let sender = tokio::spawn(send_in_order(client.clone(), to_send, told));
        let mut tick = interval(tick);
        // After a sleep of the machine one tick is enough.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let screen = Screen::open(mouse)?;
        let requests = JoinSet::new();
        Ok(Self { app, client, events, events_over: false, screen, requests, sends, sent, sender, tick, signals })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        self.take(Input::Tick(now_ms()));
        loop {
            // News of the size can get lost when sizes change in quick succession; the size itself cannot.
            let (width, height) = self.screen.size()?;
            if (width, height) != (self.app.width, self.app.height) {
                self.take(Input::Resize(width, height));
            }
            self.screen.draw(&self.app)?;
            // Whatever else has come meanwhile needs no screen of its own.
            let mut next = self.next().await;
            for _ in 0..INPUTS_AT_ONCE {
                match next {
                    Next::Input(input) => {
                        if !self.take(*input) {
                            return Ok(());
                        }
                    }
                    Next::Nothing => {}
                    Next::End => return self.end(),
                }
                match self.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
        }
    }

    /// Why the client stopped, if it did so by itself.
    fn end(&self) -> anyhow::Result<()> {
        match self.client.state() {
            client::State::Stopped { error: Some(error) } => Err(log_in_again((*error).clone())),
            _ => Ok(()),
        }
    }

    /// Waits for what happens next. Cancel safe.
    async fn next(&mut self) -> Next {
        let [terminate, hangup, interrupt] = &mut self.signals;
        tokio::select! {
            event = self.screen.events.next() => match event {
                Some(event) => from_terminal(event).map_or(Next::Nothing, |input| Next::Input(Box::new(input))),
                // The terminal has gone.
                None => Next::End,
            },
            event = self.events.next(), if !self.events_over => match event {
                Some(event) => Next::Input(Box::new(Input::Client(event))),
                None => {
                    self.events_over = true;
                    Next::Nothing
                }
            },
            Some(answer) = self.requests.join_next() => match answer {
                Ok(input) => Next::Input(Box::new(input)),
                Err(_) => Next::Nothing,
            },
            Some(input) = self.sent.recv() => Next::Input(Box::new(input)),
            _ = self.tick.tick() => Next::Input(Box::new(Input::Tick(now_ms()))),
            _ = terminate.recv() => Next::End,
            _ = hangup.recv() => Next::End,
            _ = interrupt.recv() => Next::End,
        }
    }

    /// Gives an input to the app, and does what it wants done. False if it wants to end.
    fn take(&mut self, input: Input) -> bool {
        let mut effects = std::collections::VecDeque::from(self.app.update(input));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Quit => return false,
                Effect::Request(request, then) => {
                    if let Some(refused) = self.request(*request, then) {
                        effects.extend(self.app.update(refused));
                    }
                }
                Effect::Send(conversation, content, id) => {
                    if self.sends.try_send((conversation, content, id)).is_err() {
                        let error = Error::Protocol("too many messages wait".into());
                        let refused = Err(SendError::NotStored { error });
                        effects.extend(self.app.update(Input::Sent(conversation, id, refused)));
                    }
                }
            }
        }
        true
    }

    /// Asks something; if that cannot be, gives what to tell instead.
    fn request(&mut self, request: wire::client_frame::Body, then: Then) -> Option<Input> {
        if self.requests.len() >= REQUESTS_MAX {
            return Some(Input::Answer(then, Err("too many requests are under way".into())));
        }
        let client = self.client.clone();
        self.requests.spawn(async move {
            let answer = client.request(request).await;
            Input::Answer(then, answer.map(Box::new).map_err(|error| format!("{:#}", anyhow::Error::new(error))))
        });
        None
    }

    async fn close(mut self) {
        drop(self.screen);
        if self.app.connection == Connection::Connected {
            let last = async { while self.requests.join_next().await.is_some() {} };
            // What is not settled by then is settled by nobody.
            let _ = timeout(LAST_REQUESTS, last).await;
        }
        self.requests.shutdown().await;
        drop(self.sends);
        self.client.close().await;
        drop(self.sent);
        // It ends when every message is settled, which they are once the client is closed.
        let _ = self.sender.await;
    }
}

enum Next {
    Input(Box<Input>),
    Nothing,
    End,
}

fn from_terminal(event: TerminalEvent) -> Option<Input> {
    match event {
        TerminalEvent::Key(key) => Some(Input::Key(key)),
        TerminalEvent::Mouse(mouse) => Some(Input::Mouse(mouse)),
        TerminalEvent::Paste(text) => Some(Input::Paste(text)),
        TerminalEvent::Resize(width, height) => Some(Input::Resize(width, height)),
        TerminalEvent::FocusGained | TerminalEvent::FocusLost => None,
    }
}

/// Puts messages into the outbox in their order, and tells what became of each.
async fn send_in_order(client: Client, mut sends: mpsc::Receiver<Send>, told: mpsc::Sender<Input>) {
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            send = sends.recv() => {
                let Some((conversation, content, id)) = send else { break };
                match client.submit(Target::Conversation(conversation), content, id).await {
                    Ok(submitted) => {
                        waiting.spawn(async move { (conversation, id, submitted.await) });
                    }
                    // If nobody listens any more, nobody is told.
                    Err(error) => drop(told.send(Input::Sent(conversation, id, Err(error))).await),
                }
            }
            Some(settled) = waiting.join_next() => {
                if let Ok((conversation, id, result)) = settled {
                    drop(told.send(Input::Sent(conversation, id, result)).await);
                }
            }
        }
    }
    while waiting.join_next().await.is_some() {}
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
