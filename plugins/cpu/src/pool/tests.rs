//! The pool without its thread: tests say when a worker begins and ends what it was sent.

mod waiting;

use super::channel::{Done, Said};
use super::scratch::Remover;
use super::worker::Worker;
use super::{
    Attempt, AttemptId, Done as Ending, Effects, Lane, Outcome, Phase, PoolLoad, RuntimeKey, Runtimes, Sizes, State,
    Turn, WorkerId,
};
use crate::config::Config;
use crate::images::Images;
use crate::runtime::Runtime;
use crate::scheduler::Algorithm;
use crate::task::Limits;
use crate::tools::Tools;
use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::outcome;
use std::borrow::Cow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PYTHON: RuntimeKey = RuntimeKey::Python { trusted: false };
const PRIORITY: Algorithm = Algorithm::Priority { preemptive: false, ageing: None };
const SJF: Algorithm = Algorithm::Sjf { preemptive: false };

/// Processes that do nothing.
struct Idle;

impl Runtime for Idle {
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, _scratch: &Path) -> Result<Command, String> {
        let mut command = Command::new("sleep");
        command.arg("1000");
        Ok(command)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

struct Bench {
    state: State,
    now: Instant,
    effects: Effects,
    folder: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for worker in std::mem::take(&mut self.state.workers).into_values() {
            worker.bury();
        }
    }
}

