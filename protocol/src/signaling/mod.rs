//! Protobuf messages of signaling and of the media control stream, and their checked forms.
//!
//! The generated code is committed; `cargo test -p darktower-protocol --test generated` compares
//! it with `proto/` and rewrites it with `UPDATE_GENERATED=1`.

mod checked;
mod state;

/// Messages as prost generates them from `proto/darktower/v1`.
#[expect(missing_docs, clippy::all, reason = "generated; the documentation is in proto/")]
pub mod pb {
    include!("gen/darktower.v1.rs");
}

pub use checked::{Layer, MAX_LAYERS, StreamDescription, StreamError};
