//! What the system knows of a process and of the machine, from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Nanoseconds of one thread (proc_pid_schedstat(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ThreadTime {
    on_cpu_ns: u64,
    /// Ready to run, while others had the CPU.
    waiting_ns: u64,
}

/// A reading of one process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessReading {
    at: Instant,
    /// /proc/PID/stat counts in ticks of 10 ms only.
    threads: HashMap<u32, ThreadTime>,
    user_ticks: u64,
    system_ticks: u64,
    rss_bytes: u64,
    context_switches: u64,
}

/// What a process did between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessUse {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    /// Time in which threads were ready and others had their CPU, sum over the threads.
    pub(crate) waiting_s: f64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// Resident memory at the second reading.
    pub(crate) rss_bytes: u64,
    /// Voluntary and involuntary, of threads that live at both readings.
    pub(crate) context_switches: u64,
}

impl ProcessReading {
    pub(crate) fn take(pid: u32) -> Result<Self> {
        let gone = || format!("cannot read /proc/{pid}; has the process ended?");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(gone)?;
        let (user_ticks, system_ticks) = parse_stat(&stat).with_context(gone)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
        let mut threads = HashMap::new();
        let mut context_switches = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(gone)? {
            let thread = thread?.path();
            // A thread may end between listing and reading.
            let Some(tid) = thread.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            let Ok(schedstat) = fs::read_to_string(thread.join("schedstat")) else { continue };
            let Ok(status) = fs::read_to_string(thread.join("status")) else { continue };
            threads.insert(tid, parse_schedstat(&schedstat).unwrap_or_default());
            context_switches += status_number(&status, "voluntary_ctxt_switches").unwrap_or(0)
                + status_number(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        }
        Ok(Self {
            at: Instant::now(),
            threads,
            user_ticks,
            system_ticks,
            rss_bytes: status_number(&status, "VmRSS").unwrap_or(0) * 1024,
            context_switches,
        })
    }

    /// What happened since `earlier`. The CPU time of threads that have ended in between is lost; servers' threads live
    /// as long as they do.
    pub(crate) fn since(&self, earlier: &Self) -> ProcessUse {
        let seconds = |of: fn(&ThreadTime) -> u64| {
            let new = ThreadTime::default();
            let threads = self
                .threads
                .iter()
                .map(|(tid, now)| of(now).saturating_sub(of(earlier.threads.get(tid).unwrap_or(&new))));
            threads.sum::<u64>() as f64 / 1e9
        };
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        ProcessUse {
            wall_s: self.at.saturating_duration_since(earlier.at).as_secs_f64(),
            cpu_s: seconds(|thread| thread.on_cpu_ns),
            waiting_s: seconds(|thread| thread.waiting_ns),
            user_s: self.user_ticks.saturating_sub(earlier.user_ticks) as f64 / ticks_per_s,
            system_s: self.system_ticks.saturating_sub(earlier.system_ticks) as f64 / ticks_per_s,
            rss_bytes: self.rss_bytes,
            context_switches: self.context_switches.saturating_sub(earlier.context_switches),
        }
    }
}

/// A reading of the whole machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MachineReading {
    /// Time that the host gave to others while this machine wanted it, all CPUs.
    steal_ticks: u64,
    /// UDP datagrams that the kernel sent, of all processes; a GSO send counts once.
    pub(crate) udp_sent: u64,
    /// UDP datagrams that the kernel dropped because a socket's buffer was full, of all processes.
    pub(crate) udp_receive_buffer_errors: u64,
}

impl MachineReading {
    pub(crate) fn take() -> Self {
        // Figures for context only: a system without these files has none.
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
        Self {
            steal_ticks: parse_steal(&stat).unwrap_or(0),
            udp_sent: parse_snmp_udp(&snmp, "OutDatagrams").unwrap_or(0),
            udp_receive_buffer_errors: parse_snmp_udp(&snmp, "RcvbufErrors").unwrap_or(0),
        }
    }

    /// Stolen CPU seconds since `earlier`.
    pub(crate) fn steal_s_since(&self, earlier: &Self) -> f64 {
        self.steal_ticks.saturating_sub(earlier.steal_ticks) as f64
            / rustix::param::clock_ticks_per_second() as f64
    }
}

/// The model of the first CPU.
pub(crate) fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The release of the kernel.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// User and system ticks of /proc/PID/stat (proc_pid_stat(5): fields 14 and 15). The name of the program, field 2, may
/// hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let after_name = stat.rsplit_once(") ")?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(14 - 3);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Time on a CPU, time waiting for one, and a number of time slices.
fn parse_schedstat(schedstat: &str) -> Option<ThreadTime> {
    let mut fields = schedstat.split_ascii_whitespace();
    Some(ThreadTime { on_cpu_ns: fields.next()?.parse().ok()?, waiting_ns: fields.next()?.parse().ok()? })
}

/// `name:   123 kB` of a status file.
fn status_number(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// The eighth number of the line `cpu` (proc_stat(5)).
fn parse_steal(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    line.split_ascii_whitespace().nth(7)?.parse().ok()
}

/// A column of the table `Udp:`, whose first line names them.
fn parse_snmp_udp(snmp: &str, column: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let position = lines.next()?.split_ascii_whitespace().position(|name| name == column)?;
    lines.next()?.split_ascii_whitespace().nth(position)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 3 0 999 1000 200";
        assert_eq!(parse_stat(stat), Some((123, 45)));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn numbers_are_found_by_name() {
        let status =
            "Name:\tx\nVmRSS:\t   2048 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(status_number(status, "VmRSS"), Some(2048));
        assert_eq!(status_number(status, "voluntary_ctxt_switches"), Some(7));
        assert_eq!(status_number(status, "nonvoluntary_ctxt_switches"), Some(2));
        assert_eq!(status_number(status, "Vm"), None);
        assert_eq!(
            parse_schedstat("123456789 42 7\n"),
            Some(ThreadTime { on_cpu_ns: 123_456_789, waiting_ns: 42 })
        );
        assert_eq!(parse_steal("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3\n"), Some(88));
    }

    #[test]
    fn udp_columns_are_found_by_their_names() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 5 6 7 8 9\n";
        assert_eq!(parse_snmp_udp(snmp, "OutDatagrams"), Some(8));
        assert_eq!(parse_snmp_udp(snmp, "RcvbufErrors"), Some(9));
        assert_eq!(parse_snmp_udp(snmp, "Nothing"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let before = ProcessReading::take(std::process::id()).unwrap();
        let mut sum = 0u64;
        for number in 0..3_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        let used = ProcessReading::take(std::process::id()).unwrap().since(&before);
        assert!(used.cpu_s > 0.0 && used.rss_bytes > 0, "{used:?} {sum}");
    }
}
