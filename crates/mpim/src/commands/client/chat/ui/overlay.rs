//! What lies over the chats for a while.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::wrap;
use crate::commands::client::chat::{
    app::{App, Overlay, Pick, PickKind, Prompt, PromptKind, Question},
    editor::Editor,
    language::{Word, keys},
    width::{fit, pad},
};

/// The widest that an overlay becomes.
const COLUMNS_MAX: u16 = 72;
/// Rows from which on it has a frame.
const FRAME_FROM: u16 = 9;

/// Gives where the cursor is to be, if there is something to be written.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, overlay: &Overlay) -> Option<Position> {
    match overlay {
        Overlay::Help { scroll } => draw_help(frame, app, *scroll),
        Overlay::Pick(pick) => return draw_pick(frame, app, pick),
        Overlay::Prompt(prompt) => return draw_prompt(frame, app, prompt),
        Overlay::Question(question) => draw_question(frame, app, question),
    }
    None
}

/// Makes room for so many rows with a title; gives what is within.
fn open(frame: &mut Frame<'_>, app: &App, title: &str, rows: usize) -> Rect {
    let screen = frame.area();
    let framed = screen.height >= FRAME_FROM;
    let around = if framed { 2 } else { 1 };
    let width = screen.width.min(COLUMNS_MAX);
    let height = (rows as u16).saturating_add(around).min(screen.height.saturating_sub(1));
    let area = Rect { x: (screen.width - width) / 2, y: (screen.height.saturating_sub(1 + height)) / 2, width, height };
    frame.render_widget(Clear, area);
    let title = fit(title, usize::from(width).saturating_sub(4));
    if framed {
        let block = Block::bordered().border_style(app.theme.focused()).title(Span::styled(title, app.theme.bold()));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        return inner;
    }
    frame.render_widget(Paragraph::new(Span::styled(title, app.theme.bold())), Rect { height: 1, ..area });
    Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area }
}

fn draw_help(frame: &mut Frame<'_>, app: &App, scroll: usize) {
    let all = help_lines(app);
    let (shown, last) = (help_height(app), all.len());
    let mut title = app.say(Word::Help).to_owned();
    if last > shown {
        title = format!("{title} · ↑↓ {}–{}/{last}", scroll + 1, (scroll + shown).min(last));
    }
    let inner = open(frame, app, &title, last);
    let lines: Vec<_> = all.into_iter().skip(scroll).take(usize::from(inner.height)).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

/// The help in lines that are nowhere cut.
fn help_lines(app: &App) -> Vec<Line<'static>> {
    let framed = if app.height >= FRAME_FROM { 2 } else { 0 };
    let columns = usize::from(app.width.min(COLUMNS_MAX)).saturating_sub(framed);
    let key_columns = 18.min(columns / 2);
    let mut lines = Vec::new();
    for (key, does) in keys(app.language) {
        if key.is_empty() {
            lines.extend(wrap(does, columns).into_iter().map(|line| Line::styled(line, app.theme.bold())));
            continue;
        }
        let (keys, does) = (wrap(key, key_columns), wrap(does, columns.saturating_sub(key_columns + 1)));
        for at in 0..keys.len().max(does.len()) {
            let part = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
            let key = Span::styled(pad(&part(&keys), key_columns), app.theme.focused());
            lines.push(Line::from(vec![key, Span::raw(format!(" {}", part(&does)))]));
        }
    }
    lines
}

/// Lines of the help that are seen at a time.
fn help_height(app: &App) -> usize {
    let around = if app.height >= FRAME_FROM { 3 } else { 2 };
    usize::from(app.height.saturating_sub(around)).max(1)
}

/// How far the help can be scrolled.
pub(in crate::commands::client::chat) fn help_scroll_max(app: &App) -> usize {
    help_lines(app).len().saturating_sub(help_height(app))
}

fn draw_pick(frame: &mut Frame<'_>, app: &App, pick: &Pick) -> Option<Position> {
    let rows = app.pick_rows(pick);
    let hint = app.say(match pick.kind {
        PickKind::NewChat { .. } => Word::HintNewChat,
        PickKind::Friends => Word::HintFriends,
        PickKind::Group { .. } => Word::HintGroup,
        PickKind::Details { .. } => Word::HintRead,
        PickKind::Link(_) => Word::HintClose,
        _ => Word::HintPick,
    });
    let columns = usize::from(frame.area().width.min(COLUMNS_MAX)).saturating_sub(2);
    let hints = if frame.area().height >= FRAME_FROM { wrap(hint, columns) } else { Vec::new() };
    let asked = usize::from(pick.query.is_some());
    let wanted = rows.len().max(1) + hints.len() + asked;
    let mut inner = open(frame, app, &pick_title(app, pick), wanted);
    let mut cursor = None;
    if let Some(query) = &pick.query {
        cursor = draw_line(frame, query, Rect { height: inner.height.min(1), ..inner });
        inner = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    }
    let list = inner.height.saturating_sub(hints.len() as u16);
    let fitting = usize::from(list);
    let selected = pick.selected.min(rows.len().saturating_sub(1));
    let first = (selected + 1).saturating_sub(fitting);
    let columns = usize::from(inner.width);
    let mut lines: Vec<Line<'_>> = rows
        .iter()
        .enumerate()
        .skip(first)
        .take(fitting)
        .map(|(at, row)| {
            let style = if at == selected { app.theme.selected() } else { ratatui::style::Style::new() };
            Line::styled(pad(row, columns), style)
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::styled(app.say(Word::NothingFound), app.theme.dim()));
    }
    frame.render_widget(Paragraph::new(lines), Rect { height: list, ..inner });
    let hints: Vec<Line<'_>> = hints.into_iter().map(|hint| Line::styled(hint, app.theme.dim())).collect();
    let below = Rect { y: inner.y + list, height: inner.height - list, ..inner };
    frame.render_widget(Paragraph::new(hints), below);
    cursor
}

