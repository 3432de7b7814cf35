//! Everything that is checked without running the code.

use std::process::Command;

use anyhow::{Result, bail};

use crate::lockfile;
use crate::process;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// Check formatting, lints, documentation and dependencies.
///
/// Nothing is changed: `cargo fmt --all` formats, `cargo clippy --fix` repairs what it can. The first failing check stops.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run all checks even if one fails
    #[arg(long)]
    keep_going: bool,
    /// Check the lock file against RustSec's advisories, and nothing else (needs cargo-deny and network access to GitHub)
    #[arg(long)]
    advisories: bool,
}

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    if args.advisories {
        if !process::exists("cargo-deny") {
            bail!("cargo-deny is not installed: cargo install cargo-deny --locked");
        }
        return process::run(ws.cargo().args(["deny", "--all-features", "check", "advisories"]));
    }
    let mut steps = Steps::new("lint", args.keep_going);
    add_steps(ws, &mut steps)?;
    steps.finish()
}

/// The checks, cheapest first. `cargo xtask test` has them too.
pub(crate) fn add_steps(ws: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.step("format", || format(ws))?;
    steps.step("dependencies", || dependencies(ws))?;
    steps.step("clippy", || {
        process::run(ws.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.step("rustdoc", || {
        process::run(ws.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

fn format(ws: &Workspace) -> Result<()> {
    process::run(ws.cargo().args(["fmt", "--all", "--check"]))?;
    let fuzz = ws.fuzz_dir().join("Cargo.toml");
    if fuzz.exists() {
        process::run(ws.cargo().args(["fmt", "--check", "--manifest-path"]).arg(fuzz))?;
    }
    Ok(())
}

fn dependencies(ws: &Workspace) -> Result<()> {
    for folder in [&ws.root, &ws.fuzz_dir()] {
        let lock = folder.join("Cargo.lock");
        if lock.exists() {
            lockfile::check(&lock)?;
        }
    }
    if process::exists("cargo-deny") {
        return process::run(deny(ws).args(["bans", "licenses", "sources"]));
    }
    eprintln!(
        "lint: licences were not checked: cargo-deny is not installed (cargo install cargo-deny --locked)"
    );
    Ok(())
}

fn deny(ws: &Workspace) -> Command {
    let mut cargo = ws.cargo();
    cargo.args(["deny", "--all-features", "--locked", "check", "--hide-inclusion-graph"]);
    cargo
}