impl Bench {
    /// One slot, and a worker that is ready and serves whoever comes first.
    fn new(algorithm: Algorithm) -> Bench {
        let (folder, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let sizes = Sizes {
            slots: 1,
            spares: 0,
            processes_max: 4,
            suspended_max: 4,
            waiting_max: 8,
            queue_tasks_max: 100,
            queue_bytes_max: 1 << 20,
            scratch_bytes_max: 1 << 20,
            others_unprotected: false,
        };
        let config = Config::default();
        let images = Arc::new(Images::new(folder.path(), folder.path(), &config));
        let runtimes = Runtimes::new(&config, folder.path(), folder.path(), images, Arc::new(Tools::default()));
        let mut state = State::new(sizes, algorithm, runtimes, Remover::start().unwrap(), now);
        let mut lane = Lane::new(Arc::new(Idle), algorithm);
        lane.phase = Phase::Ready;
        state.lanes.insert(PYTHON, lane);
        let mut bench = Bench { state, now, effects: Effects::default(), folder };
        bench.add_worker(0);
        bench
    }

    fn add_worker(&mut self, id: WorkerId) {
        let mut worker = Worker::start(id, &PYTHON, &Idle, self.folder.path()).unwrap();
        worker.ready = true;
        self.state.workers.insert(id, worker);
    }

    fn attempt(name: &str, submitter: &str, priority: i64, estimate_seconds: f64) -> Attempt {
        Attempt {
            name: name.into(),
            calls: None,
            runtime: PYTHON,
            others_work: false,
            peer: None,
            body: Arc::from(*b"\"function\":\"main\"}"),
            submitter: submitter.into(),
            isolated: false,
            confidential: false,
            may_leave: false,
            turn: None,
            priority,
            deadline: Instant::now() + Duration::from_secs(600),
            estimate_seconds,
            limits: Limits { cpu_seconds: None, memory_bytes: 1 << 30, output_bytes: 1 << 20 },
            done: Box::new(|_| ()),
        }
    }

    fn submit(&mut self, attempt: Attempt) -> AttemptId {
        // What comes later has waited less.
        self.now += Duration::from_micros(10);
        let id = self.state.take_in(attempt, self.now).map_err(|failed| failed.error).unwrap();
        self.state.dispatch(self.now, &mut self.effects);
        id
    }

    fn add(&mut self, name: &str, priority: i64, estimate_seconds: f64) -> AttemptId {
        self.submit(Bench::attempt(name, "local", priority, estimate_seconds))
    }

    fn worker(&mut self) -> &mut Worker {
        self.state.workers.get_mut(&0).unwrap()
    }

    /// The worker does what one does with the next order: it begins that, or says that it was taken back.
    fn begin(&mut self) -> Option<String> {
        loop {
            let slot = self.worker().sent.front()?.slot;
            if self.worker().claims().start(slot) {
                return self.running();
            }
            self.state.heard(0, Said::Skipped { slot }, self.now, &mut self.effects);
            self.state.dispatch(self.now, &mut self.effects);
        }
    }

    /// The worker ends what it has begun, after a time in which most tasks end.
    fn end(&mut self) {
        let slot = self.worker().sent.front().unwrap().slot;
        assert!(self.worker().claims().finish(slot));
        self.report(slot);
    }

    fn report(&mut self, slot: usize) {
        self.now += Duration::from_micros(100);
        let outcome = Outcome::begun(Ok(RawValue::from_string("1".to_owned()).unwrap()));
        // As long as it can have been.
        let outcome = Outcome { seconds: f64::MAX, ..outcome };
        let done = Done { slot, outcome, retire: false };
        self.state.heard(0, Said::Done(Box::new(done)), self.now, &mut self.effects);
        self.state.dispatch(self.now, &mut self.effects);
    }

    /// A task runs, and what comes next is sent ahead, since the last one was short.
    fn short_tasks(algorithm: Algorithm) -> Bench {
        let mut bench = Bench::new(algorithm);
        bench.add("first", 0, 1.0);
        assert_eq!(bench.begin().as_deref(), Some("first"));
        bench.end();
        bench.add("holder", 0, 1.0);
        assert_eq!(bench.begin().as_deref(), Some("holder"));
        bench
    }

    fn set(&mut self, algorithm: Algorithm) {
        self.state.set_algorithm(algorithm, self.now);
        self.state.dispatch(self.now, &mut self.effects);
    }

    fn name(&self, id: AttemptId) -> String {
        self.state.attempts[&id].attempt.name.to_string()
    }

    fn running(&self) -> Option<String> {
        self.state.running().map(|entry| entry.attempt.name.to_string())
    }

    /// What the worker was sent and was not taken back, in its order.
    fn sent(&mut self) -> Vec<String> {
        let ids: Vec<AttemptId> = self.worker().sent.iter().filter_map(|sent| sent.attempt).collect();
        ids.into_iter().map(|id| self.name(id)).collect()
    }

    fn load(&self) -> PoolLoad {
        self.state.load(self.now)
    }

    /// Ends what runs and all that follows; the order in which that begins.
    fn run_all(&mut self) -> Vec<String> {
        let mut order = Vec::new();
        while !self.state.attempts.is_empty() {
            self.end();
            order.extend(self.begin());
        }
        order
    }
}

#[test]
fn what_was_sent_ahead_gets_the_new_order_when_the_algorithm_is_switched() {
    let mut bench = Bench::short_tasks(Algorithm::Fcfs);
    for (name, priority, estimate) in [("a", 1, 0.3), ("b", 5, 0.2), ("c", 3, 0.1)] {
        bench.add(name, priority, estimate);
    }
    assert_eq!(bench.sent(), ["holder", "a", "b", "c"]);
    for (algorithm, expected) in [
        (PRIORITY, ["holder", "b", "c", "a"]),
        (SJF, ["holder", "c", "b", "a"]),
        (Algorithm::Fcfs, ["holder", "a", "b", "c"]),
        (PRIORITY, ["holder", "b", "c", "a"]),
    ] {
        bench.set(algorithm);
        assert_eq!(bench.sent(), expected, "{algorithm:?}");
        let load = bench.load();
        assert_eq!((load.running, load.begun, load.queued), (1, 1, 3), "{algorithm:?}");
    }
    assert_eq!(bench.run_all(), ["b", "c", "a"]);
    assert_eq!(bench.load().not_running(), 0);
}

#[test]
fn switching_more_often_than_a_worker_can_be_sent_orders_loses_nothing() {
    let mut bench = Bench::short_tasks(Algorithm::Fcfs);
    let names: Vec<String> = (0..20).map(|number| format!("task-{number:02}")).collect();
    for (number, name) in (0_u8..).zip(&names) {
        bench.add(name, i64::from(number), f64::from(40 - number));
    }
    for _ in 0..20 {
        for algorithm in [PRIORITY, SJF, Algorithm::Fcfs] {
            bench.set(algorithm);
            assert_eq!(bench.load().queued, names.len());
        }
    }
    assert_eq!(bench.run_all(), names);
}

#[test]
fn one_that_its_worker_has_begun_stays_and_one_on_its_way_is_chosen_anew() {
    let mut bench = Bench::short_tasks(Algorithm::Fcfs);
    for (name, priority) in [("a", 1), ("b", 5), ("c", 3)] {
        bench.add(name, priority, 1.0);
    }
    bench.end();
    // It has a slot, and might have begun.
    bench.set(PRIORITY);
    assert_eq!((bench.running(), bench.load().not_running()), (None, 3));
    assert_eq!(bench.begin().as_deref(), Some("b"));
    bench.set(Algorithm::Fcfs);
    assert_eq!((bench.running().as_deref(), bench.load().not_running()), (Some("b"), 2));
    assert_eq!(bench.run_all(), ["a", "c"]);
}

#[test]
fn only_a_task_that_its_worker_has_begun_counts_as_running() {
    let mut bench = Bench::new(Algorithm::Fcfs);
    bench.add("a", 0, 1.0);
    let load = bench.load();
    assert_eq!((load.running, load.begun, load.not_running(), bench.running()), (1, 0, 1, None));
    bench.begin();
    let load = bench.load();
    assert_eq!((load.begun, load.not_running(), bench.running().as_deref()), (1, 0, Some("a")));
    bench.add("b", 0, 1.0);
    assert_eq!((bench.load().not_running(), bench.running().as_deref()), (1, Some("a")));
    bench.end();
    assert_eq!((bench.load().begun, bench.load().not_running(), bench.running()), (0, 1, None));
}

#[test]
fn a_turn_that_was_over_since_the_last_look_is_looked_at_even_when_nobody_waited() {
    let mut bench = Bench::new(Algorithm::RoundRobin { quantum: Duration::from_millis(50) });
    bench.add("endless", 0, 1.0);
    bench.begin();
    let begun = bench.now;
    let over = bench.state.quantum_over(begun).unwrap();
    assert!(over >= begun + Duration::from_millis(50));
    assert_eq!(bench.state.quantum_over(over - Duration::from_nanos(1)), Some(over));
    assert_eq!(bench.state.quantum_over(over), None);
}

#[test]
fn a_new_priority_counts_for_one_that_was_sent_ahead() {
    let mut bench = Bench::short_tasks(PRIORITY);
    let ids = [("a", 1), ("b", 1), ("c", 1)].map(|(name, priority)| bench.add(name, priority, 1.0));
    assert_eq!(bench.sent(), ["holder", "a", "b", "c"]);
    assert!(bench.state.set_priority(ids[2], 2, bench.now));
    bench.state.dispatch(bench.now, &mut bench.effects);
    assert_eq!(bench.sent(), ["holder", "c", "a", "b"]);
    assert_eq!(bench.run_all(), ["c", "a", "b"]);
}

fn candidates(bench: &mut Bench) -> (String, Vec<String>, usize, String) {
    let decision = bench.effects.decisions.pop().unwrap();
    let named = decision.candidates.into_iter().map(|candidate| candidate.pid).collect();
    (decision.chosen, named, decision.queue, decision.why)
}

#[test]
fn candidates_for_a_slot_are_those_with_a_worker_that_is_ready() {
    let mut bench = Bench::new(Algorithm::Fcfs);
    bench.add("holder", 0, 1.0);
    bench.begin();
    // Its worker is the only one, and serves nobody else.
    for (name, submitter) in [("a", "local"), ("b", "local"), ("theirs", "peer"), ("c", "local")] {
        bench.submit(Bench::attempt(name, submitter, 0, 1.0));
    }
    // Nobody can run this at all yet.
    bench.submit(Attempt { runtime: RuntimeKey::Wasm, ..Bench::attempt("guest", "local", 0, 1.0) });
    bench.now += Duration::from_millis(50);
    bench.end();
    let (chosen, named, queue, why) = candidates(&mut bench);
    assert_eq!((chosen.as_str(), named, queue, why.as_str()), ("a", vec!["a".into(), "b".into()], 5, "it came first"));
    bench.begin();
    bench.now += Duration::from_millis(50);
    bench.end();
    let (chosen, named, queue, why) = candidates(&mut bench);
    assert_eq!((chosen.as_str(), named, queue), ("b", vec!["b".to_owned()], 4));
    assert_eq!(why, "of 4 that wait it is the only one for which a worker is ready");
}

#[test]
fn candidates_to_be_sent_ahead_are_those_that_the_same_worker_can_get() {
    let mut bench = Bench::short_tasks(PRIORITY);
    let isolated = Attempt { isolated: true, ..Bench::attempt("alone", "local", 1, 1.0) };
    // All at once.
    for attempt in [Bench::attempt("b", "local", 3, 1.0), Bench::attempt("c", "local", 2, 1.0), isolated] {
        bench.state.take_in(attempt, bench.now).map_err(|failed| failed.error).unwrap();
    }
    bench.state.dispatch(bench.now, &mut bench.effects);
    let last = candidates(&mut bench);
    assert_eq!((last.0.as_str(), last.1, last.2), ("c", vec!["c".to_owned()], 2));
    assert_eq!(last.3, "of 2 that wait it is the only one for which a worker is ready");
    let first = candidates(&mut bench);
    assert_eq!((first.0.as_str(), first.1, first.2), ("b", vec!["b".into(), "c".into()], 3));
    assert_eq!(first.3, "it has priority 3, the next one 2");
}

/// What is told of attempts, in the order in which it is told.
fn told(bench: &mut Bench, names: &[(&str, i64, bool)]) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    for &(name, priority, may_leave) in names {
        let (heard, owner) = (Arc::clone(&told), name.to_owned());
        let done: Ending = Box::new(move |outcome| {
            let code = outcome.verdict.err().map_or(Cow::Borrowed("done"), |failed| failed.code);
            heard.lock().push(format!("{owner}: {code}"));
        });
        bench.submit(Attempt { may_leave, done, ..Bench::attempt(name, "local", priority, 1.0) });
    }
    told
}

