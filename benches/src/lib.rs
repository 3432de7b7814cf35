//! Benches of Dark Tower; they are in `benches/`. `cargo bench -p darktower-benches` runs them.
