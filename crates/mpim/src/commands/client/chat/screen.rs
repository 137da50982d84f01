//! The terminal, taken over for a while and given back as it was, whatever happens.

use std::{
    io::{self, Stdout, Write},
    panic,
    sync::Once,
};

use crossterm::event::{Event, EventStream};
use futures_util::{Stream, StreamExt as _};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    crossterm::{
        event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size},
    },
    layout::Position,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{app::App, ui};

/// Events of the terminal that nobody took yet; beyond them they wait in the terminal.
const EVENTS_MAX: usize = 64;

/// The screen; dropping it gives the terminal back.
pub(super) struct Screen {
    picture: Picture<Stdout>,
    pub(super) events: Events,
}

impl Screen {
    /// Without the `mouse`, the terminal keeps it for choosing text.
    pub(super) fn open(mouse: bool) -> io::Result<Self> {
        give_back_on_panic();
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste)
            .and_then(|()| if mouse { execute!(io::stdout(), EnableMouseCapture) } else { Ok(()) })
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Self { picture: Picture::new(terminal), events: Events::of(EventStream::new()) }),
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
        self.picture.draw(app)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// What the terminal shows.
struct Picture<W: Write> {
    terminal: Terminal<CrosstermBackend<W>>,
    /// And where its cursor is.
    shown: Option<(Buffer, Option<Position>)>,
}

impl<W: Write> Picture<W> {
    fn new(terminal: Terminal<CrosstermBackend<W>>) -> Self {
        Self { terminal, shown: None }
    }

    /// Shows a state. Where it looks as the one before, nothing is written: an idle screen is idle.
    fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.autoresize()?;
        let mut frame = self.terminal.get_frame();
        let cursor = ui::draw(&mut frame, app);
        let looks = Some((frame.buffer_mut().clone(), cursor));
        if looks == self.shown {
            self.terminal.current_buffer_mut().reset();
            return Ok(());
        }
        self.shown = looks;
        self.terminal.apply_buffer_with_cursor(cursor).map(drop)
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use client::UserId;
    use ratatui::{TerminalOptions, Viewport, layout::Rect};

    use super::*;
    use crate::commands::client::chat::{app::Input, language::Language, theme::Theme};

    struct Counted(Rc<Cell<usize>>);

    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(|written| written + bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_screen_on_which_nothing_changes_writes_nothing() {
        let mut app = App::new(UserId::new(1), "alice", Language::En, Theme { colours: true }, |_| String::new());
        let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, 80, 24)) };
        let bytes = Rc::new(Cell::new(0));
        let backend = CrosstermBackend::new(Counted(bytes.clone()));
        let mut picture = Picture::new(Terminal::with_options(backend, options).unwrap());
        let mut written = |app: &App| {
            picture.draw(app).unwrap();
            bytes.take()
        };
        assert!(written(&app) > 0);
        app.update(Input::Tick(1_000));
        assert_eq!(written(&app), 0);
        app.notice = Some(("something".into(), i64::MAX));
        assert!(written(&app) > 0);
        assert_eq!(written(&app), 0);
        app.notice = None;
        assert!(written(&app) > 0);
    }
}
