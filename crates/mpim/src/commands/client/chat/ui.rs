//! What the screen looks like: [`draw`] draws a state, and the rest tells where things are on it.

mod chats;
mod history;
mod overlay;

use client::{ConversationId, UserId, wire};
use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};
use wire::content::Kind;

use super::{
    app::{App, Chat, Connection, Focus},
    language::{Word, happened},
    width::{fit, width, wrap},
};
use crate::commands::client::print::one_line;

pub(super) use history::{lines_of, message_at, page, scroll_max, scroll_to, sees_first};
pub(super) use overlay::help_scroll_max;

/// From this width on, the chats are listed beside the one that is open.
const TWO_PANES: u16 = 50;
/// The smallest screen on which anything can be done.
const SMALLEST: (u16, u16) = (12, 3);
/// Rows for what is being written.
const COMPOSE_ROWS_MAX: usize = 6;
/// Rows from which on there is a line that tells what is open.
const HEADER_FROM: u16 = 8;

/// Where things are. What is not shown is empty.
#[derive(Debug, Default)]
pub(super) struct Areas {
    pub(super) chats: Rect,
    pub(super) header: Rect,
    pub(super) history: Rect,
    /// Who writes, what is answered or edited.
    pub(super) about: Rect,
    pub(super) compose: Rect,
    pub(super) status: Rect,
}

/// Columns before what is being written.
const PROMPT: &str = "> ";

pub(super) fn areas(app: &App) -> Areas {
    let (columns, rows) = (app.width, app.height);
    let mut areas = Areas::default();
    if columns < SMALLEST.0 || rows < SMALLEST.1 {
        return areas;
    }
    areas.status = Rect::new(0, rows - 1, columns, 1);
    let body = Rect::new(0, 0, columns, rows - 1);
    let Some(chat) = app.opened() else {
        areas.chats = body;
        return areas;
    };
    let mut right = body;
    if columns >= TWO_PANES {
        let wide = (columns * 3 / 10).clamp(18, 34);
        areas.chats = Rect { width: wide, ..body };
        right = Rect { x: wide + 1, width: columns - wide - 1, ..body };
    } else if app.focus == Focus::Chats {
        areas.chats = body;
        return areas;
    }
    let written = chat.editor.rows(usize::from(right.width).saturating_sub(PROMPT.len())).rows.len();
    let compose = written.min(COMPOSE_ROWS_MAX).min(usize::from(body.height / 3).max(1)) as u16;
    let header = u16::from(rows >= HEADER_FROM);
    let about = u16::from(about(app, chat).is_some() && body.height > compose + header + 1);
    areas.header = Rect { height: header, ..right };
    areas.compose = Rect { y: body.height - compose, height: compose, ..right };
    areas.about = Rect { y: body.height - compose - about, height: about, ..right };
    areas.history = Rect { y: header, height: body.height - compose - about - header, ..right };
    areas
}

/// Draws the screen; gives where the cursor is to be.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) -> Option<Position> {
    let areas = areas(app);
    if areas.status.is_empty() {
        frame.render_widget(Paragraph::new(app.say(Word::TooSmall)), frame.area());
        return None;
    }
    let mut cursor = None;
    chats::draw(frame, app, areas.chats);
    if let Some(chat) = app.opened() {
        draw_divider(frame, app, &areas);
        draw_header(frame, app, chat, areas.header);
        history::draw(frame, app, chat, areas.history);
        if let Some(text) = about(app, chat) {
            let text = fit(&text, usize::from(areas.about.width));
            frame.render_widget(Paragraph::new(Span::styled(text, app.theme.dim())), areas.about);
        }
        cursor = draw_compose(frame, app, chat, areas.compose);
    }
    draw_status(frame, app, areas.status);
    match &app.overlay {
        Some(shown) => overlay::draw(frame, app, shown),
        None => cursor,
    }
}

