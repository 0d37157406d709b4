//! The store against a model that is too simple to be wrong, and the rules of leases one by one.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        entries_max: 4,
        bytes_max: 60,
        value_bytes_max: 20,
        time_to_live: 100 * SECOND,
        lease_time: 10 * SECOND,
        waiting_max: 3,
    }
}

fn value(text: &str) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(text.to_owned()).unwrap())
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Found(value) => value.get().to_owned(),
        Answer::Missed(Some(_)) => "lease".to_owned(),
        Answer::Missed(None) => "missed".to_owned(),
    }
}

/// Looks up and waits; what was answered at once, or the number of the wait.
fn ask(store: &mut Store<&'static str>, now: Instant, key: &str, name: &'static str) -> Result<Answer, u64> {
    match store.get(now, key, true) {
        Lookup::Answer(answer) => Ok(answer),
        Lookup::UnderWay(number) => match store.join(now, number, key, name, None) {
            Some((_, answer)) => Ok(answer),
            None => Err(number),
        },
    }
}

fn lease_of(answer: &Answer) -> u64 {
    match answer {
        Answer::Missed(Some(lease)) => *lease,
        other => panic!("{other:?} is no lease"),
    }
}

#[test]
fn one_computes_and_all_who_wait_get_its_value() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    let lease = lease_of(&ask(&mut store, now, "k", "a").unwrap());
    assert!(ask(&mut store, now, "k", "b").is_err());
    assert!(ask(&mut store, now, "k", "c").is_err());
    let (stored, answers) = store.put(now, "k", value("7"), Some(lease), None);
    assert!(stored);
    let answers: Vec<_> = answers.iter().map(|(who, answer)| (*who, text(answer))).collect();
    assert_eq!(answers, [("b", "7".to_owned()), ("c", "7".to_owned())]);
    assert_eq!(text(&ask(&mut store, now, "k", "d").unwrap()), "7");
    let usage = store.usage(now);
    assert_eq!((usage.hits, usage.misses, usage.waiting, usage.leases), (3, 1, 0, 0));
    assert_eq!(store.next_due(), None);
}

#[test]
fn a_lease_that_is_given_up_or_runs_out_goes_to_the_next() {
    let (mut store, start) = (Store::new(limits()), Instant::now());
    let first = lease_of(&ask(&mut store, start, "k", "a").unwrap());
    for name in ["b", "c", "d"] {
        assert!(ask(&mut store, start, "k", name).is_err());
    }
    let (who, answer) = store.abandon(start, "k", first, false).pop().unwrap();
    assert_eq!(who, "b");
    assert!(store.abandon(start, "k", first, false).is_empty(), "a lease ends once");
    let second = lease_of(&answer);
    assert!(store.expire(start + 9 * SECOND).is_empty());
    let answers = store.expire(start + 10 * SECOND);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, "c");
    let (stored, late) = store.put(start + 11 * SECOND, "k", value("1"), Some(second), None);
    assert!(!stored && late.is_empty(), "its lease has ended");
    let third = lease_of(&answers[0].1);
    let (stored, answers) = store.put(start + 12 * SECOND, "k", value("2"), Some(third), None);
    assert!(stored);
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_lease_that_is_given_up_for_good_lets_all_go_at_once() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    let lease = lease_of(&ask(&mut store, now, "k", "a").unwrap());
    for name in ["b", "c", "d"] {
        assert!(ask(&mut store, now, "k", name).is_err());
    }
    let answers = store.abandon(now, "k", lease, true);
    let answers: Vec<_> = answers.iter().map(|(who, answer)| (*who, text(answer))).collect();
    assert_eq!(answers, ["b", "c", "d"].map(|who| (who, "missed".to_owned())));
    assert!(store.abandon(now, "k", lease, true).is_empty(), "a lease ends once");
    let usage = store.usage(now);
    assert_eq!((usage.misses, usage.waiting, usage.leases), (4, 0, 0));
    assert_eq!(store.next_due(), None);
    assert_eq!(text(&ask(&mut store, now, "k", "e").unwrap()), "lease", "a later run may still be tried");
}

