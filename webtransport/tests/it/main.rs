//! Sessions between two sockets of this process, and against a peer written by hand.

mod closing;
mod support;
