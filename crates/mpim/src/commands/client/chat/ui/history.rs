//! What was said: laid out from its end upwards, as far as it can be seen.

use client::{UserId, fold::MessageView};
use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Areas, areas, minute, said};
use crate::commands::client::chat::{
    app::{App, Chat, Focus},
    language::{Word, happened},
    width::{fit, width, wrap},
};

/// Messages of one sender within this time stand under one name.
const TOGETHER_MS: i64 = 5 * 60_000;
/// Columns before a text.
const GUTTER: usize = 2;
/// Rows above what is seen, at which older messages are asked for.
const AHEAD: usize = 10;
/// Rows of one message; of a longer one the beginning is shown.
const MESSAGE_ROWS_MAX: usize = 200;

/// One row, and the message it belongs to.
struct Row {
    line: Line<'static>,
    position: Option<u64>,
}

/// Rows from the end upwards, in reverse order, until there are `needed` and `target` is among them. And whether these
/// are all.
fn rows_from_end(app: &App, chat: &Chat, columns: usize, needed: usize, target: Option<u64>) -> (Vec<Row>, bool) {
    let mut rows: Vec<Row> = Vec::new();
    for unsent in chat.unsent.iter().rev() {
        let sign = if unsent.failed { app.say(Word::Failed) } else { "…" };
        let block = text_rows(&unsent.text, columns, &[(sign.into(), app.theme.dim())]);
        rows.extend(block.into_iter().rev().map(|line| Row { line: indent(line), position: None }));
    }
    let mut found = target.is_none();
    let mut messages = chat.view.messages().rev().peekable();
    while let Some(message) = messages.next() {
        let block = block(app, chat, message, messages.peek().copied(), columns);
        rows.extend(block.into_iter().rev());
        found |= target == Some(message.position());
        if found && rows.len() >= needed {
            return (rows, messages.peek().is_none());
        }
    }
    (rows, true)
}

fn indent(mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, Span::raw(" ".repeat(GUTTER)));
    line
}

/// The rows of one message, below `before`.
fn block(
    app: &App,
    chat: &Chat,
    message: MessageView<'_>,
    before: Option<MessageView<'_>>,
    columns: usize,
) -> Vec<Row> {
    let theme = app.theme;
    let date = |ms: i64| (app.local_time)(ms).chars().take(10).collect::<String>();
    let today = date(message.time_ms());
    let new_day = before.is_none_or(|before| date(before.time_ms()) != today);
    let mut lines = Vec::new();
    if new_day {
        let side = "─".repeat((columns.saturating_sub(today.len() + 2) / 2).min(20));
        lines.push((Line::styled(fit(&format!("{side} {today} {side}"), columns), theme.dim()), false));
    }
    let own = message.sender() == app.user;
    if message.is_message() || message.is_recalled() {
        let together = !new_day
            && before.is_some_and(|before| {
                before.is_message()
                    && before.sender() == message.sender()
                    && message.time_ms() - before.time_ms() < TOGETHER_MS
            });
        if !together {
            let style = if own { theme.own_name() } else { theme.name() };
            let time = (app.local_time)(message.time_ms()).get(11..16).unwrap_or_default().to_owned();
            let (name, handle) = app.called_in(chat, message.sender()).fit(columns.saturating_sub(6));
            let about = Span::styled(format!("{handle} {time}"), theme.dim());
            let line = Line::from(vec![Span::styled(name, style), about]);
            lines.push((line, true));
        }
        lines.extend(message_lines(app, chat, message, columns).into_iter().map(|line| (line, true)));
    } else {
        let from = app.name_in(chat, message.sender());
        let name = |user| app.name_in(chat, UserId::new(user));
        let told = message.content().and_then(|kind| happened(app.language, kind, &from, name, |ms| minute(app, ms)));
        let told = told.unwrap_or_else(|| format!("{from}: [{}]", app.say(Word::Unknown)));
        for line in wrap(&format!("* {told}"), columns) {
            lines.push((Line::styled(line, theme.dim()), true));
        }
    }
    lines.truncate(MESSAGE_ROWS_MAX);
    let selected = chat.selected == Some(message.position()) && app.focus == Focus::History;
    let rows = lines.into_iter().map(|(line, belongs)| {
        let line = if selected && belongs { line.patch_style(theme.selected()) } else { line };
        Row { line, position: belongs.then_some(message.position()) }
    });
    rows.collect()
}

