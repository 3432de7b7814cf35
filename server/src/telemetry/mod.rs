//! What operators see: log lines ([`logs`]) and metrics ([`metrics`]).

pub(crate) mod histogram;
pub mod logs;
pub mod metrics;
