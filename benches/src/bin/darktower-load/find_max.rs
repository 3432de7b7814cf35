//! How many this machine holds: the audience doubles until a bound breaks, then the gap is halved.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::bed::Bed;
use crate::cli::{CommonArgs, FindMaxArgs};
use crate::measure::Slice;
use crate::plan::{Grows, Plan};
use crate::report::{Latency, Report};
use crate::statistics::rounded;
use crate::tally::Class;

/// Where the search gives up.
const MOST: usize = 20_000;
/// The search ends when the gap between what holds and what does not is below this part of it.
const PRECISION: f64 = 0.06;
/// A part of a try that others took, from which on a broken bound proves nothing and is tried again.
const DISTURBED: f64 = 0.05;
/// How often.
const MORE_TRIES: u32 = 2;
/// Above this part of its cores the tester would measure itself.
const TESTER_FULL: f64 = 0.95;

/// One try.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Try {
    size: usize,
    subscribers: usize,
    server_ms_per_subscriber_second: f64,
    server_busy: f64,
    tester_busy: Option<f64>,
    late_percent: f64,
    latency_us: Latency,
    steal_s: f64,
    /// Time that other programs had the server's core while it was ready to run.
    server_waiting_s: f64,
    /// What broke; empty if it held.
    broken: Vec<String>,
}

/// The outcome of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// "this machine holds N subscribers …"
    pub(crate) verdict: String,
    pub(crate) holds: usize,
    noun: &'static str,
    /// The smallest number that did not hold, if one was found.
    breaks_at: Option<usize>,
    bounds_broken: Vec<String>,
    /// The search ended because the tester's cores were full, not the server's.
    limited_by_tester: bool,
    tries: Vec<Try>,
    /// The figures at the number that holds.
    at_maximum: Option<Report>,
}

/// Searches, prints every try, and the verdict.
pub(crate) async fn run(plan: Plan, args: &FindMaxArgs, common: &CommonArgs) -> Result<()> {
    let first = args.from.unwrap_or(match (plan.grows, plan.noun) {
        (Grows::Meetings, _) => 5,
        (_, "listeners") => 250,
        _ => 50,
    });
    let noun = plan.noun;
    // The descriptors of the largest try are not known; each try asks for its own.
    let mut bed = Bed::start(common, plan, false, first)?;
    bed.live.say(&bed.plan().description.clone());
    let mut search = Search::new(first);
    let mut tries = Vec::new();
    let mut at_maximum = None;
    while let Some(size) = search.next_size() {
        let (report, tried) = match try_size(&mut bed, size, args, common).await {
            Ok(tried) => tried,
            // Joins that fail are a bound, too; a server that died is told by the error.
            Err(error) if search.holds.is_some() => {
                bed.live.say(&format!("{size} {noun}: {error:#}"));
                tries.push(Try::failed(size, &error));
                search.broke(size);
                break;
            }
            Err(error) => return Err(error),
        };
        bed.live.say(&tried.line(noun));
        let full = tried.tester_is_full();
        if tried.broken.is_empty() {
            search.held(size);
            at_maximum = Some(report);
        } else {
            search.broke(size);
        }
        tries.push(tried);
        // With more, only the tester's limit would be found. A bound that broke may be the server's: smaller sizes tell.
        if full && search.breaks.is_none() {
            break;
        }
    }
    let last = search.breaks.or(search.holds);
    let limited_by_tester =
        tries.iter().rev().find(|tried| Some(tried.size) == last).is_some_and(Try::tester_is_full);
    drop(bed);
    let Some(holds) = search.holds else {
        bail!(
            "not even {} {noun} hold: {}",
            search.breaks.unwrap_or(first),
            broken_at(&tries, search.breaks).join(", ")
        );
    };
    let bounds_broken = broken_at(&tries, search.breaks);
    let mut why = match search.breaks {
        Some(breaks) => format!("at {breaks}: {}{}", bounds_broken.join(", "), disturbed_at(&tries, breaks)),
        None => "the search goes no further".to_owned(),
    };
    if limited_by_tester {
        why.push_str(
            "; the tester's own cores were full there: give it more with --client-cores or --per-socket",
        );
    }
    let verdict = Verdict {
        verdict: format!("this machine holds {holds} {noun} ({why})"),
        holds,
        noun,
        breaks_at: search.breaks,
        bounds_broken,
        limited_by_tester,
        tries,
        at_maximum,
    };
    if common.json {
        eprintln!("{}", verdict.verdict);
        println!("{}", serde_json::to_string(&verdict)?);
    } else {
        if let Some(report) = &verdict.at_maximum {
            print!("{}", report.table());
        }
        println!("{}", verdict.verdict);
    }
    Ok(())
}

