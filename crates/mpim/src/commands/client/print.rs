//! Output for people and for scripts.
//!
//! What other users wrote never reaches a terminal as it is: control characters, escape sequences and marks that turn the
//! direction of text are made visible.

use std::io::{self, Write as _};

use serde_json::Value;
use tokio::io::{Interest, unix::AsyncFd};
use unicode_width::UnicodeWidthStr as _;

/// Prints lines; each is flushed, so that whoever reads has it at once.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct Printer {
    json: bool,
}

impl Printer {
    pub(in crate::commands) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Prints one of the two forms.
    pub(in crate::commands) fn print(
        self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        let line = if self.json { harmless_json(&json()) } else { text() };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    /// Tells a person something that is not the command's result.
    pub(super) fn note(self, text: &str) {
        // If nobody reads it, nothing is lost.
        let _ = writeln!(io::stderr(), "{}", harmless(text));
    }
}

/// Ends when nobody reads standard output any more; never, if it is not a pipe. A write would tell, but a command that
/// waits for something to print may not write for days.
#[allow(unsafe_code)]
pub(super) async fn reader_gone() {
    // SAFETY: standard output stays open, and the same, for as long as the process lives.
    let watched = unsafe { AsyncFd::register_with_interest(io::stdout(), Interest::ERROR) };
    // Files cannot be watched, and their reader never goes.
    if let Ok(stdout) = watched {
        let gone = stdout.ready(Interest::ERROR).await;
        if gone.is_ok() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// JSON in which the characters that could do something to a terminal are escaped; they occur only within strings.
fn harmless_json(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        if acts(c) {
            line.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            line.push(c);
        }
    }
    line
}

/// A text on one line in which nothing can do something to a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { ' ' } else { visible(c) }).collect()
}

/// As [`harmless`], of a text of several lines, whose breaks become spaces.
pub(super) fn one_line(text: &str) -> String {
    harmless(&text.lines().collect::<Vec<_>>().join(" "))
}

/// A text of several lines, of which all but the first are indented, so that none can pass for another message.
pub(super) fn harmless_lines(text: &str, indent: usize) -> String {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<String> = text.trim_end_matches('\n').split('\n').map(harmless).collect();
    lines.join(&format!("\n{:indent$}", ""))
}

fn visible(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        c if acts(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Whether a character does something rather than show something: controls, line separators, and marks that reorder text.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Pads a text to a number of columns, wide characters taking two; cuts what does not fit.
pub(super) fn column(text: &str, width: usize) -> String {
    let mut shown = harmless(text);
    if shown.width() > width {
        while shown.width() + 1 > width && shown.pop().is_some() {}
        shown.push('…');
    }
    let padding = width.saturating_sub(shown.width());
    format!("{shown}{:padding$}", "")
}

/// Lines of aligned columns.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| harmless(cell).width()).max();
    let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| column(cell, width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub(in crate::commands) fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a number of days since 1970 in the Gregorian calendar, which repeats every 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of year 0, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Milliseconds since 1970 as a date and time in the machine's time zone, which is UTC if it knows of none.
#[allow(unsafe_code)]
pub(in crate::commands) fn local_time(ms: i64) -> String {
    let seconds: libc::time_t = ms.div_euclid(1_000);
    // SAFETY: `tm` is plain numbers and a pointer, for which zero is valid.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; nothing changes this process's environment.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) }.is_null() {
        return rfc3339(ms);
    }
    let (year, month) = (i64::from(parts.tm_year) + 1_900, parts.tm_mon + 1);
    format!("{year:04}-{month:02}-{:02} {:02}:{:02}:{:02}", parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(rfc3339(1_795_428_153_071), "2026-11-23T10:02:33.071Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn nothing_a_user_writes_can_act_on_a_terminal() {
        let evil = "\x1b[2J\u{9b}31m\u{7}\u{202e}abc\r\n\x08天气\0\u{2028}";
        for shown in [harmless(evil), harmless_lines(evil, 4), harmless_json(&json!({ "text": evil }))] {
            assert!(!shown.replace('\n', "").chars().any(acts), "{shown:?}");
            assert!(shown.contains("天气"));
        }
        let json: Value = serde_json::from_str(&harmless_json(&json!({ "text": evil }))).unwrap();
        assert_eq!(json["text"], evil, "in JSON nothing is lost");
    }

    #[test]
    fn a_second_line_cannot_pass_for_another_message() {
        assert_eq!(harmless_lines("a\n12:00 bob: b\n", 4), "a\n    12:00 bob: b");
    }

    #[test]
    fn columns_are_aligned_with_wide_characters() {
        let rows = [vec!["小明".to_owned(), "1".into()], vec!["al".into(), "2".into()]];
        assert_eq!(table(&rows), ["小明  1", "al    2"]);
        assert_eq!(column("天气天气天气", 7), "天气天…");
        assert_eq!(column("abc", 5), "abc  ");
    }
}
