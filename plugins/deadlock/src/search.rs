//! Looks for deadlocks over everything that this node has: asks the other providers, confirms what it finds, and, while
//! somebody waits, does so by itself from time to time.
//!
//! The answers of several providers are not of one moment, so what looks like a deadlock may only look so. The second look
//! decides: a wait that was there both times has lasted all the time between, and who waits gives nothing back.

use crate::detect::{Detection, Snapshot, WaitKey, detect};
use crate::error::DeadlockError;
use crate::explain::{Fact, Facts, report};
use crate::service::Service;
use parking_lot::Mutex;
use potluck_sdk::message::deadlock::DETECTED_TOPIC;
use potluck_sdk::message::resources::PlacedResources;
use potluck_sdk::{ProviderError, Response};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Searches that may wait for the one at work; they all get the answer of the next.
const SEARCHES_MAX: usize = 1000;
/// Processes whose facts are asked for.
const FACTS_MAX: usize = 16;
/// A search by itself takes at most this part of the time.
const IDLE_FACTOR: u32 = 20;
/// Who is asked for resources.
const SOURCES: [(&str, &str); 4] = [
    ("ipc", "IPC_RESOURCES"),
    ("memory-manager", "MEMORY_RESOURCES"),
    ("cpu", "TASK_RESOURCES"),
    ("process", "PROCESS_RESOURCES"),
];

/// What a search has found.
pub(crate) struct Found {
    pub(crate) detection: Detection,
    pub(crate) facts: Facts,
    pub(crate) not_looked_at: Vec<String>,
}

type Then = Box<dyn FnOnce(&Found) + Send>;

#[derive(Default)]
pub(crate) struct Searches {
    queue: Mutex<Queue>,
    /// Whether a search by itself is due.
    is_armed: AtomicBool,
    /// How often somebody was said to wait.
    news: AtomicU64,
    /// The deadlock that was published last.
    published: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Queue {
    is_at_work: bool,
    next: Vec<Then>,
}

/// One search. Dropped, also by a panic, it lets the next one begin.
struct Turn {
    service: Arc<Service>,
    then: Vec<Then>,
}

impl Turn {
    fn finish(mut self, found: &Found) {
        for then in std::mem::take(&mut self.then) {
            then(found);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.service.next_search();
    }
}

/// Calls a function when several answers are there.
struct Join<T> {
    left: usize,
    parts: T,
    then: Option<Box<dyn FnOnce(T) + Send>>,
}

fn arrived<T: Default>(join: &Mutex<Join<T>>, add: impl FnOnce(&mut T)) {
    let ready = {
        let mut join = join.lock();
        add(&mut join.parts);
        join.left -= 1;
        if join.left == 0 { join.then.take().map(|then| (then, std::mem::take(&mut join.parts))) } else { None }
    };
    if let Some((then, parts)) = ready {
        then(parts);
    }
}

/// Resources, and providers that could not be asked.
type Gathered = (PlacedResources, Vec<String>);

impl Service {
    /// Calls `then` with what a search finds that begins after now.
    pub(crate) fn search(self: &Arc<Self>, then: Then) -> Result<(), DeadlockError> {
        {
            let mut queue = self.searches.queue.lock();
            if queue.next.len() >= SEARCHES_MAX {
                return Err(DeadlockError::Searches(SEARCHES_MAX));
            }
            queue.next.push(then);
            if std::mem::replace(&mut queue.is_at_work, true) {
                return Ok(());
            }
        }
        self.next_search();
        Ok(())
    }

    fn next_search(self: &Arc<Self>) {
        let then = {
            let mut queue = self.searches.queue.lock();
            queue.is_at_work = !queue.next.is_empty();
            std::mem::take(&mut queue.next)
        };
        if then.is_empty() {
            return;
        }
        let turn = Turn { service: Arc::clone(self), then };
        self.look(None, Vec::new(), turn);
    }

    /// Takes a snapshot and looks at it: the first time at all waits, the second time at those of the first.
    fn look(self: &Arc<Self>, only: Option<HashSet<WaitKey>>, mut not_looked_at: Vec<String>, turn: Turn) {
        let service = Arc::clone(self);
        self.gather(Box::new(move |(found, missing)| {
            let host = service.host;
            // Much may wait, and this may be a thread of the host's that serves others.
            host.spawn_blocking(move || {
                let bank = service.with_bank(|bank| bank.clone());
                let snapshot = Snapshot { resources: found.resources, places: found.places, bank };
                let gone = service.gone.lock().clone();
                let detection = detect(&snapshot, only.as_ref(), &gone);
                for text in missing {
                    if !not_looked_at.contains(&text) {
                        not_looked_at.push(text);
                    }
                }
                if detection.stuck.is_empty() {
                    turn.finish(&Found { detection, facts: Facts::new(), not_looked_at });
                } else if only.is_none() {
                    service.look(Some(detection.keys), not_looked_at, turn);
                } else {
                    service.ask_for_facts(detection, not_looked_at, turn);
                }
            });
        }));
    }

