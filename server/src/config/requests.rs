//! What is configurable about API requests: other sites that may make them, how many are answered, who is in between.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ConfigError, origin, range};

/// Origins of web pages, beside our own, that may use the API and open WebTransport sessions.
///
/// Cookies and the like play no part: the API knows its callers by the bearer tokens that they send themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    loopback: bool,
    listed: Vec<String>,
}

impl AllowedOrigins {
    /// Whether pages of `origin` may. `origin` is as browsers write it, for example `https://app.example.org`.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.any
            || self.listed.iter().any(|allowed| allowed == origin)
            || (self.loopback && is_loopback(origin))
    }

    /// Whether every page may.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any
    }
}

fn is_loopback(origin: &str) -> bool {
    let Some(("http" | "https", authority)) = origin.split_once("://") else { return false };
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CorsSettings {
    /// `https://HOST[:PORT]` list of web pages on other hosts that may use this API, or `*` for all of them. Default
    /// none; in development mode every page on this machine may. A page that may can do what its visitor's token allows.
    allowed_origins: Vec<String>,
}

impl CorsSettings {
    pub(super) fn check(self, dev: bool) -> Result<AllowedOrigins, ConfigError> {
        const KEY: &str = "cors.allowed_origins";
        let any = self.allowed_origins.iter().any(|origin| origin == "*");
        if any && dev {
            return Err(ConfigError::DevAnyOrigin);
        }
        let listed = self.allowed_origins.into_iter().filter(|origin| origin != "*");
        let listed = listed.map(|listed| origin(KEY, listed, true)).collect::<Result<_, ConfigError>>()?;
        Ok(AllowedOrigins { any, loopback: dev, listed })
    }
}

/// How often things may be asked for; 0 means as often as one likes. Whoever asks more often gets 429 with the time to
/// wait. Each is a bucket that refills evenly, so after a full burst there is room for the next request when its share
/// of the time has passed. One entry of some 50 bytes per client that was there lately, 100,000 entries per class at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Requests to the API in 60 s, per authenticated client, else per address (IPv6: per /64 network). Default 100.
    pub general: u32,
    /// Logins in 60 s, per address and account name. Default 5.
    pub login: u32,
    /// Accounts made in 3600 s, per address. Default 3.
    pub register: u32,
    /// Meetings made in 60 s, per organization or machine client. Default 10.
    pub meeting_create: u32,
    /// Join tokens in 60 s, per meeting. Default 30.
    pub meeting_join: u32,
    /// Guests that ask to join in 60 s, per meeting. Default 20.
    pub guest_join: u32,
    /// Guests that ask to join one meeting in 300 s, per address. Default 3. Guests behind one address share it.
    pub guest_join_per_address: u32,
    /// Requests with a wrong token or secret in 60 s, per address. Default 60.
    pub failed_auth: u32,
}

impl RateLimits {
    /// Nothing is limited.
    pub const OFF: Self = Self {
        general: 0,
        login: 0,
        register: 0,
        meeting_create: 0,
        meeting_join: 0,
        guest_join: 0,
        guest_join_per_address: 0,
        failed_auth: 0,
    };

    /// What is not configured: in development mode nothing is limited.
    pub(super) fn defaults(dev: bool) -> Self {
        if dev {
            return Self::OFF;
        }
        Self {
            general: 100,
            login: 5,
            register: 3,
            meeting_create: 10,
            meeting_join: 30,
            guest_join: 20,
            guest_join_per_address: 3,
            failed_auth: 60,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self {
            general,
            login,
            register,
            meeting_create,
            meeting_join,
            guest_join,
            guest_join_per_address,
            failed_auth,
        } = *self;
        let all = [
            ("rate_limits.general", general),
            ("rate_limits.login", login),
            ("rate_limits.register", register),
            ("rate_limits.meeting_create", meeting_create),
            ("rate_limits.meeting_join", meeting_join),
            ("rate_limits.guest_join", guest_join),
            ("rate_limits.guest_join_per_address", guest_join_per_address),
            ("rate_limits.failed_auth", failed_auth),
        ];
        all.into_iter().try_for_each(|(key, value)| range(key, value.into(), 0, 1_000_000))
    }
}

/// Proxies whose word about the client's address is believed, as `IP` or `IP/PREFIX`.
pub(super) fn trusted_proxies(listed: Vec<String>) -> Result<Vec<IpNet>, ConfigError> {
    let parse = |text: String| {
        let network = text.parse::<IpNet>().ok();
        network
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            .map(|network| network.trunc())
            .ok_or(ConfigError::Network { key: "trusted_proxies", value: text })
    };
    listed.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins_are_of_this_machine_whatever_their_port() {
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:1", "http://127.9.9.9:80"]
        {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in
            ["null", "http://localhost.example.org", "http://192.0.2.1", "ftp://localhost", "localhost"]
        {
            assert!(!is_loopback(origin), "{origin}");
        }
    }
}