fn hear(bench: &mut Bench) {
    for (done, outcome) in std::mem::take(&mut bench.effects.finished) {
        done(outcome);
    }
}

#[test]
fn those_that_would_begin_last_are_given_back_in_their_order() {
    let mut bench = Bench::new(PRIORITY);
    bench.add("holder", 9, 1.0);
    bench.begin();
    let names = [("a", 1, true), ("b", 5, true), ("c", 3, false), ("d", 0, false), ("e", 2, true)];
    let told = told(&mut bench, &names);
    bench.state.give_back(2, bench.now, &mut bench.effects);
    hear(&mut bench);
    assert_eq!(*told.lock(), ["e: given_back", "a: given_back"]);
    assert_eq!(bench.load().queued, 3);
    // What runs, and what must stay, stays; however many are wanted.
    bench.state.give_back(usize::MAX, bench.now, &mut bench.effects);
    hear(&mut bench);
    assert_eq!(told.lock().last().unwrap(), "b: given_back");
    assert_eq!(bench.run_all(), ["c", "d"]);
}

/// Attempts of some priorities, and the turns that they had when all of them were given back.
fn given_back(bench: &mut Bench, names: &[(&str, i64)]) -> Vec<(String, i64, Turn)> {
    let turns = Arc::new(Mutex::new(Vec::new()));
    for &(name, priority) in names {
        let (heard, owner) = (Arc::clone(&turns), name.to_owned());
        let done: Ending = Box::new(move |outcome| heard.lock().push((owner, priority, *outcome.turn.unwrap())));
        bench.submit(Attempt { may_leave: true, done, ..Bench::attempt(name, "local", priority, 1.0) });
    }
    bench.state.give_back(names.len(), bench.now, &mut bench.effects);
    hear(bench);
    std::mem::take(&mut turns.lock())
}

