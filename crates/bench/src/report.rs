//! What a run came to: a table for a person, an object for a script, a page with plots.

mod html;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde_json::{Map, Number, Value};

use crate::{
    args::CommonArgs,
    measure::{Sample, Span, SystemSpan},
};

/// The result of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    scenario: &'static str,
    messages: u64,
    messages_per_second: f64,
    cpu_us_per_message: Option<f64>,
    errors: u64,
    latencies: Option<Histogram<u64>>,
    // Further figures in the order in which they are shown.
    figures: Vec<(&'static str, Value)>,
    by_second: Vec<u64>,
    samples: Vec<Sample>,
}

impl Report {
    /// A report with `messages` within `span`; for a scenario with no messages a span without any.
    pub(crate) fn new(scenario: &'static str, span: Span, errors: u64) -> Self {
        let mut report = Self {
            scenario,
            messages: span.messages,
            messages_per_second: span.messages_per_second(),
            cpu_us_per_message: span.cpu_us_per_message(),
            errors,
            latencies: None,
            figures: Vec::new(),
            by_second: Vec::new(),
            samples: Vec::new(),
        };
        if let Some(system) = span.system {
            report.figures.extend(system_figures(span, system));
        }
        report
    }

    /// Adds latencies, in nanoseconds.
    #[must_use]
    pub(crate) fn with_latencies(mut self, latencies: Histogram<u64>) -> Self {
        self.latencies = Some(latencies);
        self
    }

    /// Adds what is plotted over time: messages in each second, and samples of the server.
    #[must_use]
    pub(crate) fn with_course(mut self, by_second: Vec<u64>, samples: Vec<Sample>) -> Self {
        self.by_second = by_second;
        self.samples = samples;
        self
    }

    /// Adds a figure by the name that scripts know it by.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.figures.push((name, value.into()));
        self
    }

    /// The object that scripts read. Its members are a contract: the eight that all scenarios have, then the
    /// scenario's own. What was not measured is `null`.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in self.rows() {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    }

    fn rows(&self) -> Vec<(&'static str, Value)> {
        let mut rows = vec![
            ("scenario", Value::from(self.scenario)),
            ("messages", self.messages.into()),
            ("messages_per_s", decimal(self.messages_per_second, 1)),
            ("p50_ms", self.quantile(0.5)),
            ("p99_ms", self.quantile(0.99)),
            ("p999_ms", self.quantile(0.999)),
            ("server_cpu_us_per_message", self.cpu_us_per_message.map_or(Value::Null, |us| decimal(us, 2))),
            ("errors", self.errors.into()),
        ];
        rows.extend(self.figures.iter().cloned());
        rows
    }

    fn quantile(&self, quantile: f64) -> Value {
        match &self.latencies {
            Some(latencies) if !latencies.is_empty() => decimal(latencies.value_at_quantile(quantile) as f64 / 1e6, 3),
            _ => Value::Null,
        }
    }

    /// The table that a person reads.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<_> = self.rows().into_iter().map(|(name, value)| (label(name), shown(&value))).collect();
        let width = |of: fn(&(String, String)) -> &String| rows.iter().map(|row| of(row).chars().count()).max();
        let (labels, values) = (width(|row| &row.0).unwrap_or(0), width(|row| &row.1).unwrap_or(0));
        rows.iter().fold(String::new(), |mut table, (label, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{label:<labels$}  {value:>values$}");
            table
        })
    }

    /// Prints the report as `args` ask for it, and writes the page if they name one.
    ///
    /// # Errors
    ///
    /// Standard output or the page cannot be written.
    pub(crate) fn publish(&self, args: &CommonArgs, command: &str) -> Result<()> {
        let mut output = io::stdout().lock();
        if args.json {
            writeln!(output, "{}", self.json())?;
        } else {
            write!(output, "{}", self.table())?;
        }
        output.flush()?;
        if let Some(path) = &args.html {
            self.write_html(path, command)?;
        }
        Ok(())
    }

    fn write_html(&self, path: &Path, command: &str) -> Result<()> {
        std::fs::write(path, html::page(self, command)).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What each kind of process took of a message, and how many cores others had kept busy meanwhile.
fn system_figures(span: Span, system: SystemSpan) -> Vec<(&'static str, Value)> {
    let of_each = |seconds: f64| match span.messages {
        0 => Value::Null,
        messages => decimal(seconds * 1e6 / messages as f64, 2),
    };
    let others = system.others_seconds.filter(|_| span.seconds > 0.0);
    let others = others.map_or(Value::Null, |seconds| decimal(seconds / span.seconds, 2));
    system.parts.named().map(|(name, seconds)| (name, of_each(seconds))).chain([("other_load_cores", others)]).collect()
}

/// A duration as milliseconds, for a figure.
pub(crate) fn milliseconds(duration: Duration) -> Value {
    decimal(duration.as_secs_f64() * 1e3, 3)
}

/// A number with so many digits after the point; `null` if it is none.
pub(crate) fn decimal(number: f64, digits: i32) -> Value {
    let scale = 10f64.powi(digits);
    Number::from_f64((number * scale).round() / scale).map_or(Value::Null, Value::Number)
}

/// `server_cpu_us_per_message` as people write it.
fn label(name: &str) -> String {
    let mut words: Vec<_> = name.split('_').map(str::to_owned).collect();
    if let Some(first) = words.first_mut() {
        *first = match first.as_str() {
            "rss" => "RSS".into(),
            "p999" => "p99.9".into(),
            other => other.into(),
        };
    }
    words
        .iter()
        .map(|word| match word.as_str() {
            "cpu" => "CPU",
            "rss" => "RSS",
            "us" => "µs",
            other => other,
        })
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" per s", " per second")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => grouped(&number.to_string()),
        other => other.to_string(),
    }
}

