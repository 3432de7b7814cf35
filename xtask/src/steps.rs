//! Named steps with their times, and the table that closes a run of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process;

/// A run of steps. The first failing step ends it, unless told to go on.
pub(crate) struct Steps {
    /// Stands before each line of ours, to be told from the lines of the steps.
    title: &'static str,
    keep_going: bool,
    done: Vec<Done>,
}

struct Done {
    name: &'static str,
    passed: bool,
    took: Duration,
}

impl Steps {
    pub(crate) fn new(title: &'static str, keep_going: bool) -> Self {
        Self { title, keep_going, done: Vec::new() }
    }

    /// Runs one step. An error means that no further step may run; it was reported.
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.say(&format!("--- {name}"));
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        self.done.push(Done { name, passed: result.is_ok(), took });
        match result {
            Ok(()) => {
                self.say(&format!("--- {name}: ok, {:.1} s", took.as_secs_f32()));
                Ok(())
            }
            Err(error) if error.is::<process::Interrupted>() => Err(error),
            Err(error) => {
                self.say(&format!("--- {name}: FAILED after {:.1} s: {error:#}", took.as_secs_f32()));
                if self.keep_going { Ok(()) } else { self.conclude() }
            }
        }
    }

    /// Prints the table; an error if a step failed.
    pub(crate) fn finish(&self) -> Result<()> {
        self.conclude()
    }

    fn conclude(&self) -> Result<()> {
        self.say(&self.table());
        let failed: Vec<_> = self.done.iter().filter(|done| !done.passed).map(|done| done.name).collect();
        if !failed.is_empty() {
            bail!("{} failed in: {}", self.title, failed.join(", "));
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = String::from("step              result     time\n");
        let mut total = Duration::ZERO;
        for Done { name, passed, took } in &self.done {
            let result = if *passed { "ok" } else { "FAILED" };
            let _ = writeln!(table, "{name:<17} {result:<6} {:>7.1} s", took.as_secs_f32());
            total += *took;
        }
        let _ = write!(table, "{:<17} {:<6} {:>7.1} s", "all", "", total.as_secs_f32());
        table
    }

    fn say(&self, text: &str) {
        // Whoever reads through a pipe that closed does not want to know.
        let mut out = std::io::stdout().lock();
        for line in text.lines() {
            let _ = writeln!(out, "{}: {line}", self.title);
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let mut steps = Steps::new("x", false);
        steps.step("one", || Ok(())).unwrap();
        let error = steps.step("two", || bail!("broken")).unwrap_err();
        assert_eq!(error.to_string(), "x failed in: two");
    }

    #[test]
    fn keep_going_runs_all_and_still_fails() {
        let mut steps = Steps::new("x", true);
        steps.step("one", || bail!("broken")).unwrap();
        let mut ran = false;
        steps
            .step("two", || {
                ran = true;
                Ok(())
            })
            .unwrap();
        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "x failed in: one");
        assert_eq!(steps.table().lines().count(), 4);
    }
}
