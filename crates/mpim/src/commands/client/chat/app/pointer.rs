//! What the mouse does.

use ratatui::{
    crossterm::event::{MouseButton, MouseEvent, MouseEventKind},
    layout::Position,
};

use super::{App, Focus, Overlay};
use crate::commands::client::chat::ui;

/// Lines that one notch of the wheel moves.
const WHEEL_LINES: isize = 3;

impl App {
    pub(super) fn on_mouse(&mut self, mouse: MouseEvent) {
        let at = Position::new(mouse.column, mouse.row);
        let areas = ui::areas(self);
        let wheel = match mouse.kind {
            MouseEventKind::ScrollUp => -1,
            MouseEventKind::ScrollDown => 1,
            MouseEventKind::Down(MouseButton::Left) => return self.on_click(at, &areas),
            _ => return,
        };
        match &mut self.overlay {
            Some(Overlay::Pick(pick)) => pick.selected = pick.selected.saturating_add_signed(wheel),
            Some(Overlay::Help { scroll }) => {
                let scroll = scroll.saturating_add_signed(wheel);
                self.overlay = Some(Overlay::Help { scroll: scroll.min(ui::help_scroll_max(self)) });
            }
            Some(_) => {}
            None if areas.chats.contains(at) => self.choose(wheel),
            None => self.scroll(-wheel * WHEEL_LINES),
        }
    }

    fn on_click(&mut self, at: Position, areas: &ui::Areas) {
        if self.overlay.is_some() {
            return;
        }
        if areas.chats.contains(at) {
            if let Some(id) = ui::chat_at(self, areas, at) {
                self.open_chat(id);
            }
        } else if areas.history.contains(at) {
            if let Some(position) = ui::message_at(self, areas, at) {
                self.focus = Focus::History;
                if let Some(chat) = self.opened_mut() {
                    chat.selected = Some(position);
                }
            }
        } else if areas.compose.contains(at) && self.open.is_some() {
            self.leave_history();
        }
    }
}
