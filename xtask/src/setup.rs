//! The programs that the other commands need beyond Rust itself.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Install the programs that demo and test need, or say what is missing.
///
/// ffmpeg and espeak-ng make the clips that bots publish (without espeak-ng they hum instead of speaking); a C and a C++
/// compiler build the cryptography and the fuzzer; PostgreSQL is one of the databases that are tested; Python, curl, jq and openssl check the
/// HTTP API from outside; cargo-nextest runs the tests. On Debian and its relatives, as root or with sudo that asks no password, what is missing is
/// installed; elsewhere this prints what to install and fails. demo and test run it by themselves.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only report what is missing; install nothing
    #[arg(long)]
    check: bool,
}

/// A program and the Debian package that has it.
struct Tool {
    program: &'static str,
    /// How to see that it is there.
    found: fn(&str) -> bool,
    package: &'static str,
    purpose: &'static str,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nothing works without it.
    Demo,
    /// Only the tests want it.
    Test,
    /// There is a replacement.
    Nice,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "ffmpeg",
        found: process::exists,
        package: "ffmpeg",
        purpose: "makes clips, decodes recordings",
        need: Need::Demo,
    },
    Tool {
        program: "ffprobe",
        found: process::exists,
        package: "ffmpeg",
        purpose: "counts decoded frames",
        need: Need::Demo,
    },
    Tool {
        program: "espeak-ng",
        found: process::exists,
        package: "espeak-ng",
        purpose: "makes speech (else tones)",
        need: Need::Nice,
    },
    Tool {
        program: "cc",
        found: process::exists,
        package: "gcc",
        purpose: "compiles aws-lc and SQLite",
        need: Need::Demo,
    },
    Tool {
        program: "c++",
        found: process::exists,
        package: "g++",
        purpose: "compiles libFuzzer",
        need: Need::Test,
    },
    Tool {
        program: "initdb",
        found: postgres_has,
        package: "postgresql",
        purpose: "makes databases for tests",
        need: Need::Test,
    },
    Tool {
        program: "postgres",
        found: postgres_has,
        package: "postgresql",
        purpose: "runs them",
        need: Need::Test,
    },
    Tool {
        program: "curl",
        found: process::exists,
        package: "curl",
        purpose: "calls the HTTP API",
        need: Need::Test,
    },
    Tool {
        program: "jq",
        found: process::exists,
        package: "jq",
        purpose: "reads the answers of README's commands",
        need: Need::Test,
    },
    Tool {
        program: "openssl",
        found: process::exists,
        package: "openssl",
        purpose: "makes certificates for tests",
        need: Need::Test,
    },
    Tool {
        program: "python3",
        found: |_| python_has("venv") && python_has("ensurepip"),
        package: "python3-venv",
        purpose: "runs schemathesis",
        need: Need::Test,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let (missing, nextest) = (missing(), process::exists("cargo-nextest"));
    if args.check {
        if missing.is_empty() && nextest {
            eprintln!("setup: nothing is missing");
            return Ok(());
        }
        bail!("{}", explain(&missing, nextest));
    }
    ensure_all()?;
    eprintln!("setup: everything is there");
    Ok(())
}

