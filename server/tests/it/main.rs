//! The whole server, through its real sockets.
//!
//! | file | what it shows |
//! |---|---|
//! | `media_delivery.rs` | real clips arrive bit for bit, in every mode and over both transports; late joiners |
//! | `meeting.rs` | join, roster, publish, subscribe, leave, replacement, shutdown |
//! | `bad_input.rs` | hostile and broken clients get the documented code, and nobody else notices |
//! | `webtransport.rs` | WebTransport by hand: split headers, stalled streams, refusals |
//! | `shards.rs` | several shards behind one port: steering, address changes, streams across shards |
//! | `support/` | a server on free ports, raw clients, clips |

mod bad_input;
mod media_delivery;
mod meeting;
mod shards;
mod support;
mod webtransport;
