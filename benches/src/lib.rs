//! Load tester and benches of Dark Tower.
//!
//! * `darktower-load` (src/bin/darktower-load/) loads a server from outside, checks every unit and prints what it cost.
//! * `naive-fanout` (src/bin/naive_fanout.rs) is the server that costs are compared with.
//! * `benches/` holds the criterion benches; `cargo bench -p darktower-benches --benches` runs them.
//!
//! This library is what the two programs share.

pub mod naive;
