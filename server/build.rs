//! Has the server compiled again when the meeting app was built anew: release builds hold its files.

use std::path::Path;

/// Where Vite puts the app, and the folder that is there in any case.
const DIST: &str = "../client-sdk/web/app/dist";
const APP: &str = "../client-sdk/web/app";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Programs with debug assertions read the folder while they run.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        // A path that is not there would count as changed each time.
        let watched = if Path::new(DIST).is_dir() { DIST } else { APP };
        println!("cargo::rerun-if-changed={watched}");
    }
}
