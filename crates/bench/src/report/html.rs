//! The page with plots: one file, no script, nothing fetched from anywhere; follows the reader's light or dark theme.

use std::fmt::Write as _;

use super::{Report, label, shown};
use crate::measure::Sample;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --line: #d9dee7; --page: #fbfbfd; --plot: #2563c9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #323a48; --page: #14181f; --plot: #7fb0ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
  max-width: 1360px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1rem; margin: 0 0 .5rem; }
code { color: var(--soft); overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1.5rem 0; }
th { text-align: left; font-weight: normal; color: var(--soft); padding: .15rem 2rem .15rem 0; }
td { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr th, tr + tr td { border-top: 1px solid var(--line); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--line); } .curve { stroke: var(--plot); stroke-width: 2; fill: none; stroke-linejoin: round; }
.area { fill: var(--plot); opacity: .12; }
";

/// The whole page.
pub(super) fn page(report: &Report, command: &str) -> String {
    let mut rows = String::new();
    for (name, value) in report.rows() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escaped(&label(name)), escaped(&shown(&value)));
    }
    let plots: String = plots(report)
        .iter()
        .map(|plot| format!("<section><h2>{}</h2>{}</section>\n", escaped(plot.title), plot.svg()))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>mpim bench {scenario}</title><style>{STYLE}</style></head><body>\n\
         <h1>mpim bench {scenario}</h1>\n<code>{command}</code>\n<table>\n{rows}</table>\n\
         <div class=\"plots\">\n{plots}</div>\n</body></html>\n",
        scenario = escaped(report.scenario),
        command = escaped(command),
    )
}

fn plots(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    if let Some(latencies) = report.latencies.as_ref().filter(|latencies| !latencies.is_empty()) {
        // Each nine further out gets as much room as the one before it.
        let nines = |quantile: f64| -(1.0 - quantile).log10();
        let steps = 120;
        // Beyond the resolution of the count there is nothing to see.
        let last = (latencies.len() as f64).log10().clamp(1.0, 5.0);
        let points = (0..=steps)
            .map(|step| {
                let x = last * f64::from(step) / f64::from(steps);
                (x, latencies.value_at_quantile(1.0 - 10f64.powf(-x)) as f64 / 1e6)
            })
            .collect();
        let marks =
            [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
                .into_iter()
                .map(|(quantile, text)| (nines(quantile), text.to_owned()))
                .filter(|(x, _)| *x <= last)
                .collect();
        plots.push(Plot { title: "Latency by percentile", unit: "ms", points, marks: Some(marks) });
    }
    if report.by_second.len() > 1 {
        let points =
            report.by_second.iter().enumerate().map(|(second, count)| (second as f64, *count as f64)).collect();
        plots.push(Plot { title: "Messages delivered in each second", unit: "/s", points, marks: None });
    }
    let used = |(from, to): (&Sample, &Sample)| {
        let seconds = to.at.checked_sub(from.at).filter(|time| *time > 0)? as f64 / 1e9;
        let cpu = to.usage?.cpu_seconds - from.usage?.cpu_seconds;
        // Negative: the server was restarted in between.
        (cpu >= 0.0).then_some((to.at as f64 / 1e9, cpu / seconds * 100.0))
    };
    let cpu: Vec<_> = report.samples.iter().zip(report.samples.iter().skip(1)).filter_map(used).collect();
    plots.push(Plot { title: "The server's CPU time, 100 % is one core", unit: "%", points: cpu, marks: None });
    let memory = |sample: &Sample| Some((sample.at as f64 / 1e9, sample.usage?.rss_bytes as f64 / (1024.0 * 1024.0)));
    let memory: Vec<_> = report.samples.iter().filter_map(memory).collect();
    plots.push(Plot { title: "The server's memory (RSS)", unit: "MiB", points: memory, marks: None });
    plots.retain(|plot| plot.points.len() > 1);
    plots
}

struct Plot {
    title: &'static str,
    unit: &'static str,
    // Ascending in x.
    points: Vec<(f64, f64)>,
    // What is written under the x axis; nothing: seconds.
    marks: Option<Vec<(f64, String)>>,
}

impl Plot {
    fn svg(&self) -> String {
        let (first, last) = (self.points[0].0, self.points[self.points.len() - 1].0);
        let top = self.points.iter().map(|point| point.1).fold(0.0, f64::max);
        let step = round_step(top / 4.0);
        let top = ((top / step).ceil() * step).max(step);
        let x = |value: f64| LEFT + (value - first) / (last - first).max(f64::EPSILON) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", self.title);
        for line in 0..=(top / step).round() as u32 {
            let value = f64::from(line) * step;
            let at = y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(value),
                self.unit,
            );
        }
        for (at, text) in self.x_marks(first, last) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                x(at),
                HEIGHT - BOTTOM + 18.0,
            );
        }
        let line: Vec<_> = self.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let line = line.join(" ");
        let floor = HEIGHT - BOTTOM;
        let _ = write!(
            svg,
            "<polygon class=\"area\" points=\"{:.1},{floor} {line} {:.1},{floor}\"/>\
             <polyline class=\"curve\" points=\"{line}\"/></svg>",
            x(first),
            x(last),
        );
        svg
    }

    fn x_marks(&self, first: f64, last: f64) -> Vec<(f64, String)> {
        if let Some(marks) = &self.marks {
            return marks.clone();
        }
        let step = round_step((last - first) / 8.0);
        let mut marks = Vec::new();
        let mut at = (first / step).ceil() * step;
        while at <= last {
            marks.push((at, format!("{} s", short(at))));
            at += step;
        }
        marks
    }
}

/// The next of 1, 2, 5, 10, 20, 50 … at or above a value.
fn round_step(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    if value >= 10_000.0 {
        return format!("{}k", short(value / 1_000.0));
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        for (value, step) in [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (4_200.0, 5_000.0), (0.0, 1.0), (7e-5, 1e-4)] {
            assert!((round_step(value) - step).abs() < step * 1e-9, "{value}");
        }
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(20.0), "20");
        assert_eq!(short(125_000.0), "125k");
    }
}
