//! The list of chats.

use client::ConversationId;
use ratatui::{
    Frame,
    layout::{Position, Rect},
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{presence_sign, preview};
use crate::commands::client::chat::{
    app::{App, Chat, Focus},
    language::Word,
    width::{fit, pad, width},
};

/// Rows from which on each chat has a second one, for what was said last.
const PREVIEWS_FROM: u16 = 12;

/// How the rows are laid out: how many each chat takes, and which chat is the first.
fn layout(app: &App, area: Rect) -> (u16, usize) {
    let rows = if area.height >= PREVIEWS_FROM { 2 } else { 1 };
    let fitting = usize::from(area.height / rows).max(1);
    let shown = if app.focus == Focus::Chats { app.chosen } else { app.open };
    let at = app.listed().iter().position(|chat| Some(chat.id) == shown).unwrap_or_default();
    (rows, (at + 1).saturating_sub(fitting))
}

pub(super) fn at(app: &App, area: Rect, at: Position) -> Option<ConversationId> {
    let (rows, first) = layout(app, area);
    let index = usize::from((at.y - area.y) / rows) + first;
    app.listed().get(index).map(|chat| chat.id)
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if area.is_empty() {
        return;
    }
    let listed = app.listed();
    if listed.is_empty() {
        let word = if app.caught_up { Word::NoChats } else { Word::Loading };
        let lines: Vec<Line<'_>> =
            super::wrap(app.say(word), usize::from(area.width)).into_iter().map(Line::from).collect();
        frame.render_widget(Paragraph::new(lines).style(app.theme.dim()), area);
        return;
    }
    let (rows, first) = layout(app, area);
    let fitting = usize::from(area.height / rows);
    let mut lines = Vec::new();
    for chat in listed.iter().skip(first).take(fitting) {
        lines.extend(chat_rows(app, chat, usize::from(area.width), rows == 2));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn chat_rows(app: &App, chat: &Chat, columns: usize, with_preview: bool) -> Vec<Line<'static>> {
    let theme = app.theme;
    let chosen = app.focus == Focus::Chats && app.chosen == Some(chat.id);
    let open = app.open == Some(chat.id);
    let unread = chat.unread();
    let mut badge = String::new();
    if unread.mentions > 0 {
        badge.push('@');
    }
    if unread.messages > 0 {
        badge.push_str(&if unread.messages > 999 { "999+".into() } else { unread.messages.to_string() });
    } else if chat.settings.marked_unread {
        badge.push('•');
    }
    if chat.settings.muted {
        badge.push('~');
    }
    let sign = match chat.peer {
        Some(peer) => presence_sign(app, peer),
        None => "#",
    };
    let pin = if chat.settings.pinned { "^" } else { " " };
    let room = columns.saturating_sub(2 + if badge.is_empty() { 0 } else { width(&badge) + 1 });
    let mut title_style = if open || unread.messages > 0 { theme.bold() } else { Style::new() };
    let sign_style = if sign == "●" { theme.good() } else { theme.dim() };
    let badge_style = if unread.mentions > 0 { theme.mention() } else { theme.bold() };
    if open {
        title_style = title_style.patch(theme.focused());
    }
    let (title, handle) = app.title_of(chat).fit(room);
    let left = room - width(&title);
    let mut first = Line::from(vec![
        Span::styled(pin, theme.dim()),
        Span::styled(sign, sign_style),
        Span::styled(title, title_style),
        Span::styled(pad(&handle, left), theme.dim()),
    ]);
    if !badge.is_empty() {
        first.push_span(Span::raw(" "));
        first.push_span(Span::styled(badge, badge_style));
    }
    let mut lines = vec![first];
    if with_preview {
        let room = columns.saturating_sub(2);
        let text = if !open && !chat.editor.is_empty() {
            format!("[{}] {}", app.say(Word::Draft), chat.editor.text().replace('\n', " "))
        } else {
            preview(app, chat)
        };
        lines.push(Line::from(vec![Span::raw("  "), Span::styled(pad(&fit(&text, room), room), theme.dim())]));
    }
    if chosen {
        lines = lines.into_iter().map(|line| line.patch_style(theme.selected())).collect();
    }
    lines
}
