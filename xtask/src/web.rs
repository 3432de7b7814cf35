//! The web workspace in `client-sdk/web`: browser SDK, meeting app, and their tests in a browser.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;
use crate::{media, setup};

/// Build the meeting app that the server serves, and the browser SDK in it.
///
/// Needs Node 20 or newer, and network access to npm's registry when the packages in package-lock.json are not installed. The
/// next `cargo build` has the app in its program; programs of the dev profile read it from the checkout.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also check formatting, lints and types, and run the unit tests
    #[arg(long)]
    check: bool,
}

/// Make the screenshots in docs/screenshots anew, with bots in a browser.
#[derive(clap::Args)]
pub(crate) struct ScreenshotArgs {}

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    setup::ensure_node()?;
    if args.check { check(ws) } else { build(ws) }
}

pub(crate) fn run_screenshots(ws: &Workspace, _: &ScreenshotArgs) -> Result<()> {
    setup::ensure_browser()?;
    // Before the server: one that is compiled without the app's folder does not know its place.
    build(ws)?;
    eprintln!("screenshots: building server and client ...");
    process::run(ws.cargo().args(["build", "-p", "darktower-server", "-p", "darktower-client", "--bins"]))?;
    media::ensure(ws)?;
    let mut playwright = node_program(ws, "npx", &["playwright", "test", "--project=screenshots"]);
    playwright.current_dir(ws.web_dir().join("e2e"));
    process::run(with_programs(ws, &mut playwright))
}

/// Installs what the lock file lists, unless that is done, and builds SDK and app.
pub(crate) fn build(ws: &Workspace) -> Result<()> {
    install(ws)?;
    eprintln!("web: building SDK and meeting app ...");
    quietly(&mut npm(ws, &["run", "build"]))
}

/// Everything that is checked without a browser. The app is built afterwards: the server's tests in a browser need it.
pub(crate) fn check(ws: &Workspace) -> Result<()> {
    build(ws)?;
    for (what, arguments) in [
        ("formatting and lints", &["run", "check"] as &[&str]),
        ("types", &["run", "typecheck", "--workspaces"]),
        ("unit tests of the SDK", &["test", "-w", "sdk"]),
        ("unit tests of the app", &["test", "-w", "app"]),
    ] {
        eprintln!("web: {what} ...");
        quietly(&mut npm(ws, arguments))?;
    }
    Ok(())
}

/// The tests in a browser, against programs that are built already.
pub(crate) fn test_in_browser(ws: &Workspace) -> Result<()> {
    process::run(with_programs(ws, &mut npm(ws, &["test", "-w", "e2e"])))
}

/// Tells the tests where the programs and clips are.
fn with_programs<'a>(ws: &Workspace, command: &'a mut Command) -> &'a mut Command {
    command
        .env("DARKTOWER_BIN", ws.program("darktower"))
        .env("DARKTOWER_CLIENT_BIN", ws.program("darktower-client"))
        .env(
            "DARKTOWER_MEDIA_DIR",
            env::var_os("DARKTOWER_MEDIA_DIR").unwrap_or_else(|| ws.media_dir().into()),
        )
}

/// `npm ci`, if the lock file is not the one of the last time: it takes packages away and brings them anew, for seconds.
fn install(ws: &Workspace) -> Result<()> {
    let lock = ws.web_dir().join("package-lock.json");
    let stamp = stamp(ws);
    if is_same(&lock, &stamp)? {
        return Ok(());
    }
    eprintln!("web: installing packages (npm ci) ...");
    quietly(&mut npm(ws, &["ci", "--no-audit", "--no-fund"]))?;
    fs::copy(&lock, &stamp).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(())
}

/// A copy of the lock file whose packages are installed. `npm ci` begins by removing it with everything else.
fn stamp(ws: &Workspace) -> PathBuf {
    ws.web_dir().join("node_modules/.installed-lock.json")
}

/// Whether `installed` is there and the same as `lock`.
fn is_same(lock: &Path, installed: &Path) -> Result<bool> {
    let lock = fs::read(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    Ok(fs::read(installed).is_ok_and(|installed| installed == lock))
}

fn npm(ws: &Workspace, arguments: &[&str]) -> Command {
    node_program(ws, "npm", arguments)
}

fn node_program(ws: &Workspace, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(ws.web_dir()).env("NO_UPDATE_NOTIFIER", "1");
    command
}

/// Runs `command` to its end and shows what it printed only if it failed.
fn quietly(command: &mut Command) -> Result<()> {
    let (ok, output, errors) = process::capture(command)?;
    if !ok {
        eprint!("{output}{errors}");
        bail!("`{}` failed", process::shown(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_once_for_each_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, installed) = (folder.path().join("package-lock.json"), folder.path().join("installed"));
        assert!(is_same(&lock, &installed).is_err(), "there is no lock file");
        fs::write(&lock, "{}").unwrap();
        assert!(!is_same(&lock, &installed).unwrap());
        fs::copy(&lock, &installed).unwrap();
        assert!(is_same(&lock, &installed).unwrap());
        fs::write(&lock, "{ }").unwrap();
        assert!(!is_same(&lock, &installed).unwrap());
    }
}
