//! The store against a simple model, at its limits, and under many threads. Time is moved by hand.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const SMALL: Limits = Limits { entries_max: 20, bytes_max: 400, key_bytes_max: 16, value_bytes_max: 100 };

struct Fixture {
    store: ShardedStore,
    elapsed_seconds: Arc<AtomicU64>,
}

fn with_limits(limits: Limits) -> Fixture {
    let (start, elapsed_seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let elapsed = Arc::clone(&elapsed_seconds);
    let clock = move || start + Duration::from_secs(elapsed.load(Ordering::SeqCst));
    Fixture { store: ShardedStore::new(limits, Box::new(clock)), elapsed_seconds }
}

impl Fixture {
    fn set(&self, key: &str, value: &str) -> Result<u64, MemoryError> {
        self.store.set(key, json(value), None, None, None)
    }

    fn set_for(&self, key: &str, value: &str, seconds: u64) -> Result<u64, MemoryError> {
        self.store.set(key, json(value), Some(Duration::from_secs(seconds)), None, None)
    }

    fn value(&self, key: &str) -> Option<String> {
        self.store.get(key).map(|found| found.value.get().to_owned())
    }

    fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let page = self.store.list(prefix, after, limit);
        (page.lines.iter().map(|line| line.key.to_string()).collect(), page.has_more)
    }

    fn advance(&self, seconds: u64) {
        self.elapsed_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The tables of every shard agree, and the books show what they hold.
    fn check(&self) {
        let mut sum = (0, 0);
        for slot in &self.store.slots {
            let (entries, bytes) = slot.shard.read().check_invariants();
            sum = (sum.0 + entries, sum.1 + bytes);
        }
        let books = &self.store.books;
        assert_eq!((books.entry_count(), books.bytes()), sum);
        assert!(sum.0 <= books.limits().entries_max && sum.1 <= books.limits().bytes_max);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

fn json(text: &str) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(text.to_owned()).unwrap())
}

#[test]
fn the_last_write_is_read() {
    let map = with_limits(SMALL);
    assert_eq!(map.set("a", "1"), Ok(1));
    assert_eq!(map.set("a", "2"), Ok(2));
    assert_eq!(map.value("a").as_deref(), Some("2"));
    assert_eq!(map.store.delete("a", None), Ok(true));
    assert_eq!(map.store.delete("a", None), Ok(false));
    assert_eq!(map.value("a"), None);
}

#[test]
fn a_version_is_never_used_again() {
    let map = with_limits(SMALL);
    let first = map.set("a", "1").unwrap();
    map.store.delete("a", None).unwrap();
    let second = map.set("a", "1").unwrap();
    assert!(second > first);
    let stale = map.store.set("a", json("2"), None, Some(first), None);
    assert_eq!(stale, Err(MemoryError::VersionMismatch { current: second, expected: first }));
}

#[test]
fn a_condition_on_the_version_decides() {
    let map = with_limits(SMALL);
    let create = || map.store.set("a", json("1"), None, Some(0), None);
    let version = create().unwrap();
    assert_eq!(create(), Err(MemoryError::VersionMismatch { current: version, expected: 0 }));
    let next = map.store.set("a", json("2"), None, Some(version), None).unwrap();
    let stale = map.store.delete("a", Some(version));
    assert_eq!(stale, Err(MemoryError::VersionMismatch { current: next, expected: version }));
    assert_eq!(map.store.delete("a", Some(next)), Ok(true));
    let gone = map.store.delete("a", Some(next));
    assert_eq!(gone, Err(MemoryError::VersionMismatch { current: 0, expected: next }));
}

#[test]
fn an_expired_entry_is_invisible_at_once() {
    let map = with_limits(SMALL);
    let version = map.set_for("a", "1", 10).unwrap();
    map.advance(4);
    assert_eq!(map.store.get("a").unwrap().expires_in, Some(Duration::from_secs(6)));
    map.advance(6);
    assert_eq!(map.value("a"), None);
    assert_eq!(map.keys("", None, 10), (vec![], false));
    assert_eq!(map.store.list("", None, 10).entry_count, 0);
    assert_eq!(map.store.usage().entry_count, 0);
    assert!(map.store.set("a", json("2"), None, Some(version), None).is_err(), "it is not there to be replaced");
    assert!(map.store.set("a", json("2"), None, Some(0), None).is_ok());
}

#[test]
fn a_new_value_has_a_new_time_to_live() {
    let map = with_limits(SMALL);
    map.set_for("a", "1", 10).unwrap();
    map.set_for("b", "1", 10).unwrap();
    map.set_for("a", "2", 30).unwrap();
    map.set("b", "2").unwrap();
    map.advance(20);
    assert_eq!(map.value("a").as_deref(), Some("2"));
    assert_eq!(map.store.get("b").unwrap().expires_in, None);
    map.check();
}

#[test]
fn a_full_store_refuses_new_keys_and_overwrites_old_ones() {
    let map = with_limits(SMALL);
    for n in 0..20 {
        map.set(&format!("k{n}"), "1").unwrap();
    }
    assert_eq!(map.set("one more", "1"), Err(MemoryError::EntriesFull(20)));
    assert!(map.set("k7", "22").is_ok());
    map.store.delete("k3", None).unwrap();
    assert!(map.set("one more", "1").is_ok());
}

#[test]
fn bytes_are_limited_and_given_back() {
    let map = with_limits(SMALL);
    // With its key of two bytes each takes 100 of the 400.
    let long = "1".repeat(98);
    for key in ["k0", "k1", "k2", "k3"] {
        map.set(key, &long).unwrap();
    }
    assert_eq!(map.set("k4", "1"), Err(MemoryError::BytesFull { bytes: 3, max: 400 }));
    assert_eq!(map.set("k0", &"1".repeat(99)), Err(MemoryError::BytesFull { bytes: 1, max: 400 }));
    map.set("k0", &long).unwrap();
    map.set("k0", "1").unwrap();
    map.set("k4", "1").unwrap();
}

#[test]
fn keys_and_values_have_a_largest_size() {
    let map = with_limits(SMALL);
    assert_eq!(map.set(&"k".repeat(17), "1"), Err(MemoryError::KeyTooLong { bytes: 17, max: 16 }));
    assert_eq!(map.set("k", &"1".repeat(101)), Err(MemoryError::ValueTooLarge { bytes: 101, max: 100 }));
    assert!(map.set(&"k".repeat(16), &"1".repeat(100)).is_ok());
}

#[test]
fn expired_entries_make_room_wherever_they_are() {
    let map = with_limits(Limits { entries_max: 500, bytes_max: 100_000, ..SMALL });
    for n in 0..500 {
        map.set_for(&format!("k{n}"), "1", 10).unwrap();
    }
    assert_eq!(map.set("new", "1"), Err(MemoryError::EntriesFull(500)));
    map.advance(10);
    for n in 0..500 {
        map.set(&format!("new{n}"), "1").unwrap();
        map.check();
    }
}

#[test]
fn a_write_takes_back_the_memory_of_what_has_expired() {
    let map = with_limits(Limits { entries_max: 1000, bytes_max: 100_000, ..SMALL });
    for n in 0..200 {
        map.set_for(&format!("k{n}"), "1", 10).unwrap();
    }
    map.advance(10);
    for n in 0..600 {
        map.set(&format!("n{}", n % 100), "1").unwrap();
    }
    assert_eq!(map.store.books.entry_count(), 100, "without anybody being short of room");
}

#[test]
fn pages_are_stable_while_keys_come_and_go() {
    let map = with_limits(SMALL);
    for key in ["a1", "a2", "a3", "a4", "b1"] {
        map.set(key, "1").unwrap();
    }
    assert_eq!(map.keys("a", None, 2), (vec!["a1".to_owned(), "a2".to_owned()], true));
    map.store.delete("a2", None).unwrap();
    map.set("a0", "1").unwrap();
    map.set("a35", "1").unwrap();
    assert_eq!(map.keys("a", Some("a2"), 2), (vec!["a3".to_owned(), "a35".to_owned()], true));
    assert_eq!(map.keys("a", Some("a35"), 2), (vec!["a4".to_owned()], false));
    assert_eq!(map.keys("a", Some("a4"), 2), (vec![], false));
    assert_eq!(map.keys("b", Some("a"), 2), (vec!["b1".to_owned()], false));
    assert_eq!(map.keys("", None, 100).0.len(), 6);
}

#[test]
fn pages_of_any_size_hold_all_keys_in_order() {
    let map = with_limits(Limits { entries_max: 5000, bytes_max: 1 << 20, ..SMALL });
    let mut expected: Vec<String> = (0..3000).map(|n| format!("k{n}")).collect();
    for key in &expected {
        map.set(key, "1").unwrap();
    }
    expected.sort();
    for limit in [1, 7, 100, 1000, 4000] {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (keys, has_more) = map.keys("k", seen.last().map(String::as_str), limit);
            assert!(keys.len() == limit || !has_more, "a page is full unless it is the last");
            seen.extend(keys);
            if !has_more {
                break;
            }
        }
        assert_eq!(seen, expected, "with pages of {limit}");
    }
}

