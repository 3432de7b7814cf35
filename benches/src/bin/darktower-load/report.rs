//! The figures of a run, as one JSON object and as a table.

use std::fmt::Write as _;

use serde::Serialize;

use crate::disturbance::DisturbanceFigures;
use crate::measure::Slice;
use crate::procfs;
use crate::receive::Balance;
use crate::statistics::{Quantiles, median, rounded};
use crate::tally::Class;

/// The cipher suite that the tester offers first. Servers on rustls take the client's first one that they have, and all
/// have this one.
pub(crate) const CIPHER_SUITE: &str = "TLS13_AES_128_GCM_SHA256";

/// Latency by class, microseconds from the publisher's send call to the whole frame at the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) audio: Option<Quantiles>,
    pub(crate) delta: Option<Quantiles>,
    pub(crate) key: Option<Quantiles>,
}

impl Latency {
    pub(crate) fn of(slice: &Slice) -> Self {
        let of = |class: Class| Quantiles::of(&slice.tally.latency_us[class as usize]);
        Self { audio: of(Class::Audio), delta: of(Class::Delta), key: of(Class::Key) }
    }

    pub(crate) fn class(&self, class: Class) -> Option<Quantiles> {
        match class {
            Class::Audio => self.audio,
            Class::Delta => self.delta,
            Class::Key => self.key,
        }
    }
}

/// Milliseconds from the start of connecting to the media welcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct JoinMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One measured round: the same figure of both servers, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Round {
    pub(crate) server_ms_per_subscriber_second: f64,
    pub(crate) reference_ms_per_subscriber_second: Option<f64>,
    pub(crate) steal_s: f64,
}

/// The reference's figures, for completeness; it is there for its cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct ReferenceFigures {
    pub(crate) units_expected: u64,
    pub(crate) units_received: u64,
    pub(crate) payload_mismatches: u64,
    pub(crate) latency_us: Latency,
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
}

/// What the tester itself cost, to tell whether it was in the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct TesterFigures {
    pub(crate) ms_per_subscriber_second: f64,
    /// Of its cores, 0 to 1; `null` if it was not pinned.
    pub(crate) busy: Option<f64>,
    /// Ready to run while others had its cores; its own threads compete, too.
    pub(crate) waiting_s: f64,
    pub(crate) rss_bytes: u64,
    /// How late frames left, microseconds.
    pub(crate) send_delay_us_p99: u64,
    /// UDP datagrams that the kernel dropped because a socket was full, on the whole machine.
    pub(crate) udp_receive_buffer_errors: u64,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MachineFigures {
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) server_cores: String,
    pub(crate) client_cores: String,
}

/// The figures of a run. The order of the fields is that of the JSON; a test keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) subscribers: usize,
    pub(crate) units_expected: u64,
    pub(crate) units_received: u64,
    pub(crate) units_late: u64,
    pub(crate) delivered_gbit: f64,
    pub(crate) server_cpu_s: f64,
    pub(crate) cpu_us_per_delivered_frame: f64,
    pub(crate) cpu_s_per_gbit: f64,
    pub(crate) server_rss_bytes: u64,
    pub(crate) latency_us: Latency,
    pub(crate) join_ms: JoinMs,
    pub(crate) ctx_switches: u64,
    pub(crate) udp_datagrams_out: u64,
    pub(crate) duration_s: f64,
    pub(crate) server_ms_per_subscriber_second: f64,
    pub(crate) reference_ms_per_subscriber_second: Option<f64>,
    /// Ours divided by the reference's; below 1 is cheaper.
    pub(crate) server_to_reference: Option<f64>,
    pub(crate) units_missing_told: u64,
    pub(crate) units_missing_untold: u64,
    pub(crate) units_missing_audio: u64,
    pub(crate) payload_mismatches: u64,
    pub(crate) units_repeated: u64,
    /// Each unit of the measured subscribers has arrived once and right, or they were told that it would not come.
    pub(crate) all_units_accounted_for: bool,
    /// Who misbehaved meanwhile, if anybody was asked to.
    pub(crate) disturbance: Option<DisturbanceFigures>,
    pub(crate) server_user_s: f64,
    pub(crate) server_system_s: f64,
    pub(crate) server_waiting_s: f64,
    pub(crate) udp_datagrams_in: u64,
    pub(crate) machine_udp_sends: u64,
    pub(crate) steal_s: f64,
    pub(crate) rounds: Vec<Round>,
    pub(crate) reference: Option<ReferenceFigures>,
    pub(crate) tester: TesterFigures,
    pub(crate) workload: String,
    pub(crate) transport: String,
    pub(crate) cipher_suite: &'static str,
    pub(crate) machine: MachineFigures,
    /// Sessions that were lost and the like; the first ones.
    pub(crate) faults: Vec<String>,
}

