//! The process's own figures, from `/proc/self`. Where there is none, they are left out.

use std::{fmt::Error, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(seconds) = cpu_seconds() {
            encode(&mut encoder, "process_cpu_seconds", "User and system time", &ConstCounter::new(seconds))?;
        }
        if let Some(bytes) = resident_bytes() {
            encode(&mut encoder, "process_resident_memory_bytes", "Resident memory", &ConstGauge::new(bytes))?;
        }
        if let Some(files) = open_files() {
            encode(&mut encoder, "process_open_fds", "Open file descriptors", &ConstGauge::new(files))?;
        }
        Ok(())
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// The kernel reports times to user space in hundredths of a second, on every architecture that Rust's std supports.
const TICKS_PER_SECOND: f64 = 100.0;

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the command in parentheses, may hold spaces and parentheses itself. utime and stime are the
    // 12th and 13th fields after it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn cpu_and_memory_of_the_process_stand_in_the_exposition() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut exposition = String::new();
        text::encode(&mut exposition, &registry).unwrap();
        let value = |name: &str| {
            let line = exposition.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in {exposition}")).split_once(' ').unwrap().1.to_owned()
        };
        assert!(value("process_cpu_seconds_total").parse::<f64>().unwrap() >= 0.0);
        assert!(value("process_resident_memory_bytes").parse::<u64>().unwrap() > 100_000);
        assert!(value("process_open_fds").parse::<u64>().unwrap() >= 3);
    }
}
