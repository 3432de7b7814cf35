//! A meeting under whatever may happen: seeded runs of random operations and faults, against a reference
//! that is written as plainly as possible, followed by clients and a media handler that know only what they
//! are told.
//!
//! | module | what it owns |
//! |---|---|
//! | [`ops`] | what may happen |
//! | [`choose`] | what happens next, and what goes wrong: from a [`random`] seed |
//! | [`world`] | one run: it happens, and everybody follows |
//! | [`media`] | the part of it about streams, subscriptions and loudness |
//! | [`model`] | the reference |
//! | [`attention`] | the part of it about who is heard and shown |
//! | [`followers`] | clients and the media handler |
//! | [`invariants`] | what must be true after every step |
//!
//! A violation names its seed and the last operations. `DARKTOWER_SIM_FIRST_SEED=N DARKTOWER_SIM_SEEDS=1`
//! repeats it; `cargo xtask sim` runs many more seeds. With the feature `planted-bug` the meeting has a bug
//! that must be found: then the simulation is known to look.

/// Returns an error with this text unless something holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            return Err(format_args!($($what)+).to_string());
        }
    }};
}

mod attention;
mod choose;
mod followers;
mod hosts;
mod invariants;
mod media;
mod messages;
mod model;
mod ops;
mod random;
mod records;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use world::{Tally, Violation};

/// What was violated, if anything was.
type Checked<T = ()> = Result<T, String>;

#[cfg(not(feature = "planted-bug"))]
#[test]
fn a_meeting_holds_whatever_happens() {
    // Fewer say nothing about what did not happen.
    const ENOUGH_FOR_EVERYTHING: u64 = 500;
    let seeds = setting("DARKTOWER_SIM_SEEDS", 2_000);
    let outcome = run(setting("DARKTOWER_SIM_FIRST_SEED", 1), seeds);
    outcome.report();
    if let Some(violation) = outcome.violation {
        panic!("{violation}");
    }
    if seeds >= ENOUGH_FOR_EVERYTHING {
        assert_eq!(
            outcome.tally.missing(),
            Vec::<&str>::new(),
            "these were never accepted, or never happened"
        );
    }
}

/// In the meeting of this build muting ends no routes.
#[cfg(feature = "planted-bug")]
#[test]
fn a_planted_bug_is_found() {
    let outcome = run(setting("DARKTOWER_SIM_FIRST_SEED", 1), 200);
    outcome.report();
    let found = outcome.violation.expect("the planted bug is found within 200 seeds");
    println!("the planted bug was found with seed {}: {found}", found.seed);
    assert!(found.what.contains("although it is muted"), "this is another bug: {found}");
}

/// What became of some seeds.
struct Outcome {
    first_seed: u64,
    threads: usize,
    tally: Tally,
    violation: Option<Violation>,
    took: Duration,
}

impl Outcome {
    /// One line for people, and one for programs.
    fn report(&self) {
        let Self { first_seed, threads, tally, violation, took } = self;
        let Tally { seeds, steps, checks, accepted, refused, faults } = tally;
        let sum = |counts: &BTreeMap<&'static str, u64>| counts.values().sum::<u64>();
        // libtest may have begun a line.
        println!(
            "\nsimulation: {seeds} seeds from {first_seed}, {steps} steps, {} accepted, {} refused, \
             {} faults, {checks} checks, {} violations in {:.1} s",
            sum(accepted),
            sum(refused),
            sum(faults),
            u8::from(violation.is_some()),
            took.as_secs_f64(),
        );
        let report = serde_json::json!({
            "first_seed": first_seed,
            "seeds": seeds,
            "steps": steps,
            "operations_accepted": sum(accepted),
            "operations_refused": sum(refused),
            "faults_injected": sum(faults),
            "invariant_checks": checks,
            "seconds": took.as_secs_f64(),
            "threads": threads,
            "violation": violation.as_ref().map(ToString::to_string),
            "violation_seed": violation.as_ref().map(|violation| violation.seed),
            "accepted": accepted,
            "refused": refused,
            "faults": faults,
            "missing": tally.missing(),
        });
        println!("report: {report}");
    }
}

/// Runs this many seeds on all processors, until one finds something.
fn run(first_seed: u64, seeds: u64) -> Outcome {
    let start = now();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(first_seed);
    let end = first_seed.saturating_add(seeds);
    let stop = AtomicBool::new(false);
    let work = || {
        let mut tally = Tally::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            if let Err(violation) = world::run(seed, start, &mut tally) {
                stop.store(true, Ordering::Relaxed);
                return (tally, Some(violation));
            }
        }
        (tally, None)
    };
    let mut tally = Tally::default();
    let mut violations = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (done, violation) = worker.join().expect("what panics is a violation");
            tally.add(&done);
            violations.extend(violation);
        }
    });
    let violation = violations.into_iter().min_by_key(|violation| violation.seed);
    Outcome { first_seed, threads, tally, violation, took: now().duration_since(start) }
}

#[expect(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "how much is tried is the developer's choice")]
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}