/// What a report knows besides the slices.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) workload: String,
    pub(crate) transport: String,
    pub(crate) join_ms: JoinMs,
    pub(crate) server_cores: String,
    pub(crate) client_cores: String,
    pub(crate) client_core_count: Option<usize>,
    pub(crate) faults: Vec<String>,
    pub(crate) disturbance: Option<DisturbanceFigures>,
}

/// Several windows of one server together.
pub(crate) fn merged(slices: &[Slice]) -> Option<Slice> {
    let mut sum = slices.first()?.clone();
    for slice in &slices[1..] {
        for (to, from) in [(&mut sum.server, &slice.server), (&mut sum.tester, &slice.tester)] {
            to.wall_s += from.wall_s;
            to.cpu_s += from.cpu_s;
            to.waiting_s += from.waiting_s;
            to.user_s += from.user_s;
            to.system_s += from.system_s;
            to.rss_bytes = to.rss_bytes.max(from.rss_bytes);
            to.context_switches += from.context_switches;
        }
        sum.balance.add(slice.balance);
        // Faults are counted from the start of the run: the last window has them all.
        let (mismatches, repeats) = (slice.tally.mismatches, slice.tally.repeats);
        sum.tally.add(&slice.tally);
        (sum.tally.mismatches, sum.tally.repeats) = (mismatches, repeats);
        sum.lateness_us.add(&slice.lateness_us).expect("all histograms have the same bounds");
        sum.udp_received += slice.udp_received;
        sum.udp_sent += slice.udp_sent;
        sum.udp_receive_buffer_errors += slice.udp_receive_buffer_errors;
        sum.machine_udp_sent += slice.machine_udp_sent;
        sum.steal_s += slice.steal_s;
    }
    Some(sum)
}