fn draw_divider(frame: &mut Frame<'_>, app: &App, areas: &Areas) {
    if areas.chats.is_empty() || areas.history.is_empty() {
        return;
    }
    let area = Rect { x: areas.chats.right(), width: 1, ..areas.chats };
    let lines = vec![Line::styled("│", app.theme.dim()); usize::from(area.height)];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_header(frame: &mut Frame<'_>, app: &App, chat: &Chat, area: Rect) {
    let mut about = String::new();
    match chat.peer {
        Some(peer) => {
            let sign = presence_sign(app, peer);
            if sign != " " {
                about = format!(" {sign}");
            } else if let Some(seen) = app.presence.get(&peer).map(|one| one.seen_ms).filter(|&seen| seen > 0) {
                about = format!(" · {}", minute(app, seen));
            }
            if let Some(info) = app.users.get(&peer).filter(|info| !info.status_line.is_empty()) {
                about.push_str(&format!(" · {}", info.status_line));
            }
        }
        None if chat.view.group().is_dissolved() => about.push_str(" ×"),
        None => {
            let members = chat.members.len().max(chat.view.group().members().count());
            if members > 0 {
                about = format!(" · {members}");
            }
            if let Some(text) = chat.view.group().announcement().filter(|text| !text.is_empty()) {
                about.push_str(&format!(" · {}", one_line(text)));
            }
        }
    }
    let columns = usize::from(area.width);
    // Whether the other is there is seen beside the longest name.
    let kept = if chat.peer.is_some() { width(&about).min(2) } else { 0 };
    let (title, handle) = app.title_of(chat).fit(columns.saturating_sub(kept));
    let about = fit(&about, columns - width(&title) - width(&handle));
    let about = format!("{handle}{about}");
    let line = Line::from(vec![Span::styled(title, app.theme.bold()), Span::styled(about, app.theme.dim())]);
    frame.render_widget(Paragraph::new(line), area);
}

/// What stands above what is written: what it answers or changes, or who else writes.
fn about(app: &App, chat: &Chat) -> Option<String> {
    let quoted = |position| {
        let message = chat.view.message(position)?;
        let said = message.content().map_or_else(|| app.say(Word::Recalled).into(), |kind| said(app, kind));
        Some(format!("{}: {said}", app.name_in(chat, message.sender())))
    };
    if let Some(position) = chat.editing {
        return Some(format!("✎ {} · {}", app.say(Word::Editing), quoted(position).unwrap_or_default()));
    }
    if let Some(position) = chat.reply_to {
        return Some(format!("↩ {} {}", app.say(Word::Replying), quoted(position).unwrap_or_default()));
    }
    let mut writing: Vec<String> = chat.typing.keys().map(|&user| app.name_in(chat, user)).collect();
    writing.sort();
    (!writing.is_empty()).then(|| format!("{} …", writing.join(", ")))
}

/// Gives where the cursor is to be, if what is written is what keys go to.
fn draw_compose(frame: &mut Frame<'_>, app: &App, chat: &Chat, area: Rect) -> Option<Position> {
    let focused = app.focus == Focus::Compose && app.overlay.is_none();
    let columns = usize::from(area.width).saturating_sub(PROMPT.len());
    let written = chat.editor.rows(columns);
    let height = usize::from(area.height);
    let first = (written.cursor_row + 1).saturating_sub(height);
    let style = if focused { app.theme.focused() } else { app.theme.dim() };
    let mut lines = Vec::new();
    for (at, row) in written.rows.iter().enumerate().skip(first).take(height) {
        let prompt = if at == 0 { PROMPT } else { "  " };
        let shown = if chat.editor.is_empty() && !focused {
            Span::styled(fit(app.say(Word::Compose), columns), app.theme.dim())
        } else {
            Span::raw(row.clone())
        };
        lines.push(Line::from(vec![Span::styled(prompt, style), shown]));
    }
    frame.render_widget(Paragraph::new(lines), area);
    (focused && !area.is_empty()).then(|| {
        let column = (PROMPT.len() + written.cursor_column) as u16;
        let x = (area.x + column).min(area.right() - 1);
        Position::new(x, area.y + (written.cursor_row - first) as u16)
    })
}

fn draw_status(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let theme = app.theme;
    let (sign, style, text) = match &app.connection {
        Connection::Connected => ("●", theme.good(), app.say(Word::Connected).to_owned()),
        Connection::Connecting => ("○", theme.bad(), app.say(Word::Connecting).to_owned()),
        Connection::Waiting { until_ms } => {
            let seconds = ((until_ms - app.now_ms).max(0) + 999) / 1_000;
            ("○", theme.bad(), format!("{} {seconds} s", app.say(Word::Offline)))
        }
        Connection::Stopped(_) => ("×", theme.bad(), app.say(Word::SessionOver).to_owned()),
    };
    let mut left = vec![Span::styled(sign, style), Span::raw(format!(" {text} · {}", fit(&app.name, 20)))];
    let requests = app.open_requests();
    if requests > 0 {
        left.push(Span::styled(format!(" · {requests} {} Ctrl-F", app.say(Word::Requests)), theme.mention()));
    }
    let used: usize = left.iter().map(|span| width(&span.content)).sum();
    let columns = usize::from(area.width);
    let room = columns.saturating_sub(used + 2);
    let to_open = app.say(Word::HintOpen);
    let right = match (&app.notice, &app.connection) {
        (Some((text, _)), _) => text.clone(),
        (None, Connection::Stopped(why)) => why.clone(),
        (None, _) if app.open.is_none() && app.chosen.is_some() && width(to_open) <= room => to_open.to_owned(),
        (None, _) => app.say(Word::HintHelp).to_owned(),
    };
    // A hint that is cut says nothing.
    let is_hint = app.notice.is_none() && !matches!(app.connection, Connection::Stopped(_));
    let right = if is_hint && width(&right) > room { String::new() } else { fit(&right, room) };
    let gap = columns.saturating_sub(used + width(&right));
    let style = if app.notice.is_some() { theme.bold() } else { theme.dim() };
    left.push(Span::raw(" ".repeat(gap)));
    left.push(Span::styled(right, style));
    frame.render_widget(Paragraph::new(Line::from(left)), area);
}

/// A sign for whether a user is there.
pub(super) fn presence_sign(app: &App, user: UserId) -> &'static str {
    match app.presence.get(&user) {
        Some(presence) if presence.online && presence.away => "○",
        Some(presence) if presence.online => "●",
        _ => " ",
    }
}