fn come_back(bench: &mut Bench, given_back: Vec<(String, i64, Turn)>) {
    for (name, priority, turn) in given_back {
        bench.submit(Attempt { turn: Some(turn), ..Bench::attempt(&name, "local", priority, 1.0) });
    }
}

#[test]
fn what_was_given_back_is_taken_in_again_by_a_full_queue() {
    let mut bench = Bench::new(Algorithm::Fcfs);
    bench.state.sizes.queue_tasks_max = 1;
    bench.add("holder", 0, 1.0);
    bench.begin();
    let given_back = given_back(&mut bench, &[("a", 0)]);
    bench.add("b", 0, 1.0);
    let now = bench.now;
    let another = Bench::attempt("c", "local", 0, 1.0);
    assert!(bench.state.take_in(another, now).is_err_and(|failed| failed.code == outcome::QUEUE_FULL));
    come_back(&mut bench, given_back);
    assert_eq!(bench.run_all(), ["a", "b"], "and it has lost nothing by it");
}

#[test]
fn what_was_given_back_keeps_its_turn_and_has_waited_since_it_came() {
    let ageing = Algorithm::Priority { preemptive: false, ageing: Some(Duration::from_millis(10)) };
    for (algorithm, expected) in [(Algorithm::Fcfs, ["a", "b", "c", "d"]), (ageing, ["b", "a", "d", "c"])] {
        let mut bench = Bench::new(algorithm);
        bench.add("holder", 9, 1.0);
        bench.begin();
        let submitted = bench.state.counts.submitted;
        let arrived = bench.now;
        let given_back = given_back(&mut bench, &[("a", 0), ("b", 1)]);
        bench.now += Duration::from_millis(100);
        for (name, priority) in [("c", 0), ("d", 1)] {
            bench.add(name, priority, 1.0);
        }
        // In an order of their own.
        come_back(&mut bench, given_back.into_iter().rev().collect());
        assert_eq!(bench.state.counts.submitted, submitted + 4, "each is counted once");
        let since = arrived + Duration::from_millis(1);
        let early = bench.state.attempts.values().filter(|entry| entry.arrived < since).count();
        assert_eq!(early, 3, "what came back has waited since it first came");
        assert_eq!(bench.run_all(), expected, "{algorithm:?}");
    }
}
