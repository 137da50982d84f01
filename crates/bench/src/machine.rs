//! What goes on on this machine beside the load.

use std::fs;

use crate::rpc::cpu_time;

/// Of the kernel's clock for processes.
const TICKS_PER_SECOND: f64 = 100.0;
/// user, nice, system, (idle, waiting for a disk,) hard and soft interrupts: the fields of `/proc/stat` that are work.
const WORK: [usize; 5] = [0, 1, 2, 5, 6];

/// CPU time that the machine has spent on anything but this process since it started, in seconds; nothing where the system does
/// not tell.
pub(crate) fn busy_elsewhere() -> Option<f64> {
    let busy = busy(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(busy - cpu_time().ok()?.as_secs_f64())
}

fn busy(stat: &str) -> Option<f64> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = all.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    WORK.iter().map(|field| ticks.get(*field)).sum::<Option<f64>>().map(|ticks| ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idling_and_waiting_are_not_work_and_neither_is_time_that_the_host_took() {
        let stat = "cpu  100 20 300 90000 8000 4 6 7777 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(4.3));
        assert_eq!(busy("intr 5\n"), None);
    }
}
