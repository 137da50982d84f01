//! The terminal, taken over for a while and given back as it was, whatever happens.

use std::{
    io::{self, Stdout},
    panic,
    sync::Once,
};

use crossterm::event::{Event, EventStream};
use futures_util::{Stream, StreamExt as _};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{app::App, ui};

/// Events of the terminal that nobody took yet; beyond them they wait in the terminal.
const EVENTS_MAX: usize = 64;

/// The screen; dropping it gives the terminal back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    pub(super) events: Events,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        give_back_on_panic();
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableMouseCapture)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Self { terminal, events: Events::of(EventStream::new()) }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        size()
    }

    pub(super) fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| ui::draw(frame, app))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// What happens on the terminal.
///
/// crossterm's stream remembers only whoever polled it first, until something happens: asked once in passing and waited for
/// afterwards, it wakes nobody. So one task does nothing but wait for it.
pub(super) struct Events {
    events: mpsc::Receiver<Event>,
    reader: JoinHandle<()>,
}

impl Events {
    /// Ends with the stream, or when reading it fails: the terminal has gone.
    fn of(mut stream: impl Stream<Item = io::Result<Event>> + Send + Unpin + 'static) -> Self {
        let (read, events) = mpsc::channel(EVENTS_MAX);
        let reader = tokio::spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                if read.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { events, reader }
    }

    /// The next event; `None` if the terminal has gone. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn give_back() {
    // The terminal may have gone, and then there is nothing to give back.
    let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste, LeaveAlternateScreen);
    let _ = execute!(io::stdout(), ratatui::crossterm::cursor::Show);
    let _ = disable_raw_mode();
}

/// A panic's message is to be read on the terminal as it was before.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}
