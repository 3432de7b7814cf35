//! The Dark Tower server: global controller, meeting controller and media handler in one process.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod admin;
pub mod auth;
pub mod certificate;
mod clock;
pub mod config;
pub mod global_controller;
pub mod media_handler;
pub mod meeting_controller;
pub mod private_file;
pub mod server;
mod shards;
pub mod storage;
pub mod telemetry;
pub mod transport;

pub use server::{Server, run};