/// What a message says, as a text.
pub(super) fn said(app: &App, kind: &Kind) -> String {
    match kind {
        Kind::Text(text) => text.body.clone(),
        Kind::Link(link) if link.title.is_empty() => link.url.clone(),
        Kind::Link(link) => format!("“{}” {}", link.title, link.url),
        Kind::Card(card) => match card.of {
            Some(wire::card::Of::User(user)) => format!("[@ {}]", app.name_of(UserId::new(user))),
            _ => format!("[# {}]", card.title),
        },
        Kind::Custom(custom) if custom.fallback.is_empty() => format!("[{}]", custom.r#type),
        Kind::Custom(custom) => custom.fallback.clone(),
        Kind::Opaque(_) => format!("[{}]", app.say(Word::Encrypted)),
        _ => format!("[{}]", app.say(Word::Unknown)),
    }
}

/// What was said last in a chat, on one line.
pub(super) fn preview(app: &App, chat: &Chat) -> String {
    let Some(last) = chat.view.messages().next_back() else { return String::new() };
    let from = app.name_in(chat, last.sender());
    if last.is_recalled() {
        return app.say(Word::Recalled).into();
    }
    let Some(kind) = last.content() else { return format!("[{}]", app.say(Word::Unknown)) };
    if let Some(told) =
        happened(app.language, kind, &from, |user| app.name_in(chat, UserId::new(user)), |ms| minute(app, ms))
    {
        return told;
    }
    let text = said(app, kind).replace('\n', " ");
    if chat.is_group() || last.sender() == app.user { format!("{from}: {text}") } else { text }
}

/// A time to the minute; of today, the time of day alone.
fn minute(app: &App, ms: i64) -> String {
    let (then, now) = ((app.local_time)(ms), (app.local_time)(app.now_ms));
    let date = |text: &str| text.get(..10).map(str::to_owned);
    let time = then.get(11..16).unwrap_or_default();
    if date(&then) == date(&now) { time.to_owned() } else { format!("{} {time}", then.get(5..10).unwrap_or_default()) }
}

/// The chat whose row is at a place.
pub(super) fn chat_at(app: &App, areas: &Areas, at: Position) -> Option<ConversationId> {
    chats::at(app, areas.chats, at)
}
