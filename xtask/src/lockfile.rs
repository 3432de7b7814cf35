//! Rules on the exact versions in the lock files.
//!
//! `deny.toml` has the same bans and more, but cargo-deny takes minutes to compile and is not on every machine. The versions
//! that open a known hole in what faces the network are therefore checked here too, everywhere, in no time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A crate that may be in the tree only from this version on.
const FLOORS: &[(&str, Version, &str)] = &[
    ("aws-lc-sys", Version(0, 39, 0), "RUSTSEC-2026-0044 to -0048: name constraints, PKCS7, CRL scope"),
    ("bytes", Version(1, 11, 1), "RUSTSEC-2026-0007: overflow in reserve"),
    ("h2", Version(0, 4, 16), "RUSTSEC-2026-0258: unbounded empty DATA frames; the 0.3 line was never fixed"),
    ("jsonwebtoken", Version(10, 3, 0), "CVE-2026-25537: exp or nbf of a wrong type is ignored"),
    ("libsqlite3-sys", Version(0, 25, 1), "RUSTSEC-2022-0090: bug in the bundled SQLite"),
    ("quinn", Version(0, 11, 12), "goes with quinn-proto 0.11.19"),
    ("quinn-proto", Version(0, 11, 19), "three remote memory exhaustions; 0.11.17 also breaks media streams"),
    ("ring", Version(0, 17, 12), "RUSTSEC-2025-0009: panic with overflow checks on, as ours are"),
    ("rustls", Version(0, 23, 45), "RUSTSEC-2026-0285: handshake messages across encryption levels"),
    (
        "rustls-webpki",
        Version(0, 103, 13),
        "RUSTSEC-2026-0049, -0098, -0099, -0104: CRLs and name constraints",
    ),
    ("sqlx", Version(0, 9, 0), "RUSTSEC-2024-0363, and 0.8 brings rsa"),
    ("time", Version(0, 3, 47), "RUSTSEC-2026-0009: stack exhaustion"),
    ("tokio", Version(1, 44, 2), "RUSTSEC-2025-0023: unsound broadcast channel"),
    ("tonic", Version(0, 14, 3), "the decode limit is ignored for compressed messages"),
    ("tracing-subscriber", Version(0, 3, 20), "RUSTSEC-2025-0055: terminal escapes in logs"),
];

/// A crate that may not be in the tree at all.
const BANNED: &[(&str, &str)] = &[
    ("native-tls", "rustls is the one TLS library"),
    ("openssl", "rustls is the one TLS library"),
    ("openssl-sys", "rustls is the one TLS library"),
    ("protobuf", "RUSTSEC-2024-0437; prost is the one protobuf library"),
    ("rsa", "RUSTSEC-2023-0071: timing leak without a fix"),
    ("rustls-pemfile", "RUSTSEC-2025-0134: unmaintained; rustls-pki-types reads PEM"),
];

/// A crate that may be in the tree in one version only: two would mean two configurations to keep safe.
const SINGLE: &[&str] = &["h2", "quinn", "quinn-proto", "rustls", "rustls-webpki"];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

#[derive(Debug, PartialEq)]
struct Package<'a> {
    name: &'a str,
    version: Version,
    /// None for a crate of this checkout.
    source: Option<&'a str>,
}

/// Fails with every rule that a lock file breaks.
pub(crate) fn check(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let packages = parse(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    let broken = violations(&packages);
    if !broken.is_empty() {
        bail!("{} breaks {} rule(s):\n  {}", path.display(), broken.len(), broken.join("\n  "));
    }
    eprintln!("lint: {}: {} packages keep the version rules", path.display(), packages.len());
    Ok(())
}

fn violations(packages: &[Package<'_>]) -> Vec<String> {
    let mut broken = Vec::new();
    for Package { name, version: found, source } in packages {
        let Version(major, minor, patch) = found;
        if let Some((_, floor, reason)) = FLOORS.iter().find(|(crate_name, ..)| crate_name == name)
            && found < floor
        {
            broken.push(format!(
                "{name} {major}.{minor}.{patch} is older than {}.{}.{}: {reason}",
                floor.0, floor.1, floor.2
            ));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(crate_name, _)| crate_name == name) {
            broken.push(format!("{name} is banned: {reason}"));
        }
        if let Some(source) = source.filter(|source| *source != REGISTRY) {
            broken.push(format!("{name} comes from {source}, not from the public registry"));
        }
    }
    for name in SINGLE {
        let count = packages.iter().filter(|package| package.name == *name).count();
        if count > 1 {
            broken.push(format!("{count} versions of {name}, where one is allowed"));
        }
    }
    broken
}

/// Reads cargo's lock file, which cargo always writes one `key = "value"` a line.
fn parse(text: &str) -> Result<Vec<Package<'_>>> {
    let mut packages = Vec::new();
    for block in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let name = value("name").context("a package without a name")?;
        let version =
            value("version").and_then(parse_version).with_context(|| format!("no version of {name}"))?;
        packages.push(Package { name, version, source: value("source") });
    }
    if packages.is_empty() {
        bail!("no package in it");
    }
    Ok(packages)
}

/// Reads `major.minor.patch`, without regard to what follows.
fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.split(['-', '+']).next()?.split('.').map(|number| number.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_registry(name: &'static str, version: &str) -> Package<'static> {
        Package { name, version: parse_version(version).unwrap(), source: Some(REGISTRY) }
    }

    #[test]
    fn reads_what_cargo_writes() {
        let text = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"h2\",\n]\n\n\
                    [[package]]\nname = \"h2\"\nversion = \"0.4.20+meta\"\n\
                    source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let packages = parse(text).unwrap();
        assert_eq!(packages[0], Package { name: "ours", version: Version(0, 1, 0), source: None });
        assert_eq!(packages[1], of_registry("h2", "0.4.20"));
        assert!(parse("").is_err());
    }

    #[test]
    fn each_rule_catches_its_case() {
        let caught = |packages: &[Package<'_>]| violations(packages).join("\n");
        assert_eq!(caught(&[of_registry("quinn-proto", "0.11.19"), of_registry("rustls", "0.23.46")]), "");
        assert!(caught(&[of_registry("quinn-proto", "0.11.17")]).contains("older than 0.11.19"));
        assert!(caught(&[of_registry("h2", "0.3.27")]).contains("older than 0.4.16"));
        assert!(caught(&[of_registry("rsa", "0.9.8")]).contains("banned"));
        assert!(
            caught(&[of_registry("rustls", "0.23.46"), of_registry("rustls", "0.24.0")])
                .contains("2 versions")
        );
        let foreign =
            Package { source: Some("git+https://example.org/bytes"), ..of_registry("bytes", "1.11.1") };
        assert!(caught(&[foreign]).contains("not from the public registry"));
    }

    #[test]
    fn the_lock_file_of_the_workspace_keeps_the_rules() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).unwrap();
    }
}
