//! The audit log: what was refused, and what was done to the node or its pool, one JSON object a line.
//!
//! Nobody who serves a message waits for the disk: lines go through a bounded queue to a thread of their own. Whoever
//! does something to the node or its pool does wait, so that nothing is done of which no record is left. What was refused
//! has a file of its own, and every caller and stranger a budget of its own in it.

mod flood;
mod writer;

use crate::net::source_of;
use anyhow::Context;
use flood::{Flood, TOPIC_BURST};
use governor::clock::DefaultClock;
use parking_lot::Mutex;
use potluck_sdk::Caller;
use serde::Serialize;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use writer::{Job, Log, Lost, Writer};

/// How many lines wait for the disk: a burst of both topics, and room for what was done. Some ten megabytes if all are as
/// long as a line can be.
const LINES_WAITING_MAX: usize = 2 * TOPIC_BURST.get() as usize + 512;
/// Texts that come from outside are cut, so that a line is bounded.
const NAME_CHARACTERS_MAX: usize = 64;
const REASON_CHARACTERS_MAX: usize = 512;
/// Enough to tell sessions apart, and nothing that proves one.
const SESSION_CHARACTERS_MAX: usize = 8;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditTopic {
    /// A message was not let through.
    Refused,
    /// The pool or this node's membership was changed. Only for what had the right to: who has none could fill the log.
    Pool,
    /// A connection was not let in, or was cut off.
    Connection,
    /// The node started.
    Start,
}

impl AuditTopic {
    /// The topic of the event that is published.
    pub const fn name(self) -> &'static str {
        match self {
            AuditTopic::Refused => "audit.refused",
            AuditTopic::Pool => "audit.pool",
            AuditTopic::Connection => "audit.connection",
            AuditTopic::Start => "audit.start",
        }
    }

    const fn log(self) -> Log {
        match self {
            AuditTopic::Refused | AuditTopic::Connection => Log::Refusals,
            AuditTopic::Pool | AuditTopic::Start => Log::Administration,
        }
    }
}

/// Something that is recorded.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// What it is about.
    pub topic: AuditTopic,
    /// What was done or refused, as a word for programs: `refused`, `pool_revoke` ...
    pub action: &'a str,
    /// Who did it or tried; nothing when that is not known, as before a handshake is through.
    pub caller: Option<Caller<'a>>,
    /// The message's type; empty when there was no message.
    pub message_type: &'a str,
    /// The other end of the connection, if it is known.
    pub address: Option<SocketAddr>,
    /// Which rule refused it, or what came of it: a sentence for people.
    pub reason: &'a str,
}

/// The audit log of a node.
pub struct Audit {
    queue: SyncSender<Job>,
    /// Taken when the log is closed. Held while the thread is waited for, and by nobody else.
    thread: Mutex<Option<JoinHandle<()>>>,
    lost: Arc<Lost>,
    /// Messages and connections apart: strangers who knock must not hide what members try. Never held together.
    refused: Mutex<Flood>,
    connection: Mutex<Flood>,
    /// Budgets are found by a hash that nobody outside can foresee: an id may be long, or a session's.
    keys: RandomState,
}

#[derive(Serialize)]
struct Line<'a> {
    unix_milliseconds: u64,
    topic: &'a str,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    caller_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    reason: String,
    /// Events before this one that were too many to be recorded: of the same caller, or of the same action and address.
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
    /// Lines of this file before this one that could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

