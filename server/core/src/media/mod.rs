//! Delivery of media: the recent units of a stream ([`StreamRing`]), what one subscriber is sent of them
//! ([`Delivery`]), which layer that is ([`LayerControl`]), the order in which all subscribers of a shard are served
//! ([`fanout`]), how often a publisher is asked for key frames ([`KeyFrameLimiter`]), which layers it need not send
//! ([`LayerDemand`]), and what has come of it ([`IngressMeter`]). The policy is docs/protocol.md 6.5 and 6.6.

mod delivery;
mod demand;
pub mod fanout;
mod key_frame;
mod layers;
mod meter;
mod ring;

pub use delivery::{Delivery, DeliveryCounters, DeliveryPolicy, GroupStart, MediaKind, Step};
pub use demand::LayerDemand;
pub use key_frame::KeyFrameLimiter;
pub use layers::{LayerControl, LayerPolicy, LayerWish};
pub use meter::{IngressCount, IngressMeter};
pub use ring::{RingLimits, RingUnit, StreamRing};