fn broken_at(tries: &[Try], size: Option<usize>) -> Vec<String> {
    let broken = tries.iter().rev().find(|tried| Some(tried.size) == size && !tried.broken.is_empty());
    broken.map(|tried| tried.broken.clone()).unwrap_or_default()
}

/// What to think of a bound that broke while others were at work.
fn disturbed_at(tries: &[Try], size: usize) -> String {
    let taken_s = tries
        .iter()
        .rev()
        .find(|tried| tried.size == size)
        .map(|tried| tried.steal_s + tried.server_waiting_s);
    match taken_s {
        Some(taken_s) if taken_s > 0.1 => {
            format!("; others took {taken_s:.1} s of that try: an idle machine holds more")
        }
        _ => String::new(),
    }
}

async fn try_size(
    bed: &mut Bed,
    size: usize,
    args: &FindMaxArgs,
    common: &CommonArgs,
) -> Result<(Report, Try)> {
    bed.allow_descriptors(size)?;
    bed.resize(size).await?;
    let length = Duration::from_secs_f64(args.probe_seconds.max(0.5));
    let mut more_tries = MORE_TRIES;
    loop {
        let slices = bed.rounds(1, length, Duration::from_secs_f64(common.warm_up)).await?;
        let Some(slice) = slices.first().and_then(|slices| slices.first()) else {
            bail!("nothing was measured")
        };
        let tried = Try::new(size, slice, bed.client_cores(), args);
        let taken_s = slice.steal_s + slice.server.waiting_s;
        if tried.broken.is_empty() || taken_s < DISTURBED * slice.tester.wall_s || more_tries == 0 {
            return Ok((bed.report(&slices)?, tried));
        }
        more_tries -= 1;
        bed.live.say(&format!(
            "{size}: once more, because others took {taken_s:.1} s ({})",
            tried.broken.join(", ")
        ));
    }
}

impl Try {
    fn new(size: usize, slice: &Slice, client_cores: Option<usize>, bounds: &FindMaxArgs) -> Self {
        let latency_us = Latency::of(slice);
        let late_percent = slice.tally.late as f64 * 100.0 / (slice.tally.units.max(1)) as f64;
        let mut broken = Vec::new();
        if slice.balance.missing_untold > 0 {
            broken.push(format!("{} units missing without a word", slice.balance.missing_untold));
        }
        if slice.balance.missing_told > 0 {
            broken.push(format!("{} units left out by the server", slice.balance.missing_told));
        }
        if slice.tally.mismatches + slice.tally.repeats > 0 {
            let wrong = slice.tally.mismatches + slice.tally.repeats;
            broken.push(format!("{wrong} units wrong or twice"));
        }
        if late_percent > bounds.max_late {
            broken.push(format!("{late_percent:.2} % late, over {} %", bounds.max_late));
        }
        for (class, bound) in
            Class::ALL.into_iter().zip([bounds.max_audio_ms, bounds.max_delta_ms, bounds.max_key_ms])
        {
            let p99 = latency_us.class(class).map_or(0.0, |latency| latency.p99 as f64 / 1000.0);
            if p99 > bound {
                broken.push(format!("{} p99 {p99:.0} ms, over {bound} ms", class.name()));
            }
        }
        Self {
            size,
            subscribers: slice.subscribers,
            server_ms_per_subscriber_second: rounded(slice.server_ms_per_subscriber_second()),
            server_busy: rounded(slice.server.cpu_s / slice.server.wall_s.max(0.001)),
            tester_busy: client_cores.map(|cores| rounded(slice.tester_busy(cores))),
            late_percent: rounded(late_percent),
            latency_us,
            steal_s: rounded(slice.steal_s),
            server_waiting_s: rounded(slice.server.waiting_s),
            broken,
        }
    }

