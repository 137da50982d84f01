//! What is being written: a text of one or several lines, and a cursor that moves as terminals have taught hands.

use unicode_segmentation::UnicodeSegmentation as _;

use super::width::width;

/// A text with a cursor, and what was cut from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Editor {
    text: String,
    /// A byte index, between two characters as people see them.
    cursor: usize,
    cut: String,
}

/// The text as lines on a screen, and where on it the cursor stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: Vec<String>,
    pub(super) cursor_row: usize,
    pub(super) cursor_column: usize,
}

impl Editor {
    /// With this text, the cursor at its end.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text, cut: String::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Replaces the text; the cursor goes to its end.
    pub(super) fn set(&mut self, text: impl Into<String>) {
        self.text = text.into();
        self.cursor = self.text.len();
    }

    /// The text, leaving nothing behind.
    pub(super) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    pub(super) fn insert(&mut self, text: &str) {
        // Tabs and returns have no width of their own; other controls do not belong into a message.
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// The characters before the cursor.
    pub(super) fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    fn after(&self) -> &str {
        &self.text[self.cursor..]
    }

    fn left_of(&self) -> usize {
        self.before().grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn right_of(&self) -> usize {
        self.cursor + self.after().graphemes(true).next().map_or(0, str::len)
    }

    /// Where the word before the cursor begins.
    fn word_left_of(&self) -> usize {
        let words = self.before().split_word_bound_indices();
        words.rev().find(|(_, word)| !word.trim().is_empty()).map_or(0, |(at, _)| at)
    }

    /// Where the word after the cursor ends.
    fn word_right_of(&self) -> usize {
        let mut words = self.after().split_word_bound_indices();
        let found = words.find(|(_, word)| !word.trim().is_empty());
        found.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
    }

    fn line_start(&self) -> usize {
        self.before().rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.after().find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.left_of();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.right_of();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_left_of();
    }

    pub(super) fn word_right(&mut self) {
        self.cursor = self.word_right_of();
    }

    pub(super) fn home(&mut self) {
        self.cursor = self.line_start();
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.line_end();
    }

    pub(super) fn backspace(&mut self) {
        let from = self.left_of();
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
    }

    pub(super) fn delete(&mut self) {
        let to = self.right_of();
        self.text.replace_range(self.cursor..to, "");
    }

    fn cut(&mut self, from: usize, to: usize) {
        if from < to {
            self.cut = self.text[from..to].to_owned();
            self.text.replace_range(from..to, "");
        }
        self.cursor = from;
    }

    pub(super) fn cut_word_left(&mut self) {
        self.cut(self.word_left_of(), self.cursor);
    }

    pub(super) fn cut_word_right(&mut self) {
        self.cut(self.cursor, self.word_right_of());
    }

    pub(super) fn cut_to_start(&mut self) {
        self.cut(self.line_start(), self.cursor);
    }

    pub(super) fn cut_to_end(&mut self) {
        // At the end of a line its break is what can be cut.
        let end = self.line_end();
        self.cut(self.cursor, if end == self.cursor { self.right_of() } else { end });
    }

    pub(super) fn paste_cut(&mut self) {
        let cut = self.cut.clone();
        self.insert(&cut);
    }

    /// Replaces what stands between a byte index and the cursor.
    pub(super) fn replace_before(&mut self, from: usize, text: &str) {
        self.text.replace_range(from..self.cursor, text);
        self.cursor = from + text.len();
    }

    /// To the line above. False if there is none.
    pub(super) fn up(&mut self) -> bool {
        let start = self.line_start();
        if start == 0 {
            return false;
        }
        let column = width(&self.text[start..self.cursor]);
        let above = self.text[..start - 1].rfind('\n').map_or(0, |at| at + 1);
        self.cursor = above + prefix_of(&self.text[above..start - 1], column);
        true
    }

    /// To the line below. False if there is none.
    pub(super) fn down(&mut self) -> bool {
        let end = self.line_end();
        if end == self.text.len() {
            return false;
        }
        let column = width(&self.text[self.line_start()..self.cursor]);
        let below = end + 1;
        let line = self.text[below..].split('\n').next().unwrap_or_default();
        self.cursor = below + prefix_of(line, column);
        true
    }

    /// The text in lines of so many columns.
    pub(super) fn rows(&self, columns: usize) -> Rows {
        // A wide character has to fit.
        let columns = columns.max(2);
        let (mut rows, mut used) = (vec![String::new()], 0);
        let (mut cursor_row, mut cursor_column) = (0, 0);
        for (at, grapheme) in self.text.grapheme_indices(true) {
            let wide = width(grapheme);
            if grapheme != "\n" && used + wide > columns {
                rows.push(String::new());
                used = 0;
            }
            if at == self.cursor {
                (cursor_row, cursor_column) = (rows.len() - 1, used);
            }
            if grapheme == "\n" {
                rows.push(String::new());
                used = 0;
            } else {
                rows.last_mut().expect("there is always one").push_str(grapheme);
                used += wide;
            }
        }
        if self.cursor == self.text.len() {
            if used >= columns {
                rows.push(String::new());
                used = 0;
            }
            (cursor_row, cursor_column) = (rows.len() - 1, used);
        }
        Rows { rows, cursor_row, cursor_column }
    }
}

/// How many bytes of a line take at most so many columns.
fn prefix_of(line: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, grapheme) in line.grapheme_indices(true) {
        used += width(grapheme);
        if used > columns {
            return at;
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_what_people_see() {
        let mut editor = Editor::new("a👨‍👩‍👧e\u{301}");
        editor.backspace();
        assert_eq!(editor.text(), "a👨‍👩‍👧");
        editor.left();
        editor.insert("天");
        assert_eq!(editor.text(), "a天👨‍👩‍👧");
        editor.delete();
        assert_eq!(editor.text(), "a天");
    }

    #[test]
    fn words_and_lines_are_cut_and_put_back() {
        let mut editor = Editor::new("one two three\nfour");
        editor.cut_word_left();
        assert_eq!(editor.text(), "one two three\n");
        editor.paste_cut();
        editor.up();
        editor.home();
        editor.word_right();
        editor.cut_to_end();
        assert_eq!(editor.text(), "one\nfour");
        editor.cut_to_end();
        assert_eq!(editor.text(), "onefour", "the break is cut");
        editor.cut_to_start();
        assert_eq!((editor.text(), editor.before()), ("four", ""));
        editor.cut_word_right();
        assert!(editor.is_empty());
    }

    #[test]
    fn the_cursor_keeps_its_column_from_line_to_line() {
        let mut editor = Editor::new("天气很好\nab\nabcdef");
        editor.left();
        assert!(editor.up());
        assert_eq!(editor.before(), "天气很好\nab");
        editor.left();
        assert!(editor.up());
        assert_eq!(editor.before(), "", "half a wide character is none");
        assert!(!editor.up());
        assert!(editor.down() && editor.down() && !editor.down());
    }

    #[test]
    fn rows_break_before_a_wide_character_that_does_not_fit() {
        let rows = Editor::new("abc天气").rows(4);
        assert_eq!(rows.rows, ["abc", "天气", ""]);
        assert_eq!((rows.cursor_row, rows.cursor_column), (2, 0));
        let rows = Editor::new("a\n天").rows(9);
        assert_eq!((rows.rows, rows.cursor_row, rows.cursor_column), (vec!["a".into(), "天".into()], 1, 2));
    }

    #[test]
    fn what_is_pasted_has_lines_and_no_controls() {
        let mut editor = Editor::default();
        editor.insert("a\r\nb\x1b[1m\tc\rd");
        assert_eq!(editor.text(), "a\nb[1m    c\nd");
    }
}
