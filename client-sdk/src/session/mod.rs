//! The state of a meeting as a client sees it. No IO, no runtime, no clock: time is an argument.
//!
//! | module | what is in it |
//! |---|---|
//! | [`roster`] | participants and streams, kept by the server's events |
//! | [`standing`] | this session's own rights and state, and the meeting's |
//! | [`event`] | what applications are told |
//! | [`requests`] | which answer belongs to which request; events without gaps |
//! | [`reconnect`] | when to try to connect again |
//! | [`inbox`] | units of one subscription between network and reader |
//! | [`frame`] | units put together to frames |
//! | [`losses`] | what is lost of streams, as the server is told |
//! | [`statistics`] | counters, rates, latencies |
//! | [`clock`] | the server's clock seen from here |

pub(crate) mod clock;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod inbox;
pub(crate) mod losses;
pub(crate) mod reconnect;
pub(crate) mod requests;
pub(crate) mod roster;
pub(crate) mod standing;
pub(crate) mod statistics;
