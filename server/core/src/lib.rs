//! The decisions of Dark Tower as pure state machines: what happens in a [`meeting`], which [`media`] units go to whom
//! and when, who may do what ([`access`], [`preset`]). No runtime, no socket, no clock, no database: time is an
//! argument, effects are returned values, and the server's IO shell performs them.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::disallowed_methods))]

pub mod access;
pub mod media;
pub mod meeting;
pub mod named;
pub mod preset;