/// What a message says, and what belongs to it.
fn message_lines(app: &App, chat: &Chat, message: MessageView<'_>, columns: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let room = columns.saturating_sub(GUTTER);
    let mut lines = Vec::new();
    if let Some(forwarded) = message.forwarded() {
        let text = format!("↪ {} {}", app.say(Word::Forwarded), app.name_of(UserId::new(forwarded.sender)));
        lines.push(indent(Line::styled(fit(&text, room), theme.dim())));
    }
    if let Some(position) = message.reply_to().filter(|_| !message.is_recalled()) {
        lines.push(indent(Line::styled(fit(&quote(app, chat, position), room), theme.dim())));
    }
    let mut suffix = Vec::new();
    if message.is_edited() {
        suffix.push((format!("({})", app.say(Word::Edited)), theme.dim()));
    }
    if message.is_pinned() {
        suffix.push((format!("^{}", app.say(Word::Pinned)), theme.dim()));
    }
    if message.sender() == app.user && !message.is_recalled() {
        suffix.push(receipt(app, chat, message.position()));
    }
    let text = match message.content() {
        Some(kind) => said(app, kind),
        None => app.say(Word::Recalled).to_owned(),
    };
    let mentioned = message.mentions(app.user) && message.sender() != app.user && !message.is_recalled();
    for (at, line) in text_rows(&text, columns, &suffix).into_iter().enumerate() {
        let mut line = indent(line);
        if mentioned && at == 0 {
            line.spans[0] = Span::styled("@ ", theme.mention());
        }
        if message.is_recalled() {
            line = line.patch_style(theme.dim());
        }
        lines.push(line);
    }
    let reactions: Vec<String> = message
        .reactions()
        .into_iter()
        .map(|(mark, users)| {
            let own = if users.contains(&app.user) { "*" } else { "" };
            format!("{mark} {}{own}", users.len())
        })
        .collect();
    if !reactions.is_empty() {
        lines.extend(wrap(&reactions.join("  "), room).into_iter().map(|line| indent(Line::from(line))));
    }
    lines
}

/// The rows of a text with something after its end.
fn text_rows(text: &str, columns: usize, suffix: &[(String, ratatui::style::Style)]) -> Vec<Line<'static>> {
    let room = columns.saturating_sub(GUTTER);
    let mut lines: Vec<Line<'static>> = wrap(text, room).into_iter().map(Line::from).collect();
    for (part, style) in suffix {
        let part = fit(part, room);
        let fits = lines.last().is_some_and(|last| last.width() + 1 + width(&part) <= room);
        if !fits {
            lines.push(Line::default());
        }
        if let Some(last) = lines.last_mut() {
            if last.width() > 0 {
                last.push_span(Span::raw(" "));
            }
            last.push_span(Span::styled(part, *style));
        }
    }
    lines
}

fn quote(app: &App, chat: &Chat, position: u64) -> String {
    match chat.view.message(position) {
        Some(answered) => {
            let text = answered.content().map_or_else(|| app.say(Word::Recalled).into(), |kind| said(app, kind));
            format!("┃ {}: {}", app.name_in(chat, answered.sender()), text.replace('\n', " "))
        }
        None => format!("┃ #{position}"),
    }
}

