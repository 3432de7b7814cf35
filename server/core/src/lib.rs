//! The decisions of Dark Tower as pure state machines: what happens in a [`meeting`], and which
//! [`media`] units go to whom and when. No runtime, no socket, no clock, no database: time is an
//! argument, effects are returned values, and the server's IO shell performs them.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::disallowed_methods))]

pub mod media;
pub mod meeting;
