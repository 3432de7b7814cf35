//! Has the server compiled again when the meeting app was built anew: release builds hold its files.

use std::path::Path;

/// Where Vite puts the app, and the folder that is there in any case.
const DIST: &str = "../client-sdk/web/app/dist";
const APP: &str = "../client-sdk/web/app";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    match Path::new(DIST).is_dir() {
        // Programs with debug assertions read the folder while they run.
        true if !is_release => {}
        true => println!("cargo::rerun-if-changed={DIST}"),
        // Without the folder not even its place is compiled in. A path that is not there would count as changed each time.
        false => println!("cargo::rerun-if-changed={APP}"),
    }
}
