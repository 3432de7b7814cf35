//! A bounded map that forgets what nobody asked for lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Keeps the most recently used entries: at least `half_len` of them, at most twice as many.
///
/// In two halves. What is used moves to the young one; when that is full it becomes the old one, and what was in the old
/// one is dropped. How old an entry may become is for its value to say.
pub(crate) struct Recent<K, V> {
    half_len: usize,
    halves: Mutex<Halves<K, V>>,
}

struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    pub(crate) fn new(half_len: usize) -> Self {
        Self { half_len, halves: Mutex::new(Halves { young: HashMap::new(), old: HashMap::new() }) }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = halves.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = halves.old.remove_entry(key)?;
        halves.put(self.half_len, key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.old.remove(&key);
        halves.put(self.half_len, key, value);
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.young.remove(key);
        halves.old.remove(key);
    }
}

impl<K: Eq + Hash, V> Halves<K, V> {
    fn put(&mut self, half_len: usize, key: K, value: V) {
        if self.young.len() >= half_len && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let recent = Recent::new(2);
        for number in 0..100 {
            recent.insert(number, number * 10);
            assert_eq!(recent.get(&0), Some(0), "asked for all the time");
            assert_eq!(recent.get(&number), Some(number * 10));
            let halves = recent.halves.lock().expect("not poisoned");
            assert!(halves.young.len() + halves.old.len() <= 4);
        }
        assert_eq!(recent.get(&50), None);
        recent.insert(0, 1);
        assert_eq!(recent.get(&0), Some(1), "the last value counts");
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
    }
}
