//! Scenario files: a command and its options, with a source.
//!
//! ```toml
//! title = "…"
//! command = "fanout"
//!
//! [options]
//! subscribers = 3000
//! video-bitrate = "1.86M"
//! no-reference = true
//! ```

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use serde::Deserialize;

use crate::cli::{Cli, Command, RunArgs};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// For people, in one line.
    title: String,
    /// `fanout`, `meeting`, `audio-room`, `joins` or `sweep`.
    command: String,
    /// Long options of the command without their dashes.
    #[serde(default)]
    options: toml::Table,
}

/// The command that a scenario file, together with the options of the command line, stands for.
pub(crate) fn load(args: &RunArgs) -> Result<(String, Command)> {
    let scenario = read(&args.file)?;
    let line = scenario.command_line(&args.file)?;
    let line = line.into_iter().map(OsString::from).chain(args.options.iter().map(OsString::from));
    // What is wrong with an option is best told by who knows them all.
    let cli = Cli::try_parse_from(line).unwrap_or_else(|error| error.exit());
    Ok((scenario.title, cli.command))
}

fn read(path: &Path) -> Result<Scenario> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the scenario {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no scenario", path.display()))
}

impl Scenario {
    fn command_line(&self, path: &Path) -> Result<Vec<String>> {
        if self.command == "run" {
            bail!("{}: a scenario cannot run another one", path.display());
        }
        let mut line = vec!["darktower-load".to_owned(), self.command.clone()];
        for (name, value) in &self.options {
            match value {
                toml::Value::Boolean(true) => line.push(format!("--{name}")),
                toml::Value::Boolean(false) => {}
                toml::Value::String(text) => line.push(format!("--{name}={text}")),
                toml::Value::Integer(number) => line.push(format!("--{name}={number}")),
                toml::Value::Float(number) => line.push(format!("--{name}={number}")),
                other => bail!(
                    "{}: option {name} is a {}; give a text, a number, true or false",
                    path.display(),
                    other.type_str()
                ),
            }
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
    }

    #[test]
    fn every_scenario_of_the_repository_is_a_valid_command_with_a_source() {
        let mut count = 0;
        for file in fs::read_dir(folder()).unwrap() {
            let path = file.unwrap().path();
            let scenario = read(&path).unwrap();
            let line = scenario.command_line(&path).unwrap();
            if let Err(error) = Cli::try_parse_from(line) {
                panic!("{}: {error}", path.display());
            }
            assert!(fs::read_to_string(&path).unwrap().starts_with("# Source: "), "{}", path.display());
            count += 1;
        }
        assert!(count >= 6, "{count} scenarios");
    }

    #[test]
    fn options_of_the_command_line_win() {
        let args = RunArgs {
            file: folder().join("livekit-livestream.toml"),
            options: vec!["--subscribers".to_owned(), "7".to_owned()],
        };
        let Command::Fanout(fanout) = load(&args).unwrap().1 else { panic!("not fanout") };
        assert_eq!((fanout.subscribers, fanout.broadcast.publishers), (7, 1));
    }

    #[test]
    fn nonsense_is_refused() {
        let scenario = |text: &str| toml::from_str::<Scenario>(text).unwrap();
        let list = scenario("title = 'x'\ncommand = 'fanout'\n[options]\nfps = [1]");
        assert!(list.command_line(Path::new("x")).unwrap_err().to_string().contains("option fps"));
        let nested = scenario("title = 'x'\ncommand = 'run'");
        assert!(nested.command_line(Path::new("x")).is_err());
        assert!(toml::from_str::<Scenario>("title = 'x'\ncommand = 'fanout'\nseconds = 5").is_err());
    }
}
