//! Who is limited: keys of fixed size, and a bound on how many are remembered.

use std::hash::{BuildHasher as _, Hash, RandomState};

use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};

/// Keys of one class. Past it, newcomers share one entry until others are forgotten: they limit each other, but nobody
/// makes the server run out of memory.
pub(super) const MAX_KEYS: usize = 100_000;

/// A digest of what identifies a client: names of any length cost the same, and are not kept.
pub(super) type Key = u128;

/// Makes keys. Its secrets are random, so nobody can choose names that collide.
#[derive(Debug, Default)]
pub(super) struct KeyHasher([RandomState; 2]);

impl KeyHasher {
    pub(super) fn key(&self, identity: impl Hash) -> Key {
        let [high, low] = &self.0;
        u128::from(high.hash_one(&identity)) << 64 | u128::from(low.hash_one(&identity))
    }
}

/// The states of at most [`MAX_KEYS`] keys, and one for all others together.
#[derive(Debug, Default)]
pub(super) struct BoundedKeys {
    known: DashMapStateStore<Key>,
    others: InMemoryState,
}

impl StateStore for BoundedKeys {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if !self.known.contains_key(key) && self.known.len() >= MAX_KEYS {
            return self.others.measure_and_replace(&NotKeyed::NonKey, f);
        }
        self.known.measure_and_replace(key, f)
    }
}

impl ShrinkableKeyedStateStore<Key> for BoundedKeys {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
