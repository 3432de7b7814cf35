//! Coverage-guided fuzzing with libFuzzer, on the stable toolchain and without cargo-fuzz.
//!
//! What cargo-fuzz does on nightly is mostly a set of compiler flags. The ones used here are stable; what is left out is
//! AddressSanitizer, which safe Rust needs least. One flag is ours: see [`RUSTFLAGS`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Running};
use crate::setup;
use crate::workspace::Workspace;

/// Fuzz the decoders of peer input (libFuzzer, stable toolchain).
///
/// A target is a file in fuzz/fuzz_targets/; its first inputs are the files in fuzz/seeds/TARGET/. What fuzzing finds
/// interesting collects in fuzz/corpus/TARGET/ and speeds up later runs. A crash leaves its input in fuzz/artifacts/TARGET/;
/// copy that into the seeds once fixed, so that every later run repeats it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; without it all of them take turns
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Options for libFuzzer, after `--`: for example `-- -max_len=70000 -jobs=2`
    #[arg(last = true)]
    libfuzzer: Vec<String>,
}

/// Counters at each edge and hooks at each comparison, which libFuzzer learns from.
///
/// `max-loads-per-memcmp=0` keeps comparisons of short slices (`data.starts_with(b"FUZZ")`) calls of memcmp, which libFuzzer
/// intercepts. Otherwise they become plain loads after the coverage pass has run, and libFuzzer, blind to them, would not
/// guess four bytes in a minute; AddressSanitizer has the same effect in cargo-fuzz.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-max-loads-per-memcmp=0 \
    -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// An input that takes longer is reported as a finding.
const INPUT_TIMEOUT_SECONDS: u32 = 10;
/// Memory beyond this is reported as a finding: peer input must not make us allocate.
const MEMORY_LIMIT_MIB: u32 = 1024;
/// What a target may take beyond its time: reading its corpus, the last input.
const SLACK: Duration = Duration::from_secs(120);

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    setup::ensure_programs()?;
    let mut targets = targets(ws)?;
    if let Some(wanted) = &args.target {
        if !targets.contains(wanted) {
            bail!("no fuzz target {wanted}; there are: {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    let folder = build(ws, &targets)?;
    for target in &targets {
        let time = Duration::from_secs(args.seconds.into());
        Fuzzer { ws, program: folder.join(target), target }.run(time, &args.libfuzzer, Output::Shown)?;
    }
    Ok(())
}

/// Gives every target its share of `time` and prints one line for each.
pub(crate) fn run_all_briefly(ws: &Workspace, time: Duration) -> Result<()> {
    let targets = targets(ws)?;
    let folder = build(ws, &targets)?;
    let share = (time / u32::try_from(targets.len())?).max(Duration::from_secs(1));
    for target in &targets {
        Fuzzer { ws, program: folder.join(target), target }.run(share, &[], Output::Summarized)?;
    }
    Ok(())
}

/// The names of all targets, sorted.
fn targets(ws: &Workspace) -> Result<Vec<String>> {
    let folder = ws.fuzz_dir().join("fuzz_targets");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("no fuzz targets in {}", ws.shown(&folder)))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    targets.sort();
    if targets.is_empty() {
        bail!("no fuzz targets in {}", ws.shown(&folder));
    }
    Ok(targets)
}

/// Builds `targets`; returns the folder of the programs.
fn build(ws: &Workspace, targets: &[String]) -> Result<PathBuf> {
    let host = host_triple(ws)?;
    let mut cargo = ws.cargo();
    cargo.args(["build", "--manifest-path"]).arg(ws.fuzz_dir().join("Cargo.toml"));
    // With the target named, the flags stay away from build scripts and procedural macros, which run on their own.
    cargo.args(["--target", &host, "--target-dir"]).arg(ws.fuzz_target_dir());
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    // The dev profile has overflow checks; speed decides how much fuzzing finds.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    cargo.env("CARGO_INCREMENTAL", "0");
    process::run(&mut cargo)?;
    Ok(ws.fuzz_target_dir().join(host).join("debug"))
}

fn host_triple(ws: &Workspace) -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let (_, about, _) = process::capture(rustc.arg("-vV").current_dir(&ws.root))?;
    let host =
        about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(host.to_owned())
}

#[derive(Clone, Copy)]
enum Output {
    /// As libFuzzer prints it.
    Shown,
    /// One line; all of it only when something was found.
    Summarized,
}

struct Fuzzer<'a> {
    ws: &'a Workspace,
    program: PathBuf,
    target: &'a str,
}

impl Fuzzer<'_> {
    fn run(&self, time: Duration, options: &[String], output: Output) -> Result<()> {
        let Self { ws, program, target } = self;
        let corpus = ws.fuzz_dir().join("corpus").join(target);
        let seeds = ws.fuzz_dir().join("seeds").join(target);
        let artifacts = ws.fuzz_dir().join("artifacts").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let before = files(&artifacts);

        let mut command = Command::new(program);
        command.current_dir(&ws.root).arg(&corpus);
        if seeds.is_dir() {
            command.arg(seeds);
        } else {
            eprintln!("fuzz: {target} has no seeds in fuzz/seeds/{target}");
        }
        command.arg(format!("-max_total_time={}", time.as_secs()));
        command.arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"));
        command.arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(options);
        let log = ws.fuzz_target_dir().join(format!("{target}.log"));
        match output {
            Output::Shown => eprintln!("fuzz: {target} for {} s", time.as_secs()),
            Output::Summarized => {
                let file = File::create(&log)?;
                command.stdout(file.try_clone()?).stderr(file);
            }
        }
        let status = Running::start(&mut command)?.wait(Some(time + SLACK))?;
        process::check_interrupted()?;

        let text = match output {
            Output::Shown => String::new(),
            Output::Summarized => fs::read_to_string(&log).unwrap_or_default(),
        };
        if status.success() {
            if let Some(summary) = text.lines().rev().find_map(summary) {
                eprintln!("fuzz: {target:<20} {summary}");
            }
            return Ok(());
        }
        eprint!("{text}");
        for found in files(&artifacts).difference(&before) {
            eprintln!("fuzz: {target} failed on {}", ws.shown(found));
            eprintln!("fuzz: once more: {} {}", ws.shown(program), ws.shown(found));
        }
        bail!("fuzz target {target} failed ({status})");
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The figures of libFuzzer's closing line: `#27345 DONE cov: 121 ft: 305 corp: 57/2Kb ...`.
fn summary(line: &str) -> Option<String> {
    let (runs, rest) = line.strip_prefix('#')?.split_once("DONE")?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let value = |key: &str| words.iter().skip_while(|word| **word != key).nth(1).copied().unwrap_or("?");
    Some(format!(
        "{} runs, {} a second, coverage {}, corpus {}",
        runs.trim(),
        value("exec/s:"),
        value("cov:"),
        value("corp:")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_reads_the_closing_line_only() {
        let line = "#56834041\tDONE   cov: 10 ft: 12 corp: 3/26b lim: 4096 exec/s: 1833356 rss: 27Mb";
        assert_eq!(
            summary(line).as_deref(),
            Some("56834041 runs, 1833356 a second, coverage 10, corpus 3/26b")
        );
        assert_eq!(summary("#6	NEW    cov: 9 ft: 9 corp: 2/5b"), None);
    }
}