/// Whether an own message arrived, and was read.
fn receipt(app: &App, chat: &Chat, position: u64) -> (String, ratatui::style::Style) {
    // A note to oneself needs none.
    let (delivered, read) = chat.reached(position);
    let count = |count: usize| if chat.is_group() && count > 0 { count.to_string() } else { String::new() };
    match (delivered, read) {
        (_, read) if read > 0 => (format!("✓✓{}", count(read)), app.theme.read()),
        (delivered, _) if delivered > 0 => ("✓✓".into(), app.theme.dim()),
        _ => ("✓".into(), app.theme.dim()),
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, chat: &Chat, area: Rect) {
    let height = usize::from(area.height);
    if area.is_empty() {
        return;
    }
    let (rows, all) = rows_from_end(app, chat, usize::from(area.width), chat.scroll + height, None);
    let mut lines: Vec<Line<'static>> = rows.into_iter().skip(chat.scroll).take(height).map(|row| row.line).collect();
    if lines.is_empty() {
        let word = if chat.loading { Word::Loading } else { Word::NoMessages };
        lines.push(Line::styled(app.say(word), app.theme.dim()));
    } else if lines.len() < height && all && chat.loading {
        lines.push(Line::styled(app.say(Word::Loading), app.theme.dim()));
    }
    lines.reverse();
    let top = height.saturating_sub(lines.len()) as u16;
    frame.render_widget(Paragraph::new(lines), Rect { y: area.y + top, height: area.height - top, ..area });
    if chat.scroll > 0 {
        let sign = format!("↓{}", chat.scroll);
        let columns = (width(&sign) as u16).min(area.width);
        let at = Rect { x: area.right() - columns, y: area.bottom() - 1, width: columns, height: 1 };
        frame.render_widget(Paragraph::new(sign).style(app.theme.selected()), at);
    }
}

/// The size of the history: columns, rows.
fn size(app: &App) -> (usize, usize) {
    let area = areas(app).history;
    (usize::from(area.width), usize::from(area.height))
}

/// Rows that a page key moves.
pub(in crate::commands::client::chat) fn page(app: &App) -> usize {
    size(app).1.saturating_sub(2).max(1)
}

/// How far one can scroll, as far as is known near where one is.
pub(in crate::commands::client::chat) fn scroll_max(app: &App) -> usize {
    let Some(chat) = app.opened() else { return 0 };
    let (columns, rows) = size(app);
    let near = chat.scroll + 3 * rows + AHEAD;
    rows_from_end(app, chat, columns, near, None).0.len().saturating_sub(rows)
}

/// The first message that is here is in sight, or nearly.
pub(in crate::commands::client::chat) fn sees_first(app: &App) -> bool {
    let Some(chat) = app.opened() else { return false };
    let (columns, rows) = size(app);
    rows > 0 && rows_from_end(app, chat, columns, chat.scroll + rows + AHEAD, None).1
}

/// How many rows the last message takes, if it is the one at this position; else none.
pub(in crate::commands::client::chat) fn lines_of(app: &App, position: u64) -> usize {
    let Some(chat) = app.opened() else { return 0 };
    let mut messages = chat.view.messages().rev();
    let Some(last) = messages.next().filter(|last| last.position() == position) else { return 0 };
    block(app, chat, last, messages.next(), size(app).0).len()
}

/// The scroll at which a message is in sight, the nearest to the present one.
pub(in crate::commands::client::chat) fn scroll_to(app: &App, position: u64) -> usize {
    let Some(chat) = app.opened() else { return 0 };
    let (columns, rows) = size(app);
    let (all, _) = rows_from_end(app, chat, columns, chat.scroll + rows, Some(position));
    let belongs = |row: &Row| row.position == Some(position);
    let Some(bottom) = all.iter().position(belongs) else { return chat.scroll };
    let top = all.iter().rposition(belongs).unwrap_or(bottom);
    let lowest = (top + 1).saturating_sub(rows);
    chat.scroll.clamp(lowest.min(bottom), bottom)
}

/// The message at a place.
pub(in crate::commands::client::chat) fn message_at(app: &App, areas: &Areas, at: Position) -> Option<u64> {
    let chat = app.opened()?;
    let (columns, rows) = (usize::from(areas.history.width), usize::from(areas.history.height));
    let from_end = usize::from(areas.history.bottom() - 1 - at.y) + chat.scroll;
    let (all, _) = rows_from_end(app, chat, columns, chat.scroll + rows, None);
    all.get(from_end)?.position
}