fn pick_title(app: &App, pick: &Pick) -> String {
    match &pick.kind {
        PickKind::NewChat { .. } => app.say(Word::NewChat).into(),
        PickKind::Friends => app.say(Word::Friends).into(),
        PickKind::Group { info, .. } => {
            let title = app.opened().map_or_else(String::new, |chat| app.title_of(chat).to_string());
            let about = info.as_ref().map_or_else(String::new, |info| {
                let joining = match info.join_policy() {
                    client::wire::JoinPolicy::Open => app.language.pick("open", "公开"),
                    client::wire::JoinPolicy::ByApproval => app.language.pick("by approval", "需审批"),
                    client::wire::JoinPolicy::ByInvitation => app.language.pick("by invitation", "仅邀请"),
                };
                format!(" · {} · {joining}", info.members)
            });
            format!("{} · {title}{about}", app.say(Word::Group))
        }
        PickKind::React { .. } => app.say(Word::React).into(),
        PickKind::Forward { .. } => app.say(Word::ForwardTo).into(),
        PickKind::Search { query, .. } => format!("{}: {query}", app.say(Word::Search)),
        PickKind::Details { .. } => app.say(Word::Details).into(),
        PickKind::Link(_) => app.say(Word::Link).into(),
    }
}

fn draw_prompt(frame: &mut Frame<'_>, app: &App, prompt: &Prompt) -> Option<Position> {
    let title = app.say(match prompt.kind {
        PromptKind::Search => Word::SearchPrompt,
        PromptKind::NewGroup => Word::NewGroup,
        PromptKind::Invite(_) => Word::Invite,
        PromptKind::Nickname(_) => Word::Nickname,
        PromptKind::Title(_) => Word::Title,
        PromptKind::Announcement(_) => Word::Announcement,
        PromptKind::Remark(_) => Word::Remark,
        PromptKind::AddFriend(_) => Word::AddMessage,
    });
    let inner = open(frame, app, title, 2);
    let cursor = draw_line(frame, &prompt.editor, Rect { height: inner.height.min(1), ..inner });
    if inner.height > 1 {
        let hint = Span::styled(app.say(Word::HintPrompt), app.theme.dim());
        frame.render_widget(Paragraph::new(hint), Rect { y: inner.y + 1, height: 1, ..inner });
    }
    cursor
}

fn draw_question(frame: &mut Frame<'_>, app: &App, question: &Question) {
    use crate::commands::client::chat::app::QuestionKind::{
        Delete, Dissolve, Joining, Leave, RemoveFriend, RemoveMember, Transfer,
    };
    let (title, hint) = match question.kind {
        Delete { recall: true, .. } => (Word::DeleteQuestion, Word::HintDelete),
        Delete { .. } => (Word::DeleteQuestion, Word::HintDeleteForMe),
        Leave(_) => (Word::LeaveQuestion, Word::HintConfirm),
        Dissolve(_) => (Word::DissolveQuestion, Word::HintConfirm),
        RemoveFriend(_) => (Word::RemoveFriendQuestion, Word::HintConfirm),
        RemoveMember { ban: false, .. } => (Word::RemoveMemberQuestion, Word::HintConfirm),
        RemoveMember { ban: true, .. } => (Word::BanQuestion, Word::HintConfirm),
        Transfer { .. } => (Word::TransferQuestion, Word::HintConfirm),
        Joining(_) => (Word::JoiningQuestion, Word::HintJoining),
    };
    let mut title = app.say(title).to_owned();
    if let RemoveFriend(user) | RemoveMember { user, .. } | Transfer { user, .. } = question.kind {
        title = format!("{title} {}{}", app.name_of(user), app.language.pick("?", "？"));
    }
    let columns = usize::from(frame.area().width.min(COLUMNS_MAX)).saturating_sub(2);
    let hints = wrap(app.say(hint), columns);
    let inner = open(frame, app, &title, hints.len());
    frame.render_widget(Paragraph::new(hints.into_iter().map(Line::from).collect::<Vec<_>>()), inner);
}

/// One line that is written. Gives where its cursor is.
fn draw_line(frame: &mut Frame<'_>, editor: &Editor, area: Rect) -> Option<Position> {
    if area.is_empty() {
        return None;
    }
    let rows = editor.rows(usize::from(area.width).saturating_sub(3));
    let row = rows.rows.get(rows.cursor_row).cloned().unwrap_or_default();
    frame.render_widget(Paragraph::new(format!("> {row}")), area);
    let x = area.x + 2 + rows.cursor_column as u16;
    Some(Position::new(x.min(area.right() - 1), area.y))
}
