//! Every check of the project, in one command.

use std::time::Duration;

use anyhow::Result;

use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{bench, contract, demo, examples, fuzz, lint, media, process, readme, setup, sim, web};

/// Run every check: setup, clips, SDK and app of the web, lints, documentation, tests, tests in a browser, the simulation's planted bug, benches once,
/// fuzzing for 30 s, the API against its document, README's commands, the SDK's examples, the demo's check, a little load.
///
/// CI runs exactly this. The first failing step stops; the closing table tells what ran and how long it took. While working on
/// one thing, `cargo nextest run -p darktower-protocol` (or any other package) is the quick way.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run all steps even if one fails
    #[arg(long)]
    keep_going: bool,
    /// Seconds of fuzzing, over all targets together; 0 leaves fuzzing out
    #[arg(long, default_value_t = 30)]
    fuzz_seconds: u32,
}

/// How long the demo of the check publishes.
const DEMO_SECONDS: u32 = 10;

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    let mut steps = Steps::new("test", args.keep_going);
    steps.step("setup", setup::ensure_all)?;
    steps.step("media", || media::ensure(ws).map(drop))?;
    steps.step("web", || web::check(ws))?;
    lint::add_steps(ws, &mut steps)?;
    // From here on, each step selects the whole workspace with the features of its tests: one set of builds serves all. A step
    // that selects one package would build half the dependencies again, with fewer features.
    steps.step("build", || process::run(ws.cargo().args(["build", "--workspace", "--all-targets"])))?;
    steps.step("tests", || process::run(ws.cargo().args(["nextest", "run", "--workspace"])))?;
    steps.step("browser", || web::test_in_browser(ws))?;
    // The simulation itself is one of the tests.
    steps.step("simulation", || sim::find_planted_bug(ws))?;
    steps.step("doc tests", || process::run(ws.cargo().args(["test", "--workspace", "--doc"])))?;
    // Without `cargo bench`'s `--bench` flag criterion runs each bench once, and the dev profile is built already.
    steps.step("benches run", || process::run(ws.cargo().args(["test", "--workspace", "--bench", "*"])))?;
    if args.fuzz_seconds > 0 {
        steps.step("fuzz", || fuzz::run_all_briefly(ws, Duration::from_secs(args.fuzz_seconds.into())))?;
    }
    steps.step("contract", || contract::check_built(ws))?;
    steps.step("README", || readme::check_built(ws))?;
    steps.step("examples", || examples::check_built(ws))?;
    steps.step("demo", || demo::check_built(ws, DEMO_SECONDS))?;
    steps.step("load", || bench::check_built(ws))?;
    steps.finish()
}
