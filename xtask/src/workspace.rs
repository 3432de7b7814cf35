//! Where things are in the checkout.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The checkout that this xtask works on.
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: `<root>/target` unless the developer moved it.
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout from cargo's own variables.
    pub(crate) fn find() -> Result<Self> {
        // At run time first: a shared target folder may hold an xtask that another checkout compiled.
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().context("xtask's folder has no parent")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A cargo command in the root of the checkout.
    ///
    /// Variables that `cargo run` set for xtask itself are taken out: build scripts that watch them would run again, and
    /// half the workspace be rebuilt, each time xtask and a plain cargo command take turns.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_set_by_cargo_run) {
                cargo.env_remove(name);
            }
        }
        cargo
    }

    /// A program of the workspace, as built in the dev profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// An example of the workspace, as built in the dev profile.
    pub(crate) fn example(&self, name: &str) -> PathBuf {
        self.target.join("debug/examples").join(name)
    }

    /// A program of the workspace, as built in the release profile.
    pub(crate) fn release_program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where the tests look for clips when `DARKTOWER_MEDIA_DIR` is not set.
    pub(crate) fn media_dir(&self) -> PathBuf {
        self.root.join("target/media")
    }

    /// The fuzz crate, outside the workspace.
    pub(crate) fn fuzz_dir(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// Target folder of the instrumented fuzz build.
    pub(crate) fn fuzz_target_dir(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// Where `cargo xtask contract` keeps its Python packages.
    pub(crate) fn contract_dir(&self) -> PathBuf {
        self.target.join("contract")
    }

    /// The npm workspace of browser SDK, meeting app and browser tests.
    pub(crate) fn web_dir(&self) -> PathBuf {
        self.root.join("client-sdk/web")
    }

    /// README.md.
    pub(crate) fn readme(&self) -> PathBuf {
        self.root.join("README.md")
    }

    /// `path` as a person in the root folder would type it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

fn is_set_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_developer_reach_cargo() {
        assert!(is_set_by_cargo_run("CARGO_PKG_VERSION_MAJOR"));
        assert!(is_set_by_cargo_run("CARGO_MANIFEST_DIR"));
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR"] {
            assert!(!is_set_by_cargo_run(kept), "{kept}");
        }
    }
}
