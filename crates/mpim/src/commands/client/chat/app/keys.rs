//! Which key does what.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{App, Effect, Focus, Overlay, Pick, PickKind, PromptKind};
use crate::commands::client::chat::{editor::Editor, ui};

impl App {
    pub(super) fn on_key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if Self::is_control(key) && matches!(key.code, KeyCode::Char('c' | 'q')) {
            self.save_drafts(true);
            self.effects.push(Effect::Quit);
        } else if self.overlay.is_some() {
            self.on_overlay_key(key);
        } else if !self.on_global_key(key) {
            match self.focus {
                Focus::Compose => self.on_compose_key(key),
                Focus::Chats => self.on_chats_key(key),
                Focus::History => self.on_history_key(key),
            }
        }
    }

    pub(super) fn on_paste(&mut self, text: &str) {
        match &mut self.overlay {
            Some(Overlay::Prompt(prompt)) => return prompt.editor.insert(&text.replace(['\r', '\n'], " ")),
            Some(Overlay::Pick(Pick { query: Some(query), .. })) => {
                return query.insert(&text.replace(['\r', '\n'], " "));
            }
            Some(_) => return,
            None => {}
        }
        if let Some(chat) = self.opened_mut() {
            chat.editor.insert(text);
            self.focus = Focus::Compose;
            self.typed();
        }
    }

    /// Keys that do the same wherever one is.
    fn on_global_key(&mut self, key: KeyEvent) -> bool {
        let control = Self::is_control(key);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let page = ui::page(self) as isize;
        match key.code {
            KeyCode::F(1) => self.overlay = Some(Overlay::Help { scroll: 0 }),
            KeyCode::F(2) => self.show_group(),
            KeyCode::F(3) if self.open.is_some() => self.prompt(PromptKind::Search, "", None),
            KeyCode::Char('g') if control => self.show_group(),
            KeyCode::Char('n') if control => {
                self.overlay = Some(Overlay::Pick(Pick::with_query(PickKind::NewChat { found: Vec::new() })));
            }
            KeyCode::Char('f') if control => self.overlay = Some(Overlay::Pick(Pick::new(PickKind::Friends))),
            KeyCode::PageUp => self.scroll(page),
            KeyCode::PageDown => self.scroll(-page),
            KeyCode::Up if alt || control => self.open_neighbour(-1),
            KeyCode::Down if alt || control => self.open_neighbour(1),
            KeyCode::BackTab => self.next_focus(false),
            KeyCode::Tab if self.focus != Focus::Compose => self.next_focus(true),
            KeyCode::Char('?') if self.focus != Focus::Compose => self.overlay = Some(Overlay::Help { scroll: 0 }),
            KeyCode::Char('/') if self.focus != Focus::Compose && self.open.is_some() => {
                self.prompt(PromptKind::Search, "", None);
            }
            _ => return false,
        }
        true
    }

    fn next_focus(&mut self, forward: bool) {
        let next = match (self.focus, forward) {
            (Focus::Compose, true) | (Focus::History, false) => Focus::Chats,
            (Focus::Chats, true) | (Focus::Compose, false) => Focus::History,
            (Focus::History, true) | (Focus::Chats, false) => Focus::Compose,
        };
        self.leave_history();
        self.focus = if self.open.is_none() { Focus::Chats } else { next };
        if self.focus == Focus::History {
            self.select(0);
        }
        if self.focus == Focus::Chats {
            self.chosen = self.open.or(self.chosen);
        }
    }

    fn on_compose_key(&mut self, key: KeyEvent) {
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => self.insert("\n"),
            KeyCode::Char('j') if Self::is_control(key) => self.insert("\n"),
            KeyCode::Enter => self.submit(),
            KeyCode::Tab => {
                if !self.complete_name() {
                    self.next_focus(true);
                }
            }
            KeyCode::Esc => {
                if !self.stop_writing() && self.open.is_some() {
                    self.focus = Focus::History;
                    self.select(0);
                }
            }
            KeyCode::Up => {
                let recalling = self.opened().is_some_and(|chat| chat.recalling.is_some());
                if recalling || !self.opened_mut().is_some_and(|chat| chat.editor.up()) {
                    self.recall_sent(-1);
                }
            }
            KeyCode::Down => {
                let recalling = self.opened().is_some_and(|chat| chat.recalling.is_some());
                if recalling || !self.opened_mut().is_some_and(|chat| chat.editor.down()) {
                    self.recall_sent(1);
                }
            }
            _ => {
                let Some(chat) = self.opened_mut() else { return };
                if edit(&mut chat.editor, key) {
                    self.typed();
                } else if let Some(chat) = self.opened_mut() {
                    chat.completing = None;
                }
            }
        }
    }

    fn insert(&mut self, text: &str) {
        if let Some(chat) = self.opened_mut() {
            chat.editor.insert(text);
            self.typed();
        }
    }

    fn on_chats_key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Up => self.choose(-1),
            KeyCode::Down => self.choose(1),
            KeyCode::Home => self.choose(isize::MIN),
            KeyCode::End => self.choose(isize::MAX),
            KeyCode::Enter | KeyCode::Right => {
                if let Some(id) = self.chosen {
                    self.open_chat(id);
                }
            }
            KeyCode::Esc if self.open.is_some() => self.focus = Focus::Compose,
            KeyCode::Char(c) if !Self::is_control(key) => drop(self.on_chat_key(c)),
            _ => {}
        }
    }

    fn on_history_key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Up => self.select(-1),
            KeyCode::Down => self.select(1),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Esc | KeyCode::Enter => self.leave_history(),
            KeyCode::Char(c) if !Self::is_control(key) => drop(self.on_message_key(c)),
            _ => {}
        }
    }
}

/// The keys that change a text. True if they did.
pub(super) fn edit(editor: &mut Editor, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let before = editor.text().to_owned();
    match key.code {
        KeyCode::Left if control || alt => editor.word_left(),
        KeyCode::Right if control || alt => editor.word_right(),
        KeyCode::Left => editor.left(),
        KeyCode::Right => editor.right(),
        KeyCode::Home => editor.home(),
        KeyCode::End => editor.end(),
        KeyCode::Backspace if control || alt => editor.cut_word_left(),
        KeyCode::Backspace => editor.backspace(),
        KeyCode::Delete if control || alt => editor.cut_word_right(),
        KeyCode::Delete => editor.delete(),
        KeyCode::Char(c) if control => match c {
            'a' => editor.home(),
            'e' => editor.end(),
            'b' => editor.left(),
            'h' => editor.backspace(),
            'd' => editor.delete(),
            'w' => editor.cut_word_left(),
            'u' => editor.cut_to_start(),
            'k' => editor.cut_to_end(),
            'y' => editor.paste_cut(),
            _ => {}
        },
        KeyCode::Char(c) if alt => match c {
            'b' => editor.word_left(),
            'f' => editor.word_right(),
            'd' => editor.cut_word_right(),
            _ => {}
        },
        KeyCode::Char(c) => editor.insert(c.encode_utf8(&mut [0; 4])),
        _ => {}
    }
    editor.text() != before
}
