//! Where a request comes from, as far as it can be believed.

use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::network;
use crate::global_controller::ApiState;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client that made a request. As a key it stands for the client's network ([`network`]).
#[derive(Clone, Copy, Debug)]
pub(in crate::global_controller) struct ClientAddress(pub(in crate::global_controller) IpAddr);

impl ClientAddress {
    /// What [`find_client_address`] found.
    pub(in crate::global_controller) fn of(parts: &Parts) -> Self {
        // Every server tells the address of the connection; without one all clients count as the same.
        parts.extensions.get().copied().unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl Hash for ClientAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        network(self.0).hash(state);
    }
}

/// Leaves the [`ClientAddress`] with the request: the connection's, or what trusted proxies say.
pub(in crate::global_controller) fn find_client_address(state: &ApiState, request: &mut Request) {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let address = client_address(peer.ip(), request.headers(), &state.0.config.trusted_proxies);
        request.extensions_mut().insert(ClientAddress(address));
    }
}

/// The last address on the way that is no trusted proxy. What stands before it, anybody may have written.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(peer) {
        return peer;
    }
    let last = |way: Vec<Option<IpAddr>>| {
        let mut nearest = peer;
        for address in way.into_iter().rev() {
            // A proxy that hides or garbles an address is as far as we know.
            let Some(address) = address else { return nearest };
            nearest = address.to_canonical();
            if !is_trusted(nearest) {
                return nearest;
            }
        }
        nearest
    };
    let x_forwarded_for = way(headers, &X_FORWARDED_FOR, parse_node);
    let forwarded = way(headers, &FORWARDED, |entry| {
        let pairs = entry.split(';').filter_map(|pair| pair.split_once('='));
        let node = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1;
        parse_node(node.trim().trim_matches('"'))
    });
    match (x_forwarded_for, forwarded) {
        (None, None) => peer,
        (Some(way), None) | (None, Some(way)) => last(way),
        // A proxy writes one of them. The other is the client's, and there is no telling which.
        (Some(one), Some(other)) => {
            let (one, other) = (last(one), last(other));
            if one == other { one } else { peer }
        }
    }
}

/// The entries of all headers of this name, in order; `None` if there is none.
fn way(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<IpAddr>,
) -> Option<Vec<Option<IpAddr>>> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    Some(lines.flat_map(|line| line.split(',')).map(|entry| parse(entry.trim())).collect())
}

/// An address, alone or with a port (RFC 7239 section 6).
fn parse_node(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    node.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        client_address(peer.parse().expect("an address"), &map, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let spoofed = [("x-forwarded-for", "198.51.100.1")];
        assert_eq!(found("203.0.113.9", &spoofed), "203.0.113.9");
        assert_eq!(found("10.1.2.3", &spoofed), "198.51.100.1");
        assert_eq!(found("::ffff:10.1.2.3", &spoofed), "198.51.100.1");
        assert_eq!(found("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn the_last_untrusted_address_counts() {
        let table = [
            ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
            ("10.0.0.9, 10.0.0.7", "10.0.0.9"),
            ("198.51.100.1, garbage, 10.0.0.7", "10.0.0.7"),
            ("198.51.100.1, garbage", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("203.0.113.9:1234", "203.0.113.9"),
            ("", "10.1.2.3"),
        ];
        for (value, expected) in table {
            assert_eq!(found("10.1.2.3", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        let two = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9, fd00::1")];
        assert_eq!(found("fd00::2", &two), "203.0.113.9");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        let forwarded =
            [("forwarded", "for=198.51.100.1;proto=http, proto=https;For=\"[2001:db8::1]:4711\"")];
        assert_eq!(found("10.1.2.3", &forwarded), "2001:db8::1");
        assert_eq!(found("10.1.2.3", &[("forwarded", "for=unknown")]), "10.1.2.3");
        assert_eq!(found("10.1.2.3", &[("forwarded", "for=_hidden, for=10.0.0.7")]), "10.0.0.7");
    }

    #[test]
    fn headers_that_contradict_each_other_say_nothing() {
        let both = |other| [("x-forwarded-for", "198.51.100.1"), ("forwarded", other)];
        assert_eq!(found("10.1.2.3", &both("for=203.0.113.9")), "10.1.2.3");
        assert_eq!(found("10.1.2.3", &both("for=198.51.100.1")), "198.51.100.1");
    }
}
