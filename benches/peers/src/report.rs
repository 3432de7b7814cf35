//! The figures of a run, as one JSON object and as a table. Fields that darktower-load has too mean the same here; see
//! benches/README.md.

use std::fmt::Write as _;

use serde::Serialize;

use crate::statistics::Quantiles;
use crate::workload::Class;

/// Microseconds from the publisher's send call to the whole frame at the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) audio: Option<Quantiles>,
    pub(crate) delta: Option<Quantiles>,
    pub(crate) key: Option<Quantiles>,
}

/// Milliseconds from the start of connecting to both subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct JoinMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What the tester itself cost, to tell whether it was in the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct TesterFigures {
    pub(crate) ms_per_subscriber_second: f64,
    /// Of its cores, 0 to 1; `null` if it was not pinned.
    pub(crate) busy: Option<f64>,
    /// How late frames left, microseconds.
    pub(crate) send_delay_us_p99: u64,
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

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) subscribers: u32,
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
    pub(crate) duration_s: f64,
    pub(crate) server_ms_per_subscriber_second: f64,
    pub(crate) units_missing_untold: u64,
    pub(crate) units_missing_audio: u64,
    pub(crate) payload_mismatches: u64,
    pub(crate) units_repeated: u64,
    pub(crate) server_user_s: f64,
    pub(crate) server_system_s: f64,
    pub(crate) server_waiting_s: f64,
    pub(crate) machine_udp_sends: u64,
    pub(crate) steal_s: f64,
    pub(crate) tester: TesterFigures,
    pub(crate) workload: &'static str,
    /// Name and version of the relay.
    pub(crate) peer: String,
    /// The protocol version that it and the clients agreed on.
    pub(crate) protocol: String,
    pub(crate) transport: &'static str,
    /// With path MTU discovery and loss-based congestion control.
    pub(crate) tuned: bool,
    pub(crate) cipher_suite: &'static str,
    pub(crate) machine: MachineFigures,
    /// Sessions that were lost and the like; the first ones.
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// What makes the run a failure, whatever it cost.
    pub(crate) fn defects(&self) -> Vec<String> {
        let mut defects = Vec::new();
        if self.payload_mismatches > 0 {
            defects.push(format!("{} units differ from what was sent", self.payload_mismatches));
        }
        if self.units_repeated > 0 {
            defects.push(format!("{} units came twice", self.units_repeated));
        }
        if self.units_received == 0 {
            defects.push("nothing arrived".to_owned());
        }
        defects
    }

    /// What a reader should know before believing the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.faults.clone();
        if let Some(busy) = self.tester.busy.filter(|busy| *busy > 0.9) {
            warnings.push(format!(
                "the tester used {:.0} % of its cores: latency, and at 100 % all figures, are the tester's own; give it \
                 more with --client-cores, or ask for fewer subscribers",
                busy * 100.0
            ));
        }
        if self.server_waiting_s > 0.1 * self.duration_s {
            warnings.push(format!(
                "the relay's threads waited {} s for their core while others had it: latency is not the relay's, and costs \
                 are higher than on an idle machine",
                self.server_waiting_s
            ));
        }
        if self.steal_s > 0.05 * self.duration_s {
            warnings.push(format!("the host took {} s for others: repeat the run", self.steal_s));
        }
        if self.units_received < self.units_expected {
            warnings.push(format!(
                "{} of {} units are missing, {} of them audio",
                self.units_missing_untold, self.units_expected, self.units_missing_audio
            ));
        }
        warnings
    }

    fn latency(&self, class: Class) -> Option<Quantiles> {
        match class {
            Class::Audio => self.latency_us.audio,
            Class::Delta => self.latency_us.delta,
            Class::Key => self.latency_us.key,
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(table, "{name:<34} {value}");
        };
        row("relay", &format!("{}{}", self.peer, if self.tuned { ", tuned" } else { "" }));
        row("workload", self.workload);
        row("transport", &format!("{}, {}, {}", self.transport, self.protocol, self.cipher_suite));
        row("subscribers", &self.subscribers.to_string());
        row("measured", &format!("{} s", self.duration_s));
        row(
            "units",
            &format!("{} of {} received, {} late", self.units_received, self.units_expected, self.units_late),
        );
        row("mismatches, repeats", &format!("{}, {}", self.payload_mismatches, self.units_repeated));
        row("delivered", &format!("{} Gbit", self.delivered_gbit));
        row("cost", &format!("{} ms of CPU per subscriber and second", self.server_ms_per_subscriber_second));
        row(
            "relay CPU",
            &format!(
                "{} s ({} user, {} system)",
                self.server_cpu_s, self.server_user_s, self.server_system_s
            ),
        );
        row("CPU per delivered frame", &format!("{} us", self.cpu_us_per_delivered_frame));
        row("CPU per Gbit", &format!("{} s", self.cpu_s_per_gbit));
        row("relay memory", &format!("{:.1} MB", self.server_rss_bytes as f64 / 1e6));
        for class in Class::ALL {
            if let Some(latency) = self.latency(class) {
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
        row("steal", &format!("{} s", self.steal_s));
        row(
            "machine",
            &format!(
                "{}, Linux {}, relay on core {}, clients on {}",
                self.machine.cpu, self.machine.kernel, self.machine.server_cores, self.machine.client_cores
            ),
        );
        table
    }
}
