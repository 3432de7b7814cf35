//! Who is who: join tokens for participants, access tokens and refresh tokens for users and machine clients, passwords.
//!
//! Tokens are JWTs signed with the Ed25519 keys of this deployment ([`keys`]). A token travels in message bodies and headers,
//! never in a URL, and no error message repeats it.

pub mod keys;
pub mod password;
pub(crate) mod recent;
pub mod secret;
mod token;

pub use keys::TokenKeyError;
pub use token::{AccessClaims, JOIN_TOKEN_LIFETIME, JoinClaims, Subject, TokenError, TokenService};
