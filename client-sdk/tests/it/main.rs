//! The SDK over real sockets. The server of these tests is a mirror that knows just enough of the
//! protocol; the tests against the real server are in `server/tests`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod meeting;
mod mirror;
mod reconnect;
mod transport;
mod versions;
