//! Histograms that cost two additions per sample.
//!
//! The recorder's own keep every sample until they are folded into buckets, and take one at a time, while a unit goes to
//! hundreds of subscribers in one pass. These are counts between bounds that do not change. Whoever records has a
//! [`Histogram`] of its own, so that no two threads add to the same memory; those of one [`Family`] and label are summed
//! when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bounds a family may have.
const MAX_BOUNDS: usize = 31;

/// What histograms of one name have in common.
#[derive(Debug)]
pub(crate) struct Family {
    /// With its base unit, as is the custom.
    pub(crate) name: &'static str,
    /// For the exposition's `# HELP`.
    pub(crate) help: &'static str,
    /// Upper bounds of the buckets, ascending, in the unit that is recorded; at most 31.
    pub(crate) bounds: &'static [u64],
    /// How many of the recorded unit are one of the name's: 1,000,000 if microseconds are recorded for seconds.
    pub(crate) per_base_unit: u64,
}

/// A label and its value.
pub(crate) type Label = (&'static str, &'static str);

/// What one thread adds to a family.
#[derive(Debug)]
// Two cache lines, because processors fetch two at a time: neighbours belong to other threads.
#[repr(align(128))]
pub(crate) struct Histogram {
    family: &'static Family,
    label: Option<Label>,
    /// One for each bound, and one for what is above.
    counts: [AtomicU64; MAX_BOUNDS + 1],
    sum: AtomicU64,
}

/// All that were ever made, because counts must not go down. Their number is that of shards and sockets.
static REGISTERED: Mutex<Vec<Arc<Histogram>>> = Mutex::new(Vec::new());

fn registered() -> MutexGuard<'static, Vec<Arc<Histogram>>> {
    REGISTERED.lock().expect("no code panics while it holds this lock")
}

impl Histogram {
    /// Another histogram of `family`, which is kept for as long as the process runs.
    pub(crate) fn register(family: &'static Family, label: Option<Label>) -> Arc<Self> {
        let histogram = Arc::new(Self::new(family, label));
        registered().push(Arc::clone(&histogram));
        histogram
    }

    fn new(family: &'static Family, label: Option<Label>) -> Self {
        debug_assert!(family.bounds.len() <= MAX_BOUNDS && family.bounds.is_sorted());
        Self { family, label, counts: Default::default(), sum: AtomicU64::new(0) }
    }

    /// The same sample `times` times.
    pub(crate) fn record(&self, value: u64, times: u64) {
        let place = self.family.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }
}

/// Counts and sum of all histograms of one family and label.
#[derive(Debug, Default)]
struct Total {
    counts: [u64; MAX_BOUNDS + 1],
    sum: u64,
}

impl Total {
    fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *total += count.load(Ordering::Relaxed);
        }
        self.sum += histogram.sum.load(Ordering::Relaxed);
    }

    fn render(&self, text: &mut String, family: &Family, label: Option<Label>) {
        let label = label.map(|(name, value)| format!("{name}=\"{value}\""));
        let labels = label.as_ref().map(|label| format!("{{{label}}}")).unwrap_or_default();
        let before_le = label.map(|label| label + ",").unwrap_or_default();
        let in_base_unit = |value: u64| value as f64 / family.per_base_unit as f64;
        let bounds = family.bounds.iter().map(|bound| in_base_unit(*bound).to_string());
        let name = family.name;
        let mut up_to = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(self.counts) {
            up_to += count;
            let _infallible = writeln!(text, "{name}_bucket{{{before_le}le=\"{bound}\"}} {up_to}");
        }
        let _infallible = writeln!(text, "{name}_sum{labels} {}", in_base_unit(self.sum));
        let _infallible = writeln!(text, "{name}_count{labels} {up_to}");
    }
}

/// Appends all histograms in the text format of Prometheus.
pub(super) fn render(text: &mut String) {
    render_all(text, &registered());
}

fn render_all(text: &mut String, histograms: &[Arc<Histogram>]) {
    let mut families: BTreeMap<&str, (&Family, BTreeMap<Option<Label>, Total>)> = BTreeMap::new();
    for histogram in histograms {
        let (_, totals) =
            families.entry(histogram.family.name).or_insert_with(|| (histogram.family, BTreeMap::new()));
        totals.entry(histogram.label).or_default().add(histogram);
    }
    for (name, (family, totals)) in families {
        let _infallible = writeln!(text, "# HELP {name} {}", family.help);
        let _infallible = writeln!(text, "# TYPE {name} histogram");
        for (label, total) in totals {
            total.render(text, family, label);
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WAIT: Family = Family {
        name: "wait_seconds",
        help: "How long it took.",
        bounds: &[50, 7_500, 1_000_000],
        per_base_unit: 1_000_000,
    };
    static PIECES: Family = Family { name: "pieces", help: "How many.", bounds: &[1, 2], per_base_unit: 1 };

    #[test]
    fn what_threads_count_apart_is_summed_in_the_text() {
        let histogram = |family, label| Arc::new(Histogram::new(family, label));
        let audio = Some(("class", "audio"));
        let all = [histogram(&WAIT, audio), histogram(&PIECES, None), histogram(&WAIT, audio)];
        all[0].record(50, 3);
        all[0].record(51, 1);
        all[2].record(7_500, 2);
        all[2].record(2_000_000, 1);
        all[1].record(2, 5);
        let mut text = String::new();
        render_all(&mut text, &all);
        let expected = "\
# HELP pieces How many.
# TYPE pieces histogram
pieces_bucket{le=\"1\"} 0
pieces_bucket{le=\"2\"} 5
pieces_bucket{le=\"+Inf\"} 5
pieces_sum 10
pieces_count 5

# HELP wait_seconds How long it took.
# TYPE wait_seconds histogram
wait_seconds_bucket{class=\"audio\",le=\"0.00005\"} 3
wait_seconds_bucket{class=\"audio\",le=\"0.0075\"} 6
wait_seconds_bucket{class=\"audio\",le=\"1\"} 6
wait_seconds_bucket{class=\"audio\",le=\"+Inf\"} 7
wait_seconds_sum{class=\"audio\"} 2.015201
wait_seconds_count{class=\"audio\"} 7

";
        assert_eq!(text, expected);
    }
}
