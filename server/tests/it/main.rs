//! The whole server, through its real sockets.
//!
//! | file | what it shows |
//! |---|---|
//! | `media_delivery.rs` | real clips arrive bit for bit, in every mode and over both transports; late joiners |
//! | `revocation.rs` | whoever is removed is out everywhere within a second, whoever asked for it |
//! | `sessions.rs` | session records, keep-alive, caps at the door, what a stopping server leaves |
//! | `hosts.rs` | host controls, waiting room, stage, presets, chat, and coming back after a lost connection |
//! | `auto.rs` | subscribing to the meeting: who speaks comes into view |
//! | `reconnect.rs` | paths that are cut: seen in time, and everything goes on; too long; a server that starts again |
//! | `meeting.rs` | join, roster, publish, subscribe, leave, replacement, shutdown |
//! | `admin.rs` | `darktower admin` on the data of a running server |
//! | `bad_input/` | hostile and broken clients get the documented code, and nobody else notices |
//! | `under_load.rs` | the same at once during a broadcast, slow subscribers, a server at its limit: the others lose nothing |
//! | `layers.rs` | simulcast on a path that becomes narrow and wide again |
//! | `http.rs` | the API over HTTP/1.1, HTTP/2 (curl) and HTTP/3: answers, CORS, compression, bounds |
//! | `http3.rs` | HTTP/3 by hand: oversized frames, resets, clients that die, draining |
//! | `rate_limits.rs` | limits as clients see them |
//! | `crash.rs` | what a store acknowledged is there after kill -9, of the server and of PostgreSQL |
//! | `metrics.rs` | what `/metrics` says after media has flowed, and that docs/metrics.md has all of it |
//! | `versions.rs` | clients of other versions of the protocol |
//! | `webtransport.rs` | WebTransport by hand: split headers, stalled streams, refusals |
//! | `shards.rs` | several shards behind one port: steering, address changes, streams across shards |
//! | `support/` | a server on free ports, raw clients, a broadcast that is accounted for |

mod admin;
mod auto;
mod bad_input;
mod crash;
mod hosts;
mod http;
mod http3;
mod layers;
mod media_delivery;
mod meeting;
mod metrics;
mod quality;
mod rate_limits;
mod reconnect;
mod revocation;
mod sessions;
mod shards;
mod support;
mod under_load;
mod versions;
mod webtransport;