impl Audit {
    /// Opens `audit.jsonl` and `audit.refused.jsonl` in the data directory, and goes on behind what is in them.
    pub fn open(folder: &Path) -> anyhow::Result<Audit> {
        let lost = Arc::new(Lost::default());
        let writer = Writer::open(folder, writer::FILE_BYTES_MAX, &lost)?;
        let (queue, jobs) = sync_channel(LINES_WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&jobs))
            .context("cannot start the thread that writes the audit log")?;
        Ok(Audit::new(queue, Some(thread), lost))
    }

    fn new(queue: SyncSender<Job>, thread: Option<JoinHandle<()>>, lost: Arc<Lost>) -> Audit {
        let [refused, connection] = [(); 2].map(|()| Mutex::new(Flood::new(DefaultClock::default())));
        Audit { queue, thread: Mutex::new(thread), lost, refused, connection, keys: RandomState::new() }
    }

    /// Records an event without waiting, and returns the body of the event to publish under the topic's name; nothing
    /// when there were too many of its budget. For what is done to the node or its pool there is
    /// [`Audit::record_and_wait`].
    pub fn record(&self, event: &AuditEvent<'_>) -> Option<String> {
        let budget = self.budget(event);
        let suppressed = match budget {
            Some((flood, key)) => flood.lock().admit(key)?,
            None => 0,
        };
        let log = event.topic.log();
        let lost = self.lost.of(log).swap(0, Ordering::Relaxed);
        let line = line(event, suppressed, lost);
        let sent = self.queue.try_send(Job::Line(log, line.clone()));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            // What this line would have told, the next one tells.
            self.lost.of(log).fetch_add(lost + 1, Ordering::Relaxed);
            if let Some((flood, key)) = budget {
                flood.lock().give_back(key, suppressed);
            }
        }
        Some(line)
    }

    /// Records an event and waits until it is on the disk; blocks, so it is not for asynchronous code. Returns the body
    /// of the event to publish. When it fails, what was to be done should not be.
    pub fn record_and_wait(&self, event: &AuditEvent<'_>) -> anyhow::Result<String> {
        let log = event.topic.log();
        let lost = self.lost.of(log).swap(0, Ordering::Relaxed);
        let line = line(event, 0, lost);
        let (written, wait) = sync_channel(1);
        let sent = self.queue.send(Job::Durable(log, line.clone(), written)).is_ok();
        let result = match wait.recv() {
            Ok(result) => result.context("cannot write the audit log; make room for it in the data directory"),
            Err(_) => Err(anyhow::anyhow!("the audit log is closed; the node is stopping")),
        };
        if result.is_err() {
            // The writer has counted the line itself, if it came that far.
            self.lost.of(log).fetch_add(if sent { lost } else { lost + 1 }, Ordering::Relaxed);
        }
        result.map(|()| line)
    }

    /// Writes what waits, and then no more. Blocks until that is done.
    pub fn close(&self) {
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take() {
            let suppressed = self.refused.lock().held_back() + self.connection.lock().held_back();
            for (topic, suppressed) in [(AuditTopic::Start, 0), (AuditTopic::Refused, suppressed)] {
                if let Some(line) = self.last_line(topic, suppressed) {
                    // Waits for room in a full queue; fails only when the thread is gone.
                    let _ = self.queue.send(Job::Line(topic.log(), line));
                }
            }
            let _ = self.queue.send(Job::Stop);
            if thread.join().is_err() {
                tracing::error!("the thread that writes the audit log broke down");
            }
        }
    }

    /// Counts that no later line can tell.
    fn last_line(&self, topic: AuditTopic, suppressed: u64) -> Option<String> {
        let lost = self.lost.of(topic.log()).swap(0, Ordering::Relaxed);
        (suppressed + lost > 0).then(|| {
            let event = AuditEvent {
                topic,
                action: "closed",
                caller: None,
                message_type: "",
                address: None,
                reason: "the node stops; not all that happened has a line of its own",
            };
            line(&event, suppressed, lost)
        })
    }

    /// What keeps an event's cause from filling the log; nothing for what only an administrator can cause.
    fn budget(&self, event: &AuditEvent<'_>) -> Option<(&Mutex<Flood>, u64)> {
        match event.topic {
            AuditTopic::Refused => Some((&self.refused, self.keys.hash_one(event.caller))),
            AuditTopic::Connection => {
                let stranger = event.address.map(|address| source_of(address.ip()));
                Some((&self.connection, self.keys.hash_one((event.action, stranger))))
            }
            AuditTopic::Pool | AuditTopic::Start => None,
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

fn line(event: &AuditEvent<'_>, suppressed: u64, lost: u64) -> String {
    let id_characters_max = match event.caller {
        Some(Caller::Web(_)) => SESSION_CHARACTERS_MAX,
        _ => NAME_CHARACTERS_MAX,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    potluck_sdk::message::to_json(&Line {
        unix_milliseconds: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        topic: event.topic.name(),
        action: cut(event.action, NAME_CHARACTERS_MAX),
        caller: event.caller.map(|caller| caller.word()),
        caller_id: cut(event.caller.map_or("", |caller| caller.id()), id_characters_max),
        message_type: cut(event.message_type, NAME_CHARACTERS_MAX),
        address: event.address,
        reason: cut(event.reason, REASON_CHARACTERS_MAX),
        suppressed,
        lost,
    })
}

fn cut(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const MEMBER: Caller<'static> = Caller::Member("5f0c6b1e-0000-8000-8000-000000000001");

    fn event(topic: AuditTopic, action: &str) -> AuditEvent<'_> {
        AuditEvent {
            topic,
            action,
            caller: Some(MEMBER),
            message_type: "SET_SCHEDULER",
            address: Some(([10, 0, 0, 7], 5555).into()),
            reason: "a rule",
        }
    }

    fn lines(folder: &Path) -> Vec<Value> {
        read(folder, "audit.jsonl")
    }

    fn refusals(folder: &Path) -> Vec<Value> {
        read(folder, "audit.refused.jsonl")
    }

    fn read(folder: &Path, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_was_recorded_is_in_the_file_and_in_the_event() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        let body: Value = serde_json::from_str(&audit.record(&event(AuditTopic::Refused, "refused")).unwrap()).unwrap();
        let stranger =
            AuditEvent { caller: None, message_type: "", ..event(AuditTopic::Connection, "handshake_failed") };
        audit.record(&stranger).unwrap();
        audit.close();
        assert!(lines(folder.path()).is_empty());
        let lines = refusals(folder.path());
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], body);
        assert!(body["unix_milliseconds"].as_u64().unwrap() > 1_600_000_000_000);
        let expected = serde_json::json!({
            "unix_milliseconds": body["unix_milliseconds"], "topic": "audit.refused", "action": "refused",
            "caller": "member", "caller_id": MEMBER.id(), "message_type": "SET_SCHEDULER", "address": "10.0.0.7:5555",
            "reason": "a rule",
        });
        assert_eq!(body, expected);
        assert_eq!(lines[1]["topic"], "audit.connection");
        assert!(lines[1].get("caller").is_none() && lines[1].get("message_type").is_none());
    }

    #[test]
    fn a_waiting_record_is_in_the_file_when_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        for number in 0..200 {
            let body = audit.record_and_wait(&event(AuditTopic::Pool, "pool_revoke")).unwrap();
            let lines = lines(folder.path());
            assert_eq!(lines.len(), number + 1);
            assert_eq!(lines[number], serde_json::from_str::<Value>(&body).unwrap());
        }
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_hides_nothing_else() {
        const REFUSALS: u64 = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        let recorded =
            (0..REFUSALS).filter(|_| audit.record(&event(AuditTopic::Refused, "refused")).is_some()).count() as u64;
        assert!((100..REFUSALS).contains(&recorded), "{recorded}");
        assert!(audit.record(&event(AuditTopic::Connection, "handshake_failed")).is_some());
        for _ in 0..200 {
            assert!(audit.record(&event(AuditTopic::Pool, "pool_revoke")).is_some());
        }
        audit.close();
        assert_eq!(lines(folder.path()).iter().filter(|line| line["action"] == "pool_revoke").count(), 200);
        let lines = refusals(folder.path());
        let lines_of = |action: &str| lines.iter().filter(|line| line["action"] == action).count() as u64;
        assert_eq!((lines_of("refused"), lines_of("handshake_failed")), (recorded, 1));
        let suppressed: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
        assert_eq!(recorded + suppressed, REFUSALS);
    }

    #[test]
    fn a_flood_of_one_caller_hides_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        let refused = event(AuditTopic::Refused, "refused");
        while audit.record(&refused).is_some() {}
        for caller in [None, Some(Caller::Task(MEMBER.id())), Some(Caller::Member("another")), Some(Caller::Local)] {
            let body: Value = serde_json::from_str(&audit.record(&AuditEvent { caller, ..refused }).unwrap()).unwrap();
            assert!(body.get("suppressed").is_none(), "{body}");
        }
        audit.close();
        let lines = refusals(folder.path());
        let closed = lines.last().unwrap();
        assert_eq!((&closed["action"], &closed["suppressed"]), (&"closed".into(), &1.into()), "{closed}");
    }

    #[test]
    fn strangers_are_told_apart_by_action_and_network() {
        let (queue, _jobs) = sync_channel(1);
        let audit = Audit::new(queue, None, Arc::default());
        let key = |action: &str, address: &str| {
            let address = Some(SocketAddr::new(address.parse().unwrap(), 1));
            audit.budget(&AuditEvent { address, ..event(AuditTopic::Connection, action) }).unwrap().1
        };
        assert_eq!(key("a", "10.0.0.7"), key("a", "::ffff:10.0.0.7"));
        assert_eq!(key("a", "2001:db8::1"), key("a", "2001:db8::ffff:0:0:1"));
        for (action, address) in [("b", "10.0.0.7"), ("a", "10.0.0.8"), ("a", "::ffff:10.0.0.8"), ("a", "::1")] {
            assert_ne!(key("a", "10.0.0.7"), key(action, address), "{action} {address}");
        }
        assert_ne!(key("a", "2001:db8::1"), key("a", "2001:db8:0:1::1"));
    }

    #[test]
    fn what_a_full_queue_takes_is_told_by_the_next_line() {
        let (queue, jobs) = sync_channel(2);
        let audit = Audit::new(queue, None, Arc::default());
        for _ in 0..5 {
            assert!(audit.record(&event(AuditTopic::Pool, "x")).is_some());
        }
        let next = || match jobs.try_recv().unwrap() {
            Job::Line(_, line) => serde_json::from_str::<Value>(&line).unwrap(),
            _ => panic!("only lines were recorded"),
        };
        assert!(next().get("lost").is_none() && next().get("lost").is_none());
        audit.record(&event(AuditTopic::Pool, "x"));
        audit.record(&event(AuditTopic::Pool, "x"));
        assert_eq!(next()["lost"], 3);
        assert!(next().get("lost").is_none());
    }

    #[test]
    fn nothing_in_a_text_makes_a_line_of_its_own_or_a_long_one() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        let forged = "x\"}\n{\"topic\":\"audit.pool\"}\r\u{2028}\0".repeat(10_000);
        let caller = Some(Caller::Plugin(&forged));
        let event = AuditEvent {
            topic: AuditTopic::Refused,
            action: &forged,
            caller,
            message_type: &forged,
            address: None,
            reason: &forged,
        };
        audit.record(&event).unwrap();
        audit.record_and_wait(&AuditEvent { caller: Some(Caller::Web("0123456789abcdef")), ..event }).unwrap();
        let lines = refusals(folder.path());
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message_type"].as_str().unwrap(), forged.chars().take(64).collect::<String>());
        assert_eq!(lines[0]["topic"], "audit.refused");
        assert_eq!(lines[1]["caller_id"], "01234567");
        assert!(std::fs::metadata(folder.path().join("audit.refused.jsonl")).unwrap().len() < 10_000);
    }

    #[test]
    fn after_the_end_nothing_blocks_and_administrators_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        audit.close();
        audit.close();
        assert!(audit.record(&event(AuditTopic::Refused, "refused")).is_some());
        let error = audit.record_and_wait(&event(AuditTopic::Pool, "pool_revoke")).unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }

    #[test]
    fn many_threads_lose_no_line_that_they_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        audit.record_and_wait(&event(AuditTopic::Pool, "pool_token")).unwrap();
                        audit.record(&event(AuditTopic::Refused, "refused"));
                    }
                });
            }
        });
        drop(audit);
        assert_eq!(lines(folder.path()).iter().filter(|line| line["action"] == "pool_token").count(), 100);
        let lines = refusals(folder.path());
        let untold: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
        assert_eq!(lines.iter().filter(|line| line["action"] == "refused").count() as u64 + untold, 100);
    }
}