/// Thin groups of three digits: `12,345.6`.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_once('.').map_or((number, ""), |(whole, rest)| (whole, rest));
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Usage;

    fn report() -> Report {
        let mut latencies = Histogram::new_with_bounds(1_000, 600_000_000_000, 3).unwrap();
        for millisecond in 1..=1_000 {
            latencies.record(millisecond * 1_000_000).unwrap();
        }
        let span = Span { seconds: 2.0, messages: 12_345, cpu_seconds: Some(0.5), system: None };
        let usage = Some(Usage { cpu_seconds: 1.0, rss_bytes: 10_000_000, parts: None });
        let samples =
            (1..4).map(|at| Sample { at: at * 1_000_000_000, delivered: at, usage, elsewhere: None }).collect();
        Report::new("direct", span, 1).with_latencies(latencies).with_course(vec![0, 5, 7], samples)
    }

    #[test]
    fn an_object_has_the_members_that_scripts_rely_on() {
        let json = report().with("connections", 7).json();
        let members = [
            "scenario",
            "messages",
            "messages_per_s",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "server_cpu_us_per_message",
            "errors",
            "connections",
        ];
        let object = json.as_object().unwrap();
        assert_eq!(object.len(), members.len());
        for member in members {
            assert!(object.contains_key(member), "{member} is missing in {json}");
        }
        assert_eq!(json["messages"], 12_345);
        assert_eq!(json["messages_per_s"], 6_172.5);
        assert_eq!(json["server_cpu_us_per_message"], 40.5);
        for (member, expected) in [("p50_ms", 500.0), ("p99_ms", 990.0), ("p999_ms", 999.0)] {
            let value = json[member].as_f64().unwrap();
            assert!((value - expected).abs() <= expected / 500.0, "{member}: {value}");
        }
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let json = Report::new("idle", Span { seconds: 0.0, messages: 0, cpu_seconds: None, system: None }, 0).json();
        assert_eq!(json["p99_ms"], Value::Null);
        assert_eq!(json["server_cpu_us_per_message"], Value::Null);
        assert_eq!(json["messages_per_s"], 0.0);
    }

    #[test]
    fn a_table_is_for_people() {
        let table = report().table();
        assert!(table.contains("12,345"), "{table}");
        assert!(table.contains("server CPU µs per message"), "{table}");
        assert!(table.contains("p99.9 ms"), "{table}");
    }

    #[test]
    fn a_page_needs_nothing_but_itself_and_shows_every_plot() {
        let page = html::page(&report(), "mpim bench direct --rate 5 <b>");
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("&lt;b&gt;"));
        assert!(page.contains("prefers-color-scheme: dark"));
        for outside in ["src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("NaN"));
    }
}