#[test]
fn those_who_have_gone_get_no_lease() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    let lease = lease_of(&ask(&mut store, now, "k", "a").unwrap());
    let gone = ask(&mut store, now, "k", "b").unwrap_err();
    assert!(ask(&mut store, now, "k", "c").is_err());
    assert_eq!(store.call_off(gone), Some("b"));
    assert_eq!(store.call_off(gone), None);
    assert_eq!(store.abandon(now, "k", lease, false)[0].0, "c");
}

#[test]
fn one_who_goes_before_the_wait_begins_does_not_wait() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    ask(&mut store, now, "k", "a").unwrap();
    let Lookup::UnderWay(number) = store.get(now, "k", true) else { panic!("it is under way") };
    assert_eq!(store.call_off(number), None);
    assert!(store.join(now, number, "k", "b", None).is_none());
    assert_eq!(store.usage(now).waiting, 0);
}

#[test]
fn a_run_that_ends_before_the_wait_begins_is_not_waited_for() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    let lease = lease_of(&ask(&mut store, now, "k", "a").unwrap());
    let Lookup::UnderWay(found) = store.get(now, "k", true) else { panic!("it is under way") };
    let Lookup::UnderWay(lost) = store.get(now, "other", true).under_way_after(&mut store, now) else {
        panic!("it is under way")
    };
    store.put(now, "k", value("7"), Some(lease), None);
    assert_eq!(text(&store.join(now, found, "k", "b", None).unwrap().1), "7");
    store.close();
    assert_eq!(text(&store.join(now, lost, "other", "c", None).unwrap().1), "lease");
}

impl Lookup {
    /// A second lookup of `other`, whose first one got the lease.
    fn under_way_after(self, store: &mut Store<&'static str>, now: Instant) -> Lookup {
        assert!(matches!(self, Lookup::Answer(Answer::Missed(Some(_)))));
        store.get(now, "other", true)
    }
}

#[test]
fn a_wait_with_a_time_out_ends_by_itself() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    ask(&mut store, now, "k", "a").unwrap();
    let Lookup::UnderWay(number) = store.get(now, "k", true) else { panic!("it is under way") };
    assert!(store.join(now, number, "k", "b", Some(2 * SECOND)).is_none());
    assert_eq!(store.next_due(), Some(now + 2 * SECOND));
    let answers = store.expire(now + 2 * SECOND);
    assert_eq!((answers.len(), answers[0].0, text(&answers[0].1)), (1, "b", "missed".to_owned()));
}

#[test]
fn too_many_waits_are_not_taken() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    ask(&mut store, now, "k", "a").unwrap();
    for name in ["b", "c", "d"] {
        assert!(ask(&mut store, now, "k", name).is_err());
    }
    assert_eq!(text(&ask(&mut store, now, "k", "e").unwrap()), "missed");
    assert_eq!(text(&ask(&mut store, now, "l", "e").unwrap()), "lease");
    assert_eq!(text(&ask(&mut store, now, "m", "e").unwrap()), "lease");
    assert_eq!(text(&ask(&mut store, now, "n", "e").unwrap()), "missed", "there are as many runs as may be");
}

#[test]
fn a_run_from_before_a_clear_is_not_kept() {
    let (mut store, now) = (Store::new(limits()), Instant::now());
    let lease = lease_of(&ask(&mut store, now, "k", "a").unwrap());
    assert!(ask(&mut store, now, "k", "b").is_err());
    store.clear(now);
    let (stored, answers) = store.put(now, "k", value("7"), Some(lease), None);
    assert!(!stored);
    assert_eq!(text(&answers[0].1), "7");
    assert_eq!(text(&ask(&mut store, now, "k", "c").unwrap()), "lease");
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8, bool),
    Put(u8, usize, bool),
    Abandon(u8, bool),
    CallOff(usize),
    Wait(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, any::<bool>()).prop_map(|(key, wait)| Step::Get(key, wait)),
        (0..6u8, 1..30usize, any::<bool>()).prop_map(|(key, bytes, leased)| Step::Put(key, bytes, leased)),
        (0..6u8, any::<bool>()).prop_map(|(key, for_good)| Step::Abandon(key, for_good)),
        (0..8usize).prop_map(Step::CallOff),
        (0..60u64).prop_map(Step::Wait),
        Just(Step::Clear),
    ]
}

