//! Where tasks go and what becomes of those that are nowhere for a while: against scripted peers, which run what this node
//! cannot.

use super::{Job, Jobs, Whereabouts};
use crate::Cpu;
use parking_lot::Mutex;
use potluck_sdk::Provider;
use potluck_sdk::testing::{Harness, PendingCall};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The retry comes within this.
const BACKOFF: Duration = Duration::from_millis(100);
const TIMEOUT_SECONDS: u64 = 60;

/// A provider and the jobs in it.
struct Bench {
    harness: Arc<Harness>,
    jobs: Arc<Jobs>,
}

impl Bench {
    fn new() -> Bench {
        let config = json!({ "python": "/nonexistent/python3", "worker_processes_max": 4, "workers": 1 });
        let inside = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&inside);
        let make = move |host, config: potluck_sdk::Config<'_>, _| {
            let cpu = Cpu::start(host, config)?;
            *seen.lock() = Some(Arc::clone(&cpu.jobs));
            Ok(cpu)
        };
        let harness = Arc::new(Harness::start_with_clock::<Cpu>(config, make).unwrap());
        let jobs = inside.lock().take().unwrap();
        Bench { harness, jobs }
    }

    /// As many idle peers, each of which answers every task so.
    fn with_peers(count: u64, answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> Bench {
        let bench = Bench::new();
        bench.tell_of_peers(count);
        bench.harness.answer("CPU_TASK", move |task| answer(task["to"].as_str().unwrap()));
        bench
    }

    fn tell_of_peers(&self, count: u64) {
        let peers: Vec<Value> = (1..=count)
            .map(|number| json!({ "peer_id": null, "ip": format!("10.0.0.{number}"), "port": 9000, "workers": 2 }))
            .collect();
        let table = json!({ "type": "PEER_TABLE", "epoch": 1, "version": 1, "full": true, "peers": peers });
        assert!(self.harness.emit("peer.table", table));
    }

    fn begin(&self, members: Value) -> PendingCall {
        self.harness.begin(task(members))
    }

    #[track_caller]
    fn call(&self, members: Value) -> Value {
        self.begin(members).wait().unwrap()
    }

    fn signal(&self, signal: &str) {
        self.harness.call(json!({ "type": "SIGNAL_TASK", "task_id": "t", "signal": signal })).unwrap();
    }

    /// How often each peer was sent a task.
    fn asked(&self) -> BTreeMap<String, usize> {
        let sent = self.harness.sent().into_iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
        let mut asked = BTreeMap::new();
        for message in sent.filter(|message| message["type"] == "CPU_TASK") {
            *asked.entry(message["to"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        asked
    }

    fn sent(&self, message_type: &str) -> usize {
        let mark = format!("\"type\":\"{message_type}\"");
        self.harness.sent().iter().filter(|sent| sent.json.contains(&mark)).count()
    }

    fn forwarded(&self) -> Value {
        self.harness.status()["scheduler"]["stats"]["forwarded_tasks"].clone()
    }

    fn job(&self) -> Arc<Job> {
        self.jobs.running.lock().jobs.values().next().map(Arc::clone).unwrap()
    }

    /// A task whose first attempt was lost by its peer, paused before the second one.
    fn held_back(&self) -> PendingCall {
        let waiting = self.begin(json!({ "max_retries": 3 }));
        assert_eq!((waiting.try_answer().is_none(), self.sent("CPU_TASK")), (true, 1));
        self.signal("pause");
        self.harness.advance(BACKOFF);
        assert_eq!((waiting.try_answer().is_none(), self.sent("CPU_TASK")), (true, 1));
        waiting
    }
}

/// One that this node cannot run, since it has not got the image.
fn task(members: Value) -> Value {
    let mut task = json!({
        "type": "CPU_TASK", "task_id": "t", "runtime": "sandbox", "image": "elsewhere", "cache": false,
        "program": "def main(): return 7", "timeout": TIMEOUT_SECONDS,
    });
    for (name, value) in members.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

fn address(number: u64) -> String {
    format!("10.0.0.{number}:9000")
}

fn times(counts: &[(u64, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(number, count)| (address(*number), *count)).collect()
}

fn done() -> Value {
    result(json!({ "result": 7, "attempts": 1 }))
}

/// The peer has not begun the task, for a reason that it found in it.
fn not_begun(code: &str) -> Value {
    result(json!({ "error": "no", "code": code }))
}

fn result(members: Value) -> Value {
    let mut result = json!({
        "type": "CPU_RESULT", "task_id": "x", "result": null, "error": null, "executed_by": "", "runtime": "sandbox",
        "execution_time": 0.1, "waiting_time": 0.0, "turnaround_time": 0.1, "attempts": 0, "cached": false,
    });
    for (name, value) in members.as_object().unwrap() {
        result[name] = value.clone();
    }
    result
}

fn error(code: &str) -> Value {
    json!({ "type": "ERROR", "code": code, "error": "no" })
}

#[test]
fn a_task_that_is_paused_before_its_retry_ends_with_its_time() {
    let bench = Bench::with_peers(1, |_| error("peer_lost"));
    let waiting = bench.held_back();
    bench.harness.advance(Duration::from_secs(TIMEOUT_SECONDS));
    let result = waiting.try_answer().unwrap().unwrap();
    assert_eq!((&result["code"], &result["attempts"]), (&json!("timeout"), &json!(1)));
    assert!(bench.jobs.running.lock().jobs.is_empty());
}

#[test]
fn a_task_that_is_resumed_or_cancelled_in_time_does_not_end_with_it() {
    let bench = Bench::with_peers(1, |_| error("peer_lost"));
    let waiting = bench.held_back();
    bench.harness.answer("CPU_TASK", |_| done());
    bench.signal("resume");
    assert_eq!(waiting.try_answer().unwrap().unwrap()["result"], 7);
    bench.harness.answer("CPU_TASK", |_| error("peer_lost"));
    let waiting = bench.begin(json!({ "max_retries": 3 }));
    bench.signal("pause");
    bench.harness.advance(BACKOFF);
    bench.harness.call(json!({ "type": "CANCEL_TASK", "task_id": "t" })).unwrap();
    bench.harness.advance(Duration::from_secs(TIMEOUT_SECONDS));
    assert_eq!(waiting.try_answer().unwrap().unwrap()["code"], "cancelled");
    let finished = bench.harness.events().into_iter().filter(|event| event.topic == "task.finished").count();
    assert_eq!(finished, 2, "each has ended once");
}

#[test]
fn what_was_held_back_is_resumed_wherever_it_is_said_to_be() {
    let bench = Bench::with_peers(1, |_| error("peer_lost"));
    let waiting = bench.held_back();
    // An attempt that is over.
    bench.job().state.lock().whereabouts = Whereabouts::Here(1_000_000);
    bench.harness.answer("CPU_TASK", |_| done());
    bench.signal("resume");
    assert_eq!(waiting.try_answer().unwrap().unwrap()["result"], 7);
}

#[test]
fn nobody_says_of_an_attempt_that_has_ended_where_it_is() {
    let bench = Bench::with_peers(1, |_| error("peer_lost"));
    let waiting = bench.begin(json!({ "max_retries": 3 }));
    assert_ne!(bench.job().state.lock().placements, 1, "its number when it was placed");
    waiting.cancel();
}

#[test]
fn a_task_is_forwarded_once_however_often_it_is_sent() {
    let bench = Bench::with_peers(3, |to| match to {
        "10.0.0.1:9000" => error("queue_full"),
        _ => error("peer_lost"),
    });
    let waiting = bench.begin(json!({ "max_retries": 3 }));
    assert_eq!(bench.forwarded(), 1);
    bench.harness.advance(BACKOFF);
    assert_eq!((bench.sent("CPU_TASK"), bench.forwarded()), (3, json!(1)));
    bench.harness.answer("CPU_TASK", |_| done());
    bench.harness.advance(2 * BACKOFF);
    assert_eq!((waiting.wait().unwrap()["attempts"].clone(), bench.forwarded()), (json!(3), json!(1)));
}

#[test]
fn a_task_that_no_peer_takes_is_not_forwarded() {
    let bench = Bench::with_peers(2, |_| error("forbidden"));
    assert_eq!(bench.call(json!({}))["code"], "runtime_unavailable");
    assert_eq!((bench.sent("CPU_TASK"), bench.forwarded()), (2, json!(0)));
}

#[test]
fn a_peer_that_takes_no_tasks_is_asked_once_and_left_alone_for_a_while() {
    for code in ["forbidden", "no_provider", "queue_full", "limit_reached", "quota_exceeded", "node_stopping"] {
        let refusal = if code == "queue_full" { not_begun(code) } else { error(code) };
        let bench = Bench::with_peers(2, move |to| if to == address(1) { refusal.clone() } else { done() });
        for _ in 0..20 {
            assert_eq!(bench.call(json!({}))["executed_by"], address(2), "{code}");
            bench.tell_of_peers(2);
        }
        assert_eq!(bench.asked(), times(&[(1, 1), (2, 20)]), "{code}");
    }
}

#[test]
fn what_a_peer_has_against_one_task_it_need_not_have_against_another() {
    for code in ["invalid_task", "runtime_unavailable"] {
        let bench = Bench::with_peers(2, move |to| if to == address(1) { not_begun(code) } else { done() });
        for _ in 0..3 {
            assert_eq!(bench.call(json!({}))["executed_by"], address(2), "{code}");
        }
        assert_eq!(bench.asked(), times(&[(1, 3), (2, 3)]), "{code}");
    }
}

#[test]
fn the_one_peer_that_can_run_a_task_is_found_behind_all_that_refuse() {
    for code in ["forbidden", "no_provider", "queue_full", "limit_reached", "invalid_task"] {
        let bench = Bench::with_peers(9, move |to| if to == address(9) { done() } else { error(code) });
        assert_eq!(bench.call(json!({}))["executed_by"], address(9), "{code}");
        assert!(bench.asked().values().all(|count| *count == 1), "{code}: {:?}", bench.asked());
    }
}

#[test]
fn a_peer_that_has_just_refused_is_better_than_nobody() {
    let bench = Bench::with_peers(1, |_| not_begun("queue_full"));
    assert_eq!(bench.call(json!({}))["code"], "runtime_unavailable");
    assert_eq!(bench.sent("CPU_TASK"), 1, "it was asked once");
    bench.harness.answer("CPU_TASK", |_| done());
    assert_eq!(bench.call(json!({}))["result"], 7);
}

#[test]
fn a_task_that_is_cancelled_while_an_earlier_result_is_looked_for_costs_its_submitter_nothing() {
    for entry in [json!({ "found": false, "lease": 7 }), json!({ "found": false })] {
        let bench = Bench::with_peers(1, |_| done());
        let rules = json!({ "type": "QUOTA_RULES", "rules": { "cpu_tasks": { "local": 1 } } });
        bench.harness.answer("QUOTA_RULES", move |_| rules.clone());
        bench.harness.answer("QUOTA_TAKE", |_| json!({ "type": "STATUS", "status": "OK" }));
        bench.harness.answer("CACHE_RULES", |_| json!({ "type": "CACHE_RULES", "assume_pure": false }));
        bench.harness.answer("CACHE_ABANDON", |_| json!({ "type": "STATUS", "status": "OK" }));
        let canceller = Arc::downgrade(&bench.harness);
        bench.harness.answer("CACHE_GET", move |_| {
            let cancel = json!({ "type": "CANCEL_TASK", "task_id": "t" });
            canceller.upgrade().unwrap().call(cancel).unwrap();
            let mut reply = entry.clone();
            reply["type"] = json!("CACHE_ENTRY");
            reply
        });
        assert_eq!(bench.call(json!({ "cache": true }))["code"], "cancelled");
        assert_eq!((bench.sent("CACHE_GET"), bench.sent("QUOTA_TAKE"), bench.sent("CPU_TASK")), (1, 0, 0));
    }
}
