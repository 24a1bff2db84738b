//! This process as Linux sees it, for the metrics that every Prometheus dashboard knows.

use std::fs;

/// Clock ticks a second in `/proc`: what the kernel shows to programs on every platform that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of `/proc/self`; `None` where there is no such file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Memory in RAM, bytes.
    pub resident_bytes: Option<u64>,
    /// Descriptors open now.
    pub open_fds: Option<u64>,
    /// Descriptors allowed; `None` also when there is no limit.
    pub max_fds: Option<u64>,
    /// When it started, seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

/// Reads them now: a few small reads and a listing, for a page that is asked for every few seconds.
pub fn read() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    Process {
        resident_bytes: resident_bytes(&status),
        // Without the descriptor that the listing itself holds.
        open_fds: fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| (entries.count() as u64).saturating_sub(1)),
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        start_time_seconds: start_time_seconds(&stat, &system),
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_ascii_whitespace()
        .next()?;
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// Field 22 of `stat`, counted behind the name in parentheses, which may hold anything.
fn start_time_seconds(stat: &str, system: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let booted: f64 = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(booted + ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1";
        let system = "cpu 1 2 3\nbtime 1700000000\nprocesses 5\n";
        assert_eq!(start_time_seconds(stat, system), Some(1_700_000_123.45));
        assert_eq!(start_time_seconds("", system), None);
        assert_eq!(start_time_seconds(stat, "cpu 1"), None);
        assert_eq!(
            resident_bytes("VmPeak: 9 kB\nVmRSS:\t  2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(resident_bytes("VmRSS: 99999999999999999999 kB"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_there_and_a_descriptor_more_is_seen() {
        let before = read();
        assert!(before.resident_bytes > Some(1 << 20), "{before:?}");
        let started = before.start_time_seconds.expect("started");
        assert!(started > 1_500_000_000.0, "{before:?}");
        let held: Vec<_> = (0..50)
            .filter_map(|_| fs::File::open("/proc/self/stat").ok())
            .collect();
        // Other tests of this process open and close theirs meanwhile.
        assert!(read().open_fds >= Some(held.len() as u64));
    }
}
