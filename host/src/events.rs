//! Events: to providers that subscribed, at once, and to clients that fetch them, from a bounded store.

use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::node::{Event, Events};
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many events wait for clients to fetch them; the oldest go first. A client that asks again within a second stays
/// complete up to this many events a second.
const EVENTS_KEPT_MAX: usize = 4096;
/// How many bytes these may have, so that large bodies cannot fill the memory.
const EVENT_BYTES_KEPT_MAX: usize = 4 << 20;
/// Most events in one answer.
const EVENTS_PER_ANSWER_MAX: usize = 512;
/// Most clients that wait for events at a time.
const WATCHERS_MAX: usize = 1024;

/// Somebody who waits for the answer to a WATCH_EVENTS.
pub trait Watcher: Send {
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool;
    /// Takes the answer. Must not block.
    fn answer(self: Box<Self>, events: Events);
}

/// The events of a node.
#[derive(Default)]
pub struct EventLog {
    /// Never held while a watcher is called.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: VecDeque<Event>,
    kept_bytes: usize,
    /// Sequence of the newest event; 0 before the first.
    newest: u64,
    watchers: Vec<(Watch, Box<dyn Watcher>)>,
}

struct Watch {
    topics: Vec<String>,
    after: u64,
}

impl EventLog {
    /// Keeps an event for clients and answers those that wait for it.
    pub fn publish(&self, topic: &str, json: &str) {
        let Ok(body) = RawValue::from_string(json.to_owned()) else {
            tracing::warn!(topic, "an event was dropped: its body is not JSON");
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ready = Vec::new();
        {
            let mut state = self.state.lock();
            state.newest += 1;
            let event = Event {
                sequence: state.newest,
                unix_milliseconds: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
                topic: topic.to_owned(),
                body,
            };
            state.kept_bytes += json.len();
            state.kept.push_back(event);
            while state.kept.len() > EVENTS_KEPT_MAX || state.kept_bytes > EVENT_BYTES_KEPT_MAX {
                let Some(oldest) = state.kept.pop_front() else { break };
                state.kept_bytes -= oldest.body.get().len();
            }
            let mut index = 0;
            while index < state.watchers.len() {
                if matches_any(&state.watchers[index].0.topics, topic) {
                    let (watch, watcher) = state.watchers.swap_remove(index);
                    ready.push((watcher, state.collect(&watch)));
                } else {
                    index += 1;
                }
            }
        }
        for (watcher, events) in ready {
            watcher.answer(events);
        }
    }

    /// Calls `watcher` with the events behind `after` (from now on, when missing): at once if there are any, else when the
    /// first comes. Refused when too many wait.
    pub fn watch(
        &self,
        topics: Vec<String>,
        after: Option<u64>,
        watcher: Box<dyn Watcher>,
    ) -> Result<(), Box<dyn Watcher>> {
        let events = {
            let mut state = self.state.lock();
            // A number from before a restart of the node counts as "from now on".
            let after = after.filter(|after| *after <= state.newest).unwrap_or(state.newest);
            let watch = Watch { topics, after };
            let events = state.collect(&watch);
            if events.events.is_empty() && events.lost == 0 {
                if state.watchers.len() >= WATCHERS_MAX {
                    state.watchers.retain(|(_, watcher)| !watcher.is_gone());
                }
                if state.watchers.len() >= WATCHERS_MAX {
                    return Err(watcher);
                }
                state.watchers.push((watch, watcher));
                return Ok(());
            }
            events
        };
        watcher.answer(events);
        Ok(())
    }
}

impl State {
    fn collect(&self, watch: &Watch) -> Events {
        let oldest_kept = self.newest + 1 - self.kept.len() as u64;
        let lost = oldest_kept.saturating_sub(watch.after + 1);
        let skip = usize::try_from((watch.after + 1).saturating_sub(oldest_kept)).unwrap_or(usize::MAX);
        let mut next = self.newest;
        let mut events: Vec<Event> = Vec::new();
        for event in self.kept.iter().skip(skip) {
            if matches_any(&watch.topics, &event.topic) {
                if events.len() == EVENTS_PER_ANSWER_MAX {
                    next = events.last().map_or(self.newest, |last| last.sequence);
                    break;
                }
                events.push(event.clone());
            }
        }
        Events { events, next, lost }
    }
}

fn matches_any(patterns: &[String], topic: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, topic))
}

/// Whether a topic is meant by a pattern: equal, or beginning with what stands before a final star.
pub fn matches(pattern: &str, topic: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => topic.starts_with(start),
        None => pattern == topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Slot = Arc<Mutex<Option<Events>>>;

    impl Watcher for Slot {
        fn is_gone(&self) -> bool {
            Arc::strong_count(self) == 1
        }

        fn answer(self: Box<Self>, events: Events) {
            *self.lock() = Some(events);
        }
    }

    #[test]
    fn watchers_that_went_away_make_room() {
        let log = EventLog::default();
        for _ in 0..2 * WATCHERS_MAX {
            drop(fetch(&log, &["never"], None));
        }
    }

    fn fetch(log: &EventLog, topics: &[&str], after: Option<u64>) -> Slot {
        let answer = Slot::default();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        assert!(log.watch(topics, after, Box::new(Arc::clone(&answer))).is_ok());
        answer
    }

    #[test]
    fn a_watcher_gets_what_it_asked_for_once() {
        let log = EventLog::default();
        log.publish("task.started", "1");
        let answer = fetch(&log, &["peer.*"], None);
        log.publish("task.finished", "2");
        assert!(answer.lock().is_none());
        log.publish("peer.joined", "3");
        let events = answer.lock().take().unwrap();
        assert_eq!(events.events[0].body.get(), "3");
        assert_eq!(events.next, 3);
        let all = fetch(&log, &[], Some(0)).lock().take().unwrap();
        assert_eq!(all.events.len(), 3);
    }

    #[test]
    fn a_slow_watcher_loses_the_oldest_and_is_told_how_many() {
        let log = EventLog::default();
        for number in 0..EVENTS_KEPT_MAX + 10 {
            log.publish("x", &number.to_string());
        }
        let mut after = 0;
        let mut got = 0;
        let mut lost = 0;
        while after < (EVENTS_KEPT_MAX + 10) as u64 {
            let events = fetch(&log, &[], Some(after)).lock().take().unwrap();
            assert!(events.events.len() <= EVENTS_PER_ANSWER_MAX);
            got += events.events.len();
            lost += events.lost;
            after = events.next;
        }
        assert_eq!((got, lost), (EVENTS_KEPT_MAX, 10));
    }
}