    /// Who has and waits for what at the other providers. One that is not there has nothing.
    fn gather(&self, then: Box<dyn FnOnce(Gathered) + Send>) {
        let join = Join { left: SOURCES.len(), parts: Gathered::default(), then: Some(then) };
        let join = Arc::new(Mutex::new(join));
        for (provider, message_type) in SOURCES {
            let join = Arc::clone(&join);
            let message = json!({ "type": message_type }).to_string();
            self.host.call_with(&message, &[], move |answer| {
                let found = answer.and_then(read::<PlacedResources>);
                arrived(&join, |(all, missing)| match found {
                    Ok(found) => {
                        all.resources.extend(found.resources);
                        all.places.extend(found.places);
                    }
                    Err(error) if error.code == ProviderError::NO_PROVIDER => {}
                    Err(error) => missing.push(format!("{provider}: {error}")),
                });
            });
        }
    }

    /// Priority, age and name of those who may be chosen to be ended, as far as the process table knows them.
    fn ask_for_facts(self: &Arc<Self>, detection: Detection, not_looked_at: Vec<String>, turn: Turn) {
        let circle = detection.cycles.iter().flatten().map(|edge| edge.pid.clone());
        let others = detection.stuck.iter().map(|stuck| stuck.pid.clone());
        let mut pids: Vec<String> = Vec::new();
        for pid in circle.chain(others).filter(|pid| !pid.contains('@')) {
            if pids.len() < FACTS_MAX && !pids.contains(&pid) {
                pids.push(pid);
            }
        }
        let finish = move |facts| turn.finish(&Found { detection, facts, not_looked_at });
        if pids.is_empty() {
            return finish(Facts::new());
        }
        let join = Join { left: pids.len(), parts: Facts::new(), then: Some(Box::new(finish)) };
        let join = Arc::new(Mutex::new(join));
        for pid in pids {
            let join = Arc::clone(&join);
            let message = json!({ "type": "PROCESS_INFO", "pid": pid }).to_string();
            self.host.call_with(&message, &[], move |answer| {
                let info = answer.and_then(read::<Info>);
                arrived(&join, |facts| {
                    if let Ok(Info { process }) = info {
                        let name = if process.name.is_empty() { process.function } else { process.name };
                        let created_unix_milliseconds = process.created_unix_milliseconds;
                        facts.insert(pid, Fact { priority: process.priority, created_unix_milliseconds, name });
                    }
                });
            });
        }
    }

    /// Somebody has begun to wait: deadlocks are looked for from now on, until nobody waits.
    pub(crate) fn somebody_waits(self: &Arc<Self>) {
        self.searches.news.fetch_add(1, Ordering::SeqCst);
        self.arm();
    }

    fn arm(self: &Arc<Self>) {
        if let Some(every) = self.check_every
            && !self.searches.is_armed.swap(true, Ordering::SeqCst)
        {
            self.search_after(every);
        }
    }

    fn search_after(self: &Arc<Self>, delay: Duration) {
        let service = Arc::downgrade(self);
        self.host.run_after(delay, move || {
            if let Some(service) = service.upgrade() {
                service.search_by_itself();
            }
        });
    }

    fn search_by_itself(self: &Arc<Self>) {
        let (service, begun) = (Arc::clone(self), Instant::now());
        let news = self.searches.news.load(Ordering::SeqCst);
        let queued = self.search(Box::new(move |found| {
            service.publish_news(found);
            let every = service.check_every.unwrap_or(Duration::MAX);
            if found.detection.waiting > 0 {
                service.search_after(every.max(begun.elapsed().saturating_mul(IDLE_FACTOR)));
                return;
            }
            service.searches.is_armed.store(false, Ordering::SeqCst);
            if service.searches.news.load(Ordering::SeqCst) != news {
                service.arm();
            }
        }));
        if queued.is_err() {
            self.search_after(self.check_every.unwrap_or(Duration::MAX));
        }
    }

    /// Tells of a deadlock once.
    fn publish_news(&self, found: &Found) {
        let stuck: Vec<String> = found.detection.stuck.iter().map(|stuck| stuck.pid.clone()).collect();
        let is_new = {
            let mut published = self.searches.published.lock();
            let is_new = *published != stuck;
            *published = stuck;
            is_new && !published.is_empty()
        };
        if is_new {
            self.host.publish(DETECTED_TOPIC, &report(&found.detection, &found.facts, &found.not_looked_at));
        }
    }
}

/// What of PROCESS_INFO's answer is needed here.
#[derive(Deserialize)]
struct Info {
    process: InfoProcess,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct InfoProcess {
    priority: i64,
    name: String,
    function: String,
    created_unix_milliseconds: u64,
}

fn read<T: for<'a> Deserialize<'a>>(response: Response) -> Result<T, ProviderError> {
    serde_json::from_str(&response.json)
        .map_err(|error| ProviderError::new(ProviderError::INTERNAL, format!("an answer cannot be read: {error}")))
}
