//! Delivery of media: the recent units of a stream ([`StreamRing`]), what one subscriber is sent of them
//! ([`Delivery`]), which layer that is ([`LayerControl`]), the order in which all subscribers of a shard are served
//! ([`fanout`]), and how often a publisher is asked for key frames ([`KeyFrameLimiter`]). The policy is
//! docs/protocol.md 6.6.

mod delivery;
pub mod fanout;
mod key_frame;
mod layers;
mod ring;

pub use delivery::{Delivery, DeliveryCounters, DeliveryPolicy, GroupStart, MediaKind, Step};
pub use key_frame::KeyFrameLimiter;
pub use layers::{LayerControl, LayerPolicy, LayerWish};
pub use ring::{RingLimits, RingUnit, StreamRing};
