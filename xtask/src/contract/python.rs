//! schemathesis in a Python virtual environment of its own: pinned, and known by its hashes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Every package with its version and hashes.
const REQUIREMENTS: &str = include_str!("../../contract-requirements.txt");

/// Makes the environment if it is not there, or not as [`REQUIREMENTS`] wants it. Returns the program `schemathesis`.
pub(super) fn schemathesis(ws: &Workspace) -> Result<PathBuf> {
    let folder = ws.contract_dir();
    let environment = folder.join("python");
    let program = environment.join("bin/schemathesis");
    // Written last: an installation that was broken off is made anew.
    let installed = folder.join("installed.txt");
    if program.is_file() && fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(program);
    }
    eprintln!("contract: installing schemathesis from PyPI ...");
    fs::create_dir_all(&folder)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run(Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(&requirements))?;
    fs::write(&installed, REQUIREMENTS).context("cannot note what was installed")?;
    Ok(program)
}

/// Runs to the end; an error says what the program complained about.
fn run(command: &mut Command) -> Result<()> {
    let (ok, _, complaints) = process::capture(command)?;
    if !ok {
        bail!("`{}` failed: {}", process::shown(command), complaints.trim());
    }
    Ok(())
}