impl Report {
    /// `None` if there is no slice. The two lists are of the same rounds, or the second is empty.
    pub(crate) fn new(slices: &[Slice], reference: &[Slice], context: Context) -> Option<Self> {
        let all = merged(slices)?;
        let cost = |slices: &[Slice]| median(slices.iter().map(Slice::server_ms_per_subscriber_second));
        let server_cost = cost(slices)?;
        let reference_cost = cost(reference);
        // The reference comes from the same round, so that noise of the machine divides out.
        let ratios = slices.iter().zip(reference).map(|(ours, theirs)| {
            ours.server_ms_per_subscriber_second() / theirs.server_ms_per_subscriber_second()
        });
        let rounds = slices.iter().enumerate().map(|(number, slice)| Round {
            server_ms_per_subscriber_second: rounded(slice.server_ms_per_subscriber_second()),
            reference_ms_per_subscriber_second: reference
                .get(number)
                .map(|slice| rounded(slice.server_ms_per_subscriber_second())),
            steal_s: rounded(slice.steal_s + reference.get(number).map_or(0.0, |slice| slice.steal_s)),
        });
        let Balance { expected, received, missing_told, missing_untold, missing_audio } = all.balance;
        let gbit = all.tally.bytes as f64 * 8.0 / 1e9;
        Some(Self {
            subscribers: all.subscribers,
            units_expected: expected,
            units_received: received,
            units_late: all.tally.late,
            delivered_gbit: rounded(gbit),
            server_cpu_s: rounded(all.server.cpu_s),
            cpu_us_per_delivered_frame: rounded(all.server.cpu_s * 1e6 / (received.max(1)) as f64),
            cpu_s_per_gbit: if gbit > 0.0 { rounded(all.server.cpu_s / gbit) } else { 0.0 },
            server_rss_bytes: all.server.rss_bytes,
            latency_us: Latency::of(&all),
            join_ms: context.join_ms,
            ctx_switches: all.server.context_switches,
            udp_datagrams_out: all.udp_received,
            duration_s: rounded(all.server.wall_s.max(all.tester.wall_s)),
            server_ms_per_subscriber_second: rounded(server_cost),
            reference_ms_per_subscriber_second: reference_cost.map(rounded),
            server_to_reference: median(ratios).map(rounded),
            units_missing_told: missing_told,
            units_missing_untold: missing_untold,
            units_missing_audio: missing_audio,
            payload_mismatches: all.tally.mismatches,
            units_repeated: all.tally.repeats,
            all_units_accounted_for: missing_untold + all.tally.mismatches + all.tally.repeats == 0,
            disturbance: context.disturbance,
            server_user_s: rounded(all.server.user_s),
            server_system_s: rounded(all.server.system_s),
            server_waiting_s: rounded(all.server.waiting_s),
            udp_datagrams_in: all.udp_sent,
            machine_udp_sends: all.machine_udp_sent,
            steal_s: rounded(all.steal_s + reference.iter().map(|slice| slice.steal_s).sum::<f64>()),
            rounds: rounds.collect(),
            reference: merged(reference).map(|all| ReferenceFigures {
                units_expected: all.balance.expected,
                units_received: all.balance.received,
                payload_mismatches: all.tally.mismatches,
                latency_us: Latency::of(&all),
                cpu_s: rounded(all.server.cpu_s),
                rss_bytes: all.server.rss_bytes,
            }),
            tester: TesterFigures {
                ms_per_subscriber_second: rounded(all.tester_ms_per_subscriber_second()),
                busy: context.client_core_count.map(|cores| rounded(all.tester_busy(cores))),
                waiting_s: rounded(all.tester.waiting_s),
                rss_bytes: all.tester.rss_bytes,
                send_delay_us_p99: all.lateness_us.value_at_quantile(0.99),
                udp_receive_buffer_errors: all.udp_receive_buffer_errors,
            },
            workload: context.workload,
            transport: context.transport,
            cipher_suite: CIPHER_SUITE,
            machine: MachineFigures {
                cpu: procfs::cpu_model(),
                kernel: procfs::kernel(),
                server_cores: context.server_cores,
                client_cores: context.client_cores,
            },
            faults: context.faults,
        })
    }

    /// What makes the run a failure, whatever it cost. `lost_audio`: the part of all units that may be audio lost
    /// on the way, 0 to 1.
    pub(crate) fn defects(&self, lost_audio: f64) -> Vec<String> {
        let mut defects = Vec::new();
        if self.payload_mismatches > 0 {
            defects.push(format!("{} units differ from what was sent", self.payload_mismatches));
        }
        if self.units_repeated > 0 {
            defects.push(format!("{} units came twice", self.units_repeated));
        }
        let excused = self.units_missing_audio as f64 <= lost_audio * self.units_expected as f64;
        let untold = self.units_missing_untold - if excused { self.units_missing_audio } else { 0 };
        if untold > 0 {
            defects.push(format!("{untold} units are missing without a word"));
        }
        if self.units_expected == 0 {
            defects.push("nothing was sent".to_owned());
        }
        defects
    }

