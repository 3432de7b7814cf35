//! Behaviour of the wire format: properties, byte-exact vectors, hostile input.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes_on_the_wire;
mod datagrams;
mod docs;
mod group_streams;
mod hostile_streams;
mod messages;
mod sequencing;
mod unit_streams;
mod vectors;