/// Everything that `cargo xtask test` needs.
pub(crate) fn ensure_all() -> Result<()> {
    ensure(Need::Test)?;
    for component in ["fmt", "clippy"] {
        let there = process::capture(Command::new("cargo").args([component, "--version"]));
        if !there.is_ok_and(|(ok, ..)| ok) {
            let component = if component == "fmt" { "rustfmt" } else { component };
            eprintln!("setup: installing {component} (rustup) ...");
            process::run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    if !process::exists("cargo-nextest") {
        eprintln!("setup: installing cargo-nextest from source, some minutes ...");
        process::run(Command::new("cargo").args(INSTALL_NEXTEST))?;
    }
    Ok(())
}

/// The newest version that the oldest supported Rust is known to build.
const INSTALL_NEXTEST: [&str; 5] = ["install", "cargo-nextest", "--locked", "--version", "0.9.143"];

/// What the demo needs: everything but the test runner.
pub(crate) fn ensure_programs() -> Result<()> {
    ensure(Need::Demo)
}

/// Installs what is missing up to `need`, and what has a replacement; fails if something that is needed stays missing.
fn ensure(need: Need) -> Result<()> {
    let missing = || {
        let mut missing = missing();
        missing.retain(|tool| tool.need <= need || tool.need == Need::Nice);
        missing
    };
    let is_needed = |missing: &[&Tool]| missing.iter().any(|tool| tool.need <= need);
    let missing_now = missing();
    if missing_now.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing_now);
    let Some(mut apt_get) = apt_get() else {
        if is_needed(&missing_now) {
            bail!("{}", explain(&missing_now, true));
        }
        eprintln!("setup: going on without {}", packages.join(", "));
        return Ok(());
    };
    eprintln!("setup: installing {} (apt-get) ...", packages.join(", "));
    // The lists of a fresh machine are empty or old. A mirror that is down shows in the next command.
    process::run(apt_get().args(["-qq", "update"])).unwrap_or_else(|error| eprintln!("setup: {error:#}"));
    process::run(apt_get().args(["-qq", "install", "-y", "--no-install-recommends"]).args(&packages))
        .unwrap_or_else(|error| eprintln!("setup: {error:#}"));
    let missing_now = missing();
    if is_needed(&missing_now) {
        bail!("{}", explain(&missing_now, true));
    }
    Ok(())
}

/// Whether PostgreSQL has `program`. Debian keeps the server's programs out of `PATH`, in a folder per version.
fn postgres_has(program: &str) -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    process::exists(program)
        || versions.into_iter().any(|version| version.path().join("bin").join(program).is_file())
}

/// Whether Python can load `module`: Debian has it without those that make virtual environments.
fn python_has(module: &str) -> bool {
    process::capture(Command::new("python3").args(["-c", &format!("import {module}")]))
        .is_ok_and(|(ok, ..)| ok)
}

fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !(tool.found)(tool.program)).collect()
}

fn packages(missing: &[&'static Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

/// How to call apt-get, when there is one and no password is needed. Its output goes to standard error.
fn apt_get() -> Option<impl FnMut() -> Command> {
    if !process::exists("apt-get") {
        return None;
    }
    let root = rustix::process::geteuid().is_root();
    let sudo = || {
        process::exists("sudo")
            && process::capture(Command::new("sudo").args(["-n", "true"])).is_ok_and(|(ok, ..)| ok)
    };
    if !root && !sudo() {
        return None;
    }
    Some(move || {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        if !root {
            command.args(["-n", "env"]);
        }
        // The tests start their own databases: without a run level to start services in, none is started here.
        command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-o", "Dpkg::Use-Pty=0"]);
        // Standard output of the demo is for its JSON alone.
        command.stdin(std::process::Stdio::null()).stdout(std::io::stderr());
        command
    })
}

fn explain(missing: &[&'static Tool], nextest: bool) -> String {
    let mut text = String::from("these programs are missing:\n");
    for tool in missing {
        text.push_str(&format!(
            "  {:<10} {} (Debian package {})\n",
            tool.program, tool.purpose, tool.package
        ));
    }
    if !nextest {
        text.push_str("  cargo-nextest runs the tests\n");
    }
    text.push_str("install them with:");
    if !missing.is_empty() {
        text.push_str(&format!(
            "\n  sudo apt-get install --no-install-recommends {}",
            packages(missing).join(" ")
        ));
    }
    if !nextest {
        text.push_str("\n  cargo install cargo-nextest --locked");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanation_names_each_program_and_one_command() {
        let text = explain(&TOOLS.iter().collect::<Vec<_>>(), false);
        for tool in TOOLS {
            assert!(text.contains(tool.program), "{text}");
        }
        assert!(
            text.contains(
                "--no-install-recommends ffmpeg espeak-ng gcc g++ postgresql curl jq openssl python3-venv\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("cargo install cargo-nextest --locked"), "{text}");
    }
}
