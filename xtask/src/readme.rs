//! Runs the commands of README's section "Build on it" as they are written there.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, Running};
use crate::server::{self, Server};
use crate::workspace::Workspace;

const SECTION: &str = "\n## Build on it\n";
const BLOCK_BEGIN: &str = "```sh\n";
const BLOCK_END: &str = "\n```\n";
/// All commands together: some seconds of a meeting, and a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts a server that is built already and runs the commands against it.
///
/// # Errors
/// If a command fails, or the last one does not show that the one before was in the meeting.
pub(crate) fn check_built(ws: &Workspace) -> Result<()> {
    let readme = fs::read_to_string(ws.readme()).context("README.md")?;
    let commands = commands(&readme)?;
    let folder = tempfile::Builder::new().prefix("darktower-readme-").tempdir()?;
    let mut server = Server::start(ws, folder.path(), |command| {
        command.args(["--dev", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.args(["--http3-listen", "127.0.0.1:0"]);
    })?;
    let output = folder.path().join("output");
    let programs = ws.program("darktower-client");
    let programs = programs.parent().context("the programs are in a folder")?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", commands]).env("PATH", path).env("SERVER", server.http_url());
    shell.current_dir(folder.path()).env("DARKTOWER_DATA_DIR", server::data_dir(folder.path()));
    shell.stdin(Stdio::null()).stdout(fs::File::create(&output)?);
    let status = Running::start(&mut shell)?.wait_while(Some(LIMIT), || server.check_running())?;
    process::check_interrupted()?;
    let shown = fs::read_to_string(&output)?;
    let judged = if status.success() { judge(&shown) } else { Err(anyhow::anyhow!("{status}")) };
    let judged = judged
        .with_context(|| format!("README, \"Build on it\": the commands\n{commands}\nprinted\n{shown}"));
    server.show_log_unless_ok(judged)?;
    server.stop()
}

/// The commands of the section's only block.
fn commands(readme: &str) -> Result<&str> {
    let (_, section) = readme.split_once(SECTION).context("README has no section \"Build on it\"")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let (_, block) = section.split_once(BLOCK_BEGIN).context("the section has no block of commands")?;
    let (commands, _) = block.split_once(BLOCK_END).context("the block of commands has no end")?;
    Ok(commands)
}

/// The last thing printed is the session that the commands made, which one participant has joined.
fn judge(shown: &str) -> Result<()> {
    let last = serde_json::Deserializer::from_str(shown)
        .into_iter::<Value>()
        .last()
        .context("nothing was printed")?
        .context("what was printed is not JSON")?;
    if last["total"] != 1 || last["sessions"][0]["participant_count"] != 1 {
        bail!("nobody was in the meeting");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_section() {
        let readme = "# A\n\n```sh\nno\n```\n\n## Build on it\n\nText.\n\n```sh\none\ntwo\n```\n\n## Next\n";
        assert_eq!(commands(readme).unwrap(), "one\ntwo");
        assert!(commands("# A\n\n## Build on it\n\n## Next\n\n```sh\nno\n```\n").is_err());
    }

    #[test]
    fn only_a_session_with_a_participant_will_do() {
        assert!(judge("{}\n{\"sessions\": [{\"participant_count\": 1}], \"total\": 1}\n").is_ok());
        for bad in ["", "{\"sessions\": [], \"total\": 0}", "{\"error\": {}}", "not JSON"] {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }
}
