//! Secrets that are drawn at random and shown once: refresh tokens, setup secrets, secrets of machine clients.
//!
//! Only their SHA-256 is kept. That is enough for 256 random bits: there is nothing to guess, so nothing to slow down.

use std::fmt;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::storage::model::SecretHash;

/// Longest text that is looked at; ours are 47 characters.
const MAX_LEN: usize = 128;

/// The random source of the system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoRandomness;

/// What a secret is for. It shows in the first letters, so that people and scanners of leaked secrets know one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Gets the next access token: `dtr_`.
    Refresh,
    /// Proves a machine client: `dts_`.
    Client,
    /// Makes the owner of an organization, or sets a user's password: `dto_`.
    Setup,
}

/// A secret in clear, on its way to who may have it.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeSecret(String);

impl OneTimeSecret {
    /// Draws 32 random bytes.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn draw(kind: SecretKind) -> Result<Self, NoRandomness> {
        let prefix = match kind {
            SecretKind::Refresh => "dtr_",
            SecretKind::Client => "dts_",
            SecretKind::Setup => "dto_",
        };
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text to hand over.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        hash_secret(&self.0)
    }
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret(..)")
    }
}

/// What is kept of a secret. A text that is too long to be one gets the hash of its beginning, which nothing has.
#[must_use]
pub fn hash_secret(text: &str) -> SecretHash {
    let bytes = text.as_bytes();
    Sha256::digest(bytes.get(..MAX_LEN).unwrap_or(bytes)).into()
}

/// Whether two hashes are equal, in a time that does not depend on them.
#[must_use]
pub fn same_hash(left: &SecretHash, right: &SecretHash) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_say_what_they_are_and_never_show_in_debug_output() {
        let one = OneTimeSecret::draw(SecretKind::Client).expect("randomness");
        let two = OneTimeSecret::draw(SecretKind::Client).expect("randomness");
        assert_ne!(one, two);
        assert!(one.expose().starts_with("dts_") && one.expose().len() == 47, "{}", one.expose().len());
        assert_eq!(format!("{one:?}"), "OneTimeSecret(..)");
        assert!(same_hash(&one.hash(), &hash_secret(one.expose())));
        assert!(!same_hash(&one.hash(), &two.hash()));
        let long = "x".repeat(MAX_LEN * 100);
        assert_ne!(hash_secret(&long), hash_secret("x"));
    }
}