#[test]
fn a_page_of_long_keys_ends_early() {
    let map = with_limits(Limits { entries_max: 100, bytes_max: 1 << 30, key_bytes_max: 1 << 19, value_bytes_max: 10 });
    for n in 0..5 {
        map.set(&format!("{n}{}", "k".repeat(400_000)), "1").unwrap();
    }
    let (keys, has_more) = map.keys("", None, 1000);
    assert_eq!((keys.len(), has_more), (2, true));
}

#[test]
fn random_operations_agree_with_a_simple_model() {
    let map = with_limits(SMALL);
    // Key to value, version and the second at which it expires.
    let mut model: BTreeMap<String, (String, u64, Option<u64>)> = BTreeMap::new();
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for step in 0..20_000 {
        let key = format!("k{}", random(40));
        let now = map.elapsed_seconds.load(Ordering::SeqCst);
        model.retain(|_, (_, _, expires)| expires.is_none_or(|second| second > now));
        let current = model.get(&key).map_or(0, |(_, version, _)| *version);
        match random(10) {
            0..=3 => {
                let value = "1".repeat(1 + random(60) as usize);
                let seconds = (random(2) == 0).then(|| 1 + random(20));
                let if_version = (random(4) == 0).then_some(current);
                let used: usize = model.iter().map(|(key, (value, ..))| key.len() + value.len()).sum();
                let old = model.get(&key).map_or(0, |(value, ..)| key.len() + value.len());
                let fits = (model.contains_key(&key) || model.len() < 20)
                    && (used - old + key.len() + value.len() <= 400 || key.len() + value.len() <= old);
                let result = map.store.set(&key, json(&value), seconds.map(Duration::from_secs), if_version, None);
                assert_eq!(result.is_ok(), fits, "step {step}: {result:?}");
                if let Ok(version) = result {
                    model.insert(key, (value, version, seconds.map(|seconds| now + seconds)));
                }
            }
            4..=5 => assert_eq!(map.value(&key), model.get(&key).map(|(value, ..)| value.clone())),
            6 => assert_eq!(map.store.delete(&key, None), Ok(model.remove(&key).is_some())),
            7 => assert!(map.store.delete(&key, Some(current + 1)).is_err()),
            8 => {
                let expected: Vec<String> = model.keys().cloned().collect();
                assert_eq!(map.keys("", None, 1000), (expected, false));
                assert_eq!(map.store.usage().entry_count, model.len());
            }
            _ => map.advance(random(3)),
        }
        map.check();
    }
}

#[test]
fn the_books_balance_after_many_threads() {
    let map = with_limits(Limits { entries_max: 50, bytes_max: 2000, ..SMALL });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let map = &map;
            scope.spawn(move || {
                let mut written = 0;
                for n in 0..5000_u64 {
                    let key = format!("k{}", (n * 7 + thread * 13) % 80);
                    match n % 5 {
                        0 | 1 => {
                            if let Ok(version) = map.set(&key, &"1".repeat(1 + (n % 90) as usize)) {
                                assert!(version > written, "versions rise");
                                written = version;
                            }
                        }
                        2 => drop(map.set_for(&key, "1", 1 + n % 3)),
                        3 => drop(map.store.delete(&key, None)),
                        _ => {
                            map.value(&key);
                            map.keys("k1", None, 5);
                        }
                    }
                    if n % 100 == 0 {
                        map.advance(1);
                    }
                }
            });
        }
    });
    map.check();
}
