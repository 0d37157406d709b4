//! Compiled code that is kept, up to a number of bytes; what was not used for the longest time goes first.

use std::collections::HashMap;

/// Values by a key, with a weight each.
pub(crate) struct Cache<T> {
    entries: HashMap<String, Entry<T>>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

struct Entry<T> {
    value: T,
    bytes: usize,
    last_use: u64,
}

impl<T: Clone> Cache<T> {
    pub(crate) fn new(bytes_max: usize) -> Cache<T> {
        Cache { entries: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<T> {
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        entry.last_use = self.uses;
        Some(entry.value.clone())
    }

    /// Keeps a value, and as many others as there is room for beside it.
    pub(crate) fn put(&mut self, key: &str, value: T, bytes: usize) {
        self.uses += 1;
        let entry = Entry { value, bytes, last_use: self.uses };
        self.bytes += bytes;
        if let Some(former) = self.entries.insert(key.to_owned(), entry) {
            self.bytes -= former.bytes;
        }
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| key.clone());
            let Some(removed) = oldest.and_then(|key| self.entries.remove(&key)) else { break };
            self.bytes -= removed.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_the_longest_time_goes_first() {
        let mut cache = Cache::new(10);
        cache.put("a", 1, 4);
        cache.put("b", 2, 4);
        assert_eq!(cache.get("a"), Some(1));
        cache.put("c", 3, 4);
        assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(1), None, Some(3)));
    }

    #[test]
    fn one_that_is_larger_than_the_whole_is_kept_alone() {
        let mut cache = Cache::new(10);
        cache.put("a", 1, 4);
        cache.put("b", 2, 40);
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(2)));
        cache.put("b", 3, 4);
        assert_eq!((cache.get("b"), cache.bytes), (Some(3), 4));
    }
}
