//! The programs that the other commands need beyond Rust itself.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Install the programs that demo and test need, or say what is missing.
///
/// ffmpeg and espeak-ng make the clips that bots publish (without espeak-ng they hum instead of speaking); a C and a C++
/// compiler build the cryptography and the fuzzer; PostgreSQL is one of the databases that are tested; Python, curl, jq and openssl check the
/// HTTP API from outside; Node and npm build the meeting app, Chromium tests it; cargo-nextest runs the tests. On Debian and its relatives, as root or with sudo that asks no password, what is missing is
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
    NODE,
    NPM,
    CHROMIUM,
    EMOJI,
    INTER,
];

const NODE: Tool = Tool {
    program: "node",
    found: |_| node_version().is_some_and(|major| major >= NODE_MAJOR),
    package: "nodejs",
    purpose: "builds the meeting app: version 20 or newer, as in Debian 13, or from https://nodejs.org",
    need: Need::Test,
};

const NPM: Tool = Tool {
    program: "npm",
    found: process::exists,
    package: "npm",
    purpose: "installs its packages",
    need: Need::Test,
};

const CHROMIUM: Tool = Tool {
    program: "chromium",
    found: process::exists,
    package: "chromium",
    purpose: "tests the meeting app",
    need: Need::Test,
};

const EMOJI: Tool = Tool {
    program: "NotoColorEmoji.ttf",
    found: has_font,
    package: "fonts-noto-color-emoji",
    purpose: "shows emoji (else boxes)",
    need: Need::Nice,
};

const INTER: Tool = Tool {
    program: "Inter-Regular.otf",
    found: has_font,
    package: "fonts-inter",
    purpose: "letters of the screenshots (else others)",
    need: Need::Nice,
};

/// The oldest version that the tools of the web workspace support.
const NODE_MAJOR: u32 = 20;

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

/// What builds the meeting app.
pub(crate) fn ensure_node() -> Result<()> {
    ensure_tools(|tool| matches!(tool.program, "node" | "npm"), Need::Test)
}

/// What builds the meeting app and shows it.
pub(crate) fn ensure_browser() -> Result<()> {
    ensure_programs()?;
    ensure_tools(
        |tool| ["node", "npm", "chromium", EMOJI.program, INTER.program].contains(&tool.program),
        Need::Test,
    )
}

/// Installs what is missing up to `need`, and what has a replacement; fails if something that is needed stays missing.
fn ensure(need: Need) -> Result<()> {
    ensure_tools(|tool| tool.need <= need || tool.need == Need::Nice, need)
}

/// As [`ensure`], of the tools that `wanted` says.
fn ensure_tools(wanted: impl Fn(&Tool) -> bool, need: Need) -> Result<()> {
    let missing = || {
        let mut missing = missing();
        missing.retain(|tool| wanted(tool));
        missing
    };
    let is_needed = |missing: &[&Tool]| missing.iter().any(|tool| tool.need <= need);
    let missing_now = missing();
    if missing_now.is_empty() {
        return Ok(());
    }
    let node = missing_now.iter().any(|tool| tool.program == NODE.program);
    if node && packaged_node().is_some_and(|major| major < NODE_MAJOR) {
        // Nothing is gained by a version that is too old, and one from elsewhere may be in its way.
        bail!("{}", explain(&missing_now, true));
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

/// Whether a font is where Debian's packages have theirs.
fn has_font(file: &str) -> bool {
    let families = ["truetype", "opentype"].map(|kind| std::fs::read_dir(format!("/usr/share/fonts/{kind}")));
    families.into_iter().flatten().flatten().flatten().any(|family| family.path().join(file).is_file())
}

/// Whether Python can load `module`: Debian has it without those that make virtual environments.
fn python_has(module: &str) -> bool {
    process::capture(Command::new("python3").args(["-c", &format!("import {module}")]))
        .is_ok_and(|(ok, ..)| ok)
}

/// The major version of the Node in `PATH`.
fn node_version() -> Option<u32> {
    let (ok, version, _) = process::capture(Command::new("node").arg("--version")).ok()?;
    if ok { major(version.trim().strip_prefix('v')?) } else { None }
}

/// The major version that apt-get would install.
fn packaged_node() -> Option<u32> {
    let mut command = Command::new("apt-cache");
    let (_, package, _) = process::capture(command.args(["show", "--no-all-versions", NODE.package])).ok()?;
    major(package.lines().find_map(|line| line.strip_prefix("Version: "))?)
}

/// The first number of a version: 20 of `20.19.2`, and of `1:20.19.2+dfsg-1`.
fn major(version: &str) -> Option<u32> {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    version.split(['.', '~', '+', '-']).next()?.parse().ok()
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
    fn versions_are_read_as_node_and_debian_write_them() {
        for (version, expected) in [
            ("20.19.2", Some(20)),
            ("18.20.4+dfsg-1~deb12u1", Some(18)),
            ("1:22.1.0-1", Some(22)),
            ("24~rc1", Some(24)),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }

    #[test]
    fn explanation_names_each_program_and_one_command() {
        let text = explain(&TOOLS.iter().collect::<Vec<_>>(), false);
        for tool in TOOLS {
            assert!(text.contains(tool.program), "{text}");
        }
        assert!(
            text.contains(
                "--no-install-recommends ffmpeg espeak-ng gcc g++ postgresql curl jq openssl python3-venv nodejs npm chromium fonts-noto-color-emoji fonts-inter\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("cargo install cargo-nextest --locked"), "{text}");
    }
}
