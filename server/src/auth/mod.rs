//! Who may do what: join tokens for participants, access tokens for machine clients.
//!
//! Tokens are JWTs signed with one Ed25519 key of this deployment. A token travels in message bodies and headers, never
//! in a URL, and no error message repeats it.

mod token;

pub use token::{
    ACCESS_TOKEN_LIFETIME, AccessClaims, JOIN_TOKEN_LIFETIME, JoinClaims, TokenError, TokenKeyError,
    TokenService,
};
