//! Text in columns of a terminal: wide characters take two, and none is ever cut in the middle.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::commands::client::print::harmless;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// A text in at most so many columns, with an ellipsis where it was cut; on one line, and harmless to a terminal.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let shown = harmless(text);
    if width(&shown) <= columns {
        return shown;
    }
    let (mut fitting, mut used) = (String::new(), 0);
    for grapheme in shown.graphemes(true) {
        let wide = width(grapheme);
        if used + wide + 1 > columns {
            break;
        }
        fitting.push_str(grapheme);
        used += wide;
    }
    if columns > 0 {
        fitting.push('…');
    }
    fitting
}

/// As [`fit`], filled up with spaces.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let fitting = fit(text, columns);
    let padding = columns.saturating_sub(width(&fitting));
    format!("{fitting}{:padding$}", "")
}

/// A text of several lines in lines of at most so many columns, broken between words where that is possible; harmless to a
/// terminal.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for line in text.replace("\r\n", "\n").split('\n') {
        let line = harmless(line);
        let (mut current, mut used) = (String::new(), 0);
        for word in line.split_word_bounds() {
            let wide = width(word);
            if used + wide <= columns {
                current.push_str(word);
                used += wide;
                continue;
            }
            if word.trim().is_empty() {
                // What separates words is not carried over.
                lines.push(std::mem::take(&mut current));
                used = 0;
                continue;
            }
            if used > 0 {
                lines.push(std::mem::take(&mut current));
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let wide = width(grapheme);
                if used + wide > columns {
                    lines.push(std::mem::take(&mut current));
                    used = 0;
                }
                current.push_str(grapheme);
                used += wide;
            }
        }
        lines.push(current);
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_character_is_never_cut() {
        assert_eq!(fit("天气很好", 8), "天气很好");
        assert_eq!(fit("天气很好", 7), "天气很…");
        assert_eq!(fit("天气很好", 6), "天气…");
        assert_eq!(fit("天气", 1), "…");
        assert_eq!(width(&pad("天气很好", 6)), 6);
        assert_eq!(pad("天", 4), "天  ");
    }

    #[test]
    fn lines_break_between_words_and_else_where_they_must() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("今天天气很好吗", 5), ["今天", "天气", "很好", "吗"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(wrap("👨‍👩‍👧👨‍👩‍👧", 2).len(), 2, "what is one character stays one");
    }

    #[test]
    fn what_acts_on_a_terminal_is_made_visible() {
        assert!(wrap("\x1b[2J", 20).iter().all(|line| !line.contains('\x1b')));
        assert!(!fit("a\nb\x07", 20).contains(['\n', '\x07']));
    }
}
