//! What operators see: log lines ([`logs`]) and metrics ([`metrics`]).

pub mod logs;
pub mod metrics;