    fn tester_is_full(&self) -> bool {
        self.tester_busy.is_some_and(|busy| busy > TESTER_FULL)
    }

    fn failed(size: usize, error: &anyhow::Error) -> Self {
        Self {
            size,
            subscribers: 0,
            server_ms_per_subscriber_second: 0.0,
            server_busy: 0.0,
            tester_busy: None,
            late_percent: 0.0,
            latency_us: Latency { audio: None, delta: None, key: None },
            steal_s: 0.0,
            server_waiting_s: 0.0,
            broken: vec![format!("{error:#}")],
        }
    }

    fn line(&self, noun: &str) -> String {
        let p99 = Class::ALL.into_iter().filter_map(|class| {
            let p99 = self.latency_us.class(class)?.p99 as f64 / 1000.0;
            Some(format!("{} {p99:.0}", class.name()))
        });
        let p99 = p99.collect::<Vec<_>>().join(", ");
        let tester = self.tester_busy.map_or(String::new(), |busy| format!(", tester {:.0} %", busy * 100.0));
        let outcome = if self.broken.is_empty() { "holds".to_owned() } else { self.broken.join(", ") };
        format!(
            "{} {noun}: server {:.0} %, {} ms per subscriber and second{tester}; p99 ms: {p99}: {outcome}",
            self.size,
            self.server_busy * 100.0,
            self.server_ms_per_subscriber_second
        )
    }
}

/// Which size to try next.
#[derive(Debug)]
struct Search {
    next: usize,
    holds: Option<usize>,
    breaks: Option<usize>,
}

impl Search {
    fn new(first: usize) -> Self {
        Self { next: first, holds: None, breaks: None }
    }

    fn held(&mut self, size: usize) {
        self.holds = Some(self.holds.map_or(size, |holds| holds.max(size)));
    }

    fn broke(&mut self, size: usize) {
        self.breaks = Some(self.breaks.map_or(size, |breaks| breaks.min(size)));
    }

    /// `None` when the answer is known well enough.
    fn next_size(&mut self) -> Option<usize> {
        let size = match (self.holds, self.breaks) {
            (None, None) => self.next,
            (Some(holds), None) => (holds < MOST).then(|| (holds * 2).min(MOST))?,
            (None, Some(breaks)) => (breaks > 1).then_some(breaks / 2)?,
            (Some(holds), Some(breaks)) => {
                let gap = breaks.saturating_sub(holds);
                if gap <= 1 || (gap as f64) < holds as f64 * PRECISION {
                    return None;
                }
                holds + gap / 2
            }
        };
        Some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer, and the sizes that were tried, for a machine that holds `limit`.
    fn search(first: usize, limit: usize) -> (Option<usize>, Vec<usize>) {
        let mut search = Search::new(first);
        let mut sizes = Vec::new();
        while let Some(size) = search.next_size() {
            sizes.push(size);
            if size <= limit { search.held(size) } else { search.broke(size) }
        }
        (search.holds, sizes)
    }

    #[test]
    fn it_doubles_then_halves_the_gap() {
        let (holds, sizes) = search(50, 333);
        assert_eq!(sizes, [50, 100, 200, 400, 300, 350, 325, 337]);
        assert_eq!(holds, Some(325));
    }

    #[test]
    fn it_goes_down_when_the_first_size_is_too_much_and_ends() {
        assert_eq!(search(50, 3).0, Some(3));
        assert_eq!(search(50, 0), (None, vec![50, 25, 12, 6, 3, 1]));
        assert_eq!(search(50, usize::MAX).0, Some(MOST));
    }
}
