//! Places for connections: so many in all, and for one client network a part of them, so that nobody can take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;

/// One client network may have this part of all places.
const PART_OF_ONE: usize = 4;

/// The places of one kind of connection. Clones share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// Behind these are many clients.
    proxies: Vec<IpNet>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    /// Whose part it is of; `None` of nobody's.
    network: Option<IpAddr>,
}

impl Places {
    /// `most` places. Of those behind `proxies`, and of this machine itself, everybody may take all.
    #[must_use]
    pub fn new(most: usize, proxies: &[IpNet]) -> Self {
        Self(Arc::new(Shared { most, proxies: proxies.to_vec(), taken: Mutex::default() }))
    }

    /// A place for a connection from `address`, if there is one.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let is_shared =
            address.is_loopback() || self.0.proxies.iter().any(|network| network.contains(&address));
        let network = (!is_shared).then(|| network(address));
        let mut taken = self.0.taken.lock().expect("no code panics while it holds this lock");
        if taken.all >= self.0.most {
            return None;
        }
        if let Some(network) = network {
            let its = taken.by_network.entry(network).or_default();
            // An entry that was just made is below every limit but 0.
            if *its >= (self.0.most / PART_OF_ONE).max(1) {
                return None;
            }
            *its += 1;
        }
        taken.all += 1;
        Some(Place { places: self.clone(), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().expect("no code panics while it holds this lock");
        taken.all -= 1;
        if let Some(network) = self.network
            && let Some(its) = taken.by_network.get_mut(&network)
        {
            *its -= 1;
            if *its == 0 {
                taken.by_network.remove(&network);
            }
        }
    }
}

/// The part of an address that one client can be expected to have for itself: of IPv6 the /64 network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_network_gets_a_part_and_proxies_get_all() {
        let places = Places::new(8, &["10.0.0.0/8".parse().expect("a network")]);
        let mut one: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|text| places.take(address(text))).into();
        assert!(one.iter().all(Option::is_some));
        assert!(places.take(address("2001:db8::3")).is_none(), "the same /64");
        let other = places.take(address("2001:db8:0:1::1"));
        assert!(other.is_some());
        one.pop();
        let again = places.take(address("2001:db8::3"));
        assert!(again.is_some(), "one was given back");
        let proxied: Vec<_> = (0..5).filter_map(|_| places.take(address("10.1.2.3"))).collect();
        assert_eq!(proxied.len(), 5);
        assert!(places.take(address("127.0.0.1")).is_none(), "all are taken");
        drop((one, other, again, proxied));
        let taken = places.0.taken.lock().expect("not poisoned");
        assert_eq!((taken.all, taken.by_network.len()), (0, 0));
    }
}
