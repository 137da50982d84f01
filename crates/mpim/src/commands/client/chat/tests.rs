//! Screens and keys, without a terminal. A screen is compared with a text in `snapshots`; where `UPDATE_SNAPSHOTS` is set,
//! the text is written instead.

mod keys;
mod screens;

use std::{env, fs, path::PathBuf};

use client::{ConversationId, EntryId, Event, RawContent, UserId, wire};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};
use unicode_width::UnicodeWidthStr as _;
use wire::content::Kind;

use super::{
    app::{App, Effect, Input, Then},
    language::Language,
    theme::Theme,
    ui,
};

const ME: u64 = 1;
const BOB: u64 = 2;
const CAROL: u64 = 3;
const DIRECT: ConversationId = ConversationId::new(500);
const GROUP: ConversationId = ConversationId::new(600);
/// 2026-11-24 10:00:00 UTC.
const NOON: i64 = 1_795_514_400_000;

fn utc(ms: i64) -> String {
    crate::commands::client::print::rfc3339(ms)[..19].replace('T', " ")
}

/// An app, and what it wanted done.
struct Bed {
    app: App,
    effects: Vec<Effect>,
}

fn user(id: u64, name: &str) -> wire::UserInfo {
    wire::UserInfo { id, name: name.into(), ..wire::UserInfo::default() }
}

fn text(body: &str) -> RawContent {
    client::text(body)
}

impl Bed {
    fn new(language: Language, width: u16, height: u16) -> Self {
        let app = App::new(UserId::new(ME), "alice", language, Theme { colours: true }, utc);
        let mut bed = Self { app, effects: Vec::new() };
        bed.take(Input::Resize(width, height));
        bed.take(Input::Tick(NOON));
        bed
    }

    /// With a chat and a group in which something was said.
    fn talking(language: Language, width: u16, height: u16) -> Self {
        let mut bed = Self::new(language, width, height);
        bed.event(Event::Connected { round_trips: 1 });
        let users = vec![user(ME, "alice"), user(BOB, "bob"), user(CAROL, "小明")];
        bed.answer(Then::Users, wire::server_frame::Body::Users(wire::Users { users, ..wire::Users::default() }));
        let direct = wire::Head {
            conversation: Some(wire::Conversation {
                id: DIRECT.get(),
                kind: wire::ConversationKind::Direct.into(),
                peer: Some(user(BOB, "bob")),
                ..wire::Conversation::default()
            }),
            last_position: 3,
            read_position: 3,
            ..wire::Head::default()
        };
        let group = wire::Head {
            conversation: Some(wire::Conversation {
                id: GROUP.get(),
                kind: wire::ConversationKind::Group.into(),
                title: "周末去哪里玩".into(),
                ..wire::Conversation::default()
            }),
            last_position: 3,
            read_position: 1,
            role: wire::Role::Owner.into(),
            ..wire::Head::default()
        };
        bed.event(Event::Heads(vec![group, direct]));
        bed.direct(1, ME, text("lunch?"));
        bed.direct(2, BOB, text("今天天气很好，我们去公园吃午饭吧！"));
        bed.direct(3, ME, text("see you"));
        let created = wire::GroupCreated { title: "周末去哪里玩".into(), members: vec![BOB, CAROL] };
        bed.group(1, ME, Kind::GroupCreated(created).into());
        bed.group(2, CAROL, text("爬山"));
        let mentions = Some(wire::Mentions { users: vec![ME], everyone: false });
        let kind = Some(Kind::Text(wire::Text { body: "@alice ok?".into() }));
        bed.group(3, BOB, wire::Content { kind, mentions, ..wire::Content::default() }.into());
        bed.event(Event::CaughtUp);
        bed.event(Event::Presence(wire::Presence { user: BOB, online: true, ..wire::Presence::default() }));
        bed.event(Event::ReadMoved { conversation: DIRECT, user: UserId::new(BOB), position: 1 });
        bed.event(Event::DeliveredMoved { conversation: DIRECT, user: UserId::new(BOB), position: 3 });
        bed.effects.clear();
        bed
    }

    fn take(&mut self, input: Input) {
        self.effects.extend(self.app.update(input));
    }

    fn event(&mut self, event: Event) {
        self.take(Input::Client(event));
    }

    fn answer(&mut self, then: Then, answer: wire::server_frame::Body) {
        self.take(Input::Answer(then, Ok(Box::new(answer))));
    }

    fn entry(&mut self, conversation: ConversationId, position: u64, sender: u64, content: RawContent, id: &str) {
        let kind = match conversation {
            DIRECT => wire::ConversationKind::Direct,
            GROUP => wire::ConversationKind::Group,
            _ => wire::ConversationKind::Personal,
        };
        let time_ms = NOON - 3_600_000 + position as i64 * 60_000;
        let entry = wire::Entry { position, id: id.into(), sender, time_ms, content: Some(content) };
        self.event(Event::Entry { conversation, kind, entry });
    }

    fn direct(&mut self, position: u64, sender: u64, content: RawContent) {
        self.entry(DIRECT, position, sender, content, &EntryId::generate().to_string());
    }

    fn group(&mut self, position: u64, sender: u64, content: RawContent) {
        self.entry(GROUP, position, sender, content, &EntryId::generate().to_string());
    }

    fn personal(&mut self, position: u64, kind: Kind) {
        self.entry(ConversationId::new(ME), position, ME, kind.into(), "");
    }

    fn key(&mut self, code: KeyCode) {
        self.take(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    fn control(&mut self, c: char) {
        self.take(Input::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)));
    }

    fn alt(&mut self, code: KeyCode) {
        self.take(Input::Key(KeyEvent::new(code, KeyModifiers::ALT)));
    }

    fn write(&mut self, text: &str) {
        text.chars().for_each(|c| self.key(KeyCode::Char(c)));
    }

    fn open(&mut self, conversation: ConversationId) {
        while self.app.open != Some(conversation) {
            self.alt(KeyCode::Down);
            if self.app.open != Some(conversation) {
                self.alt(KeyCode::Up);
            }
        }
        self.effects.clear();
    }

    fn buffer(&self) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(self.app.width, self.app.height)).unwrap();
        let draw = |frame: &mut ratatui::Frame<'_>| {
            let _cursor = ui::draw(frame, &self.app);
        };
        terminal.draw(draw).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The screen as lines of text.
    fn screen(&self) -> String {
        let buffer = self.buffer();
        let mut lines = String::new();
        for y in 0..buffer.area.height {
            let mut line = String::new();
            let mut x = 0;
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                // A wide character fills the cell after its own as well.
                x += (symbol.width() as u16).max(1);
            }
            assert!(line.width() <= usize::from(buffer.area.width), "a row is too wide: {line:?}");
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }

    /// What was sent since the last call.
    fn sent(&mut self) -> Vec<wire::Content> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let sent = effects.filter_map(|effect| match effect {
            Effect::Send(_, content, _) => Some(content.view().unwrap()),
            Effect::Request(..) | Effect::Quit => None,
        });
        sent.collect()
    }

    /// What was asked for since the last call.
    fn requests(&mut self) -> Vec<wire::client_frame::Body> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let asked = effects.filter_map(|effect| match effect {
            Effect::Request(request, _) => Some(*request),
            Effect::Send(..) | Effect::Quit => None,
        });
        asked.collect()
    }
}

/// Compares a screen with what is kept of it.
fn assert_snapshot(name: &str, screen: &str) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/commands/client/chat/snapshots");
    let path = directory.join(format!("{name}.txt"));
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, screen).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(screen, kept, "{name} looks different; if it should, run the test with UPDATE_SNAPSHOTS=1");
}