    /// What a reader should know before believing the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.faults.clone();
        if let Some(busy) = self.tester.busy.filter(|busy| *busy > 0.9) {
            warnings.push(format!(
                "the tester used {:.0} % of its cores: latency, and at 100 % all figures, are the tester's own; give it \
                 more with --client-cores",
                busy * 100.0
            ));
        }
        if self.server_waiting_s > 0.1 * self.duration_s {
            warnings.push(format!(
                "the server's threads waited {} s for their core while others had it: latency is not the server's, and costs \
                 are higher than on an idle machine",
                self.server_waiting_s
            ));
        }
        let stolen = self.steal_s / (self.rounds.len().max(1) as f64);
        if stolen > 0.1 {
            warnings.push(format!(
                "the host took {stolen:.2} s per round for others: repeat the run, or trust only the ratio"
            ));
        }
        if let Some(reference) = &self.reference
            && reference.units_received < reference.units_expected
        {
            warnings.push(format!(
                "the reference delivered only {} of {} units: it is beyond what it can do",
                reference.units_received, reference.units_expected
            ));
        }
        warnings
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(table, "{name:<34} {value}");
        };
        row("workload", &self.workload);
        row("transport", &format!("{}, {}", self.transport, self.cipher_suite));
        row("subscribers", &self.subscribers.to_string());
        row("measured", &format!("{} s in {} round(s)", self.duration_s, self.rounds.len()));
        row(
            "units",
            &format!("{} of {} received, {} late", self.units_received, self.units_expected, self.units_late),
        );
        row(
            "missing",
            &format!("{} told, {} without a word", self.units_missing_told, self.units_missing_untold),
        );
        row("mismatches, repeats", &format!("{}, {}", self.payload_mismatches, self.units_repeated));
        if let Some(disturbance) = &self.disturbance {
            let accounted = if self.all_units_accounted_for { "all" } else { "NOT all" };
            row(
                "disturbed by",
                &format!(
                    "{} slow readers ({} sessions ended with TOO_SLOW), {} hostile clients ({} bad streams, {} bad datagrams, \
                     {} streams refused, {} sessions ended); {accounted} units of the measured subscribers are accounted for",
                    disturbance.slow_readers,
                    disturbance.ended_too_slow,
                    disturbance.hostile,
                    disturbance.bad_streams,
                    disturbance.bad_datagrams,
                    disturbance.refused_streams,
                    disturbance.ended_otherwise,
                ),
            );
        }
        row("delivered", &format!("{} Gbit", self.delivered_gbit));
        let mut cost =
            format!("{} ms of CPU per subscriber and second", self.server_ms_per_subscriber_second);
        row("server", &cost);
        if let (Some(reference), Some(ratio)) =
            (self.reference_ms_per_subscriber_second, self.server_to_reference)
        {
            cost = format!("{reference} ms; the server costs {ratio} of it");
            row("reference, same rounds", &cost);
        }
        row(
            "server CPU",
            &format!(
                "{} s ({} user, {} system)",
                self.server_cpu_s, self.server_user_s, self.server_system_s
            ),
        );
        row("CPU per delivered frame", &format!("{} us", self.cpu_us_per_delivered_frame));
        row("CPU per Gbit", &format!("{} s", self.cpu_s_per_gbit));
        row("server memory", &format!("{:.1} MB", self.server_rss_bytes as f64 / 1e6));
        row("server context switches", &self.ctx_switches.to_string());
        row("UDP datagrams out, in", &format!("{}, {}", self.udp_datagrams_out, self.udp_datagrams_in));
        for class in Class::ALL {
            if let Some(latency) = self.latency_us.class(class) {
                let ms = |us: u64| us as f64 / 1000.0;
                let text = format!(
                    "{:.1} / {:.1} / {:.1} / {:.1} ms",
                    ms(latency.p50),
                    ms(latency.p99),
                    ms(latency.p999),
                    ms(latency.max)
                );
                row(&format!("latency {} p50/p99/p99.9/max", class.name()), &text);
            }
        }
        row("join p50/p99", &format!("{} / {} ms", self.join_ms.p50, self.join_ms.p99));
        let busy =
            self.tester.busy.map_or(String::new(), |busy| format!(", its cores {:.0} % busy", busy * 100.0));
        row(
            "tester",
            &format!("{} ms per subscriber and second{busy}", self.tester.ms_per_subscriber_second),
        );
        row(
            "send delay of the tester p99",
            &format!("{:.1} ms", self.tester.send_delay_us_p99 as f64 / 1000.0),
        );
        row("steal", &format!("{} s", self.steal_s));
        row(
            "machine",
            &format!(
                "{}, Linux {}, server on core {}, clients on {}",
                self.machine.cpu, self.machine.kernel, self.machine.server_cores, self.machine.client_cores
            ),
        );
        table
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::procfs::ProcessUse;
    use crate::tally::{LateAfter, Tally, histogram};

    pub(crate) fn slice(cpu_s: f64) -> Slice {
        let late = LateAfter { audio: Duration::from_millis(200), video: Duration::from_millis(500) };
        let server = ProcessUse { wall_s: 2.0, cpu_s, ..ProcessUse::default() };
        let mut tally = Tally::new(late);
        tally.bytes = 125_000_000;
        Slice {
            subscribers: 100,
            server,
            tester: ProcessUse { wall_s: 2.0, cpu_s: 0.5, ..ProcessUse::default() },
            balance: Balance { expected: 1000, received: 1000, ..Balance::default() },
            tally,
            lateness_us: histogram(),
            udp_received: 10,
            udp_sent: 5,
            udp_receive_buffer_errors: 0,
            machine_udp_sent: 20,
            steal_s: 0.0,
        }
    }

    fn context() -> Context {
        Context {
            workload: "test".to_owned(),
            transport: "native".to_owned(),
            join_ms: JoinMs { p50: 3.0, p99: 9.0 },
            server_cores: "0".to_owned(),
            client_cores: "1".to_owned(),
            client_core_count: Some(1),
            faults: Vec::new(),
            disturbance: None,
        }
    }

    #[test]
    fn costs_are_medians_and_ratios_of_the_same_round() {
        let report =
            Report::new(&[0.2, 0.4, 1.0].map(slice), &[0.4, 0.8, 1.0].map(slice), context()).unwrap();
        assert_eq!(report.server_ms_per_subscriber_second, 2.0);
        assert_eq!(report.reference_ms_per_subscriber_second, Some(4.0));
        assert_eq!(report.server_to_reference, Some(0.5));
        assert_eq!(report.delivered_gbit, 3.0);
        assert_eq!(report.duration_s, 6.0);
        assert_eq!((report.units_expected, report.defects(0.0).len()), (3000, 0));
    }

    #[test]
    fn json_has_the_promised_fields_in_the_promised_order() {
        let report = Report::new(&[slice(0.2)], &[], context()).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        let promised = [
            "subscribers",
            "units_expected",
            "units_received",
            "units_late",
            "delivered_gbit",
            "server_cpu_s",
            "cpu_us_per_delivered_frame",
            "cpu_s_per_gbit",
            "server_rss_bytes",
            "latency_us",
            "join_ms",
            "ctx_switches",
            "udp_datagrams_out",
            "duration_s",
            "server_ms_per_subscriber_second",
            "reference_ms_per_subscriber_second",
        ];
        let positions: Vec<_> =
            promised.iter().map(|name| json.find(&format!("\"{name}\":")).unwrap()).collect();
        assert!(positions.is_sorted(), "{json}");
        assert!(!json.contains('\n'));
    }

    #[test]
    fn leaving_units_out_does_not_make_a_server_cheap() {
        let mut half = slice(0.2);
        half.balance.received /= 2;
        assert_eq!(
            half.server_ms_per_subscriber_second(),
            2.0 * slice(0.2).server_ms_per_subscriber_second()
        );
    }

    #[test]
    fn defects_are_named() {
        let mut bad = slice(0.2);
        bad.balance.missing_untold = 3;
        bad.tally.mismatches = 2;
        let report = Report::new(&[bad], &[], context()).unwrap();
        assert_eq!(
            report.defects(0.0),
            ["2 units differ from what was sent", "3 units are missing without a word"]
        );
    }

    #[test]
    fn a_little_lost_audio_can_be_excused_and_video_cannot() {
        let mut lossy = slice(0.2);
        let few = lossy.balance.expected / 100;
        lossy.balance.missing_untold = few;
        lossy.balance.missing_audio = few;
        let report = Report::new(&[lossy.clone()], &[], context()).unwrap();
        assert_eq!((report.defects(0.0).len(), report.defects(0.02).len()), (1, 0));
        lossy.balance.missing_untold += 1;
        let report = Report::new(&[lossy], &[], context()).unwrap();
        assert_eq!(report.defects(0.02), ["1 units are missing without a word"]);
    }
}