proptest! {
    /// Everybody who waits is answered once; books and limits hold after each step; what is found is what was put last.
    #[test]
    fn books_balance_whatever_happens(steps in proptest::collection::vec(step(), 1..200)) {
        let limits = limits();
        let mut store: Store<u64> = Store::new(limits);
        let mut now = Instant::now();
        let mut waiting: HashSet<u64> = HashSet::new();
        let mut leases: HashMap<u8, u64> = HashMap::new();
        let mut latest: HashMap<u8, String> = HashMap::new();
        let mut lookups = 0;
        for step in steps {
            let mut answers: Answers<u64> = Vec::new();
            match step {
                Step::Get(key, wait) => {
                    lookups += 1;
                    let name = key.to_string();
                    match store.get(now, &name, wait) {
                        Lookup::Answer(Answer::Found(value)) => {
                            prop_assert_eq!(Some(value.get()), latest.get(&key).map(String::as_str));
                        }
                        Lookup::Answer(Answer::Missed(lease)) => {
                            leases.extend(lease.map(|lease| (key, lease)));
                        }
                        Lookup::UnderWay(number) => {
                            waiting.insert(number);
                            prop_assert!(store.join(now, number, &name, number, Some(15 * SECOND)).is_none());
                        }
                    }
                }
                Step::Put(key, bytes, leased) => {
                    let text = "1".repeat(bytes);
                    let lease = if leased { Some(leases.get(&key).copied().unwrap_or(u64::MAX)) } else { None };
                    let (stored, given) = store.put(now, &key.to_string(), value(&text), lease, None);
                    if stored {
                        prop_assert!(bytes <= limits.value_bytes_max);
                        latest.insert(key, text.clone());
                    }
                    for (_, answer) in &given {
                        prop_assert!(matches!(answer, Answer::Found(value) if value.get() == text));
                    }
                    answers = given;
                }
                Step::Abandon(key, for_good) => {
                    if let Some(lease) = leases.remove(&key) {
                        answers = store.abandon(now, &key.to_string(), lease, for_good);
                    }
                }
                Step::CallOff(index) => {
                    if let Some(number) = waiting.iter().copied().nth(index) {
                        waiting.remove(&number);
                        prop_assert_eq!(store.call_off(number), Some(number));
                    }
                    lookups = store.hits + store.misses + waiting.len() as u64;
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    answers = store.expire(now);
                    prop_assert!(store.next_due().is_none_or(|due| due > now));
                }
                Step::Clear => {
                    store.clear(now);
                    latest.clear();
                }
            }
            for (number, _) in answers {
                prop_assert!(waiting.remove(&number), "{} was answered and did not wait", number);
            }
            let usage = store.usage(now);
            prop_assert_eq!(usage.waiting, waiting.len());
            prop_assert_eq!(usage.hits + usage.misses + usage.waiting as u64, lookups);
            prop_assert!(usage.size <= limits.entries_max && usage.bytes <= limits.bytes_max);
            prop_assert!(usage.waiting <= limits.waiting_max && usage.leases <= limits.waiting_max);
            let queued: usize = store.flights.values().map(|flight| flight.waiting.len()).sum();
            prop_assert_eq!(queued, usage.waiting, "who waits, waits for a run");
        }
        for (number, _) in store.close() {
            prop_assert!(waiting.remove(&number));
        }
        prop_assert!(waiting.is_empty());
    }
}
