//! Attempts that wait for something else than a slot, or are paused: whom they keep from running, and what becomes of them.

use super::*;
use crate::pool::calls::is_unbegun;
use crate::pool::{Moved, Place, Stop, TaskCalls};

/// What tasks ask for is left open.
struct Open;

impl TaskCalls for Open {
    fn call(&self, _attempt: AttemptId, _number: u64, _message: Box<RawValue>) {}

    fn moved(&self, _number: u64, _place: Moved) {}
}

/// Processes that compute.
struct Busy;

impl Runtime for Busy {
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, _scratch: &Path) -> Result<Command, String> {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Ok(command)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Bench {
    /// With so many workers that are ready.
    fn with_workers(count: usize) -> Bench {
        let mut bench = Bench::new(PRIORITY);
        (1..count).for_each(|id| bench.add_worker(id));
        bench
    }

    /// A task of another node, unless it is this machine's user's. Each is isolated, so that its submitter is its own.
    fn calling(&mut self, name: &str, node: &str, priority: i64) -> AttemptId {
        let others_work = node != "local";
        let calls: Option<Arc<dyn TaskCalls>> = Some(Arc::new(Open));
        let peer = others_work.then(|| Box::from(node));
        let submitter = if others_work { format!("isolated:{name}:{node}") } else { node.to_owned() };
        self.submit(Attempt { calls, others_work, peer, ..Bench::attempt(name, &submitter, priority, 1.0) })
    }

    fn place(&self, id: AttemptId) -> Place {
        self.state.attempts[&id].place
    }

    fn worker_of(&mut self, id: AttemptId) -> &mut Worker {
        let worker = self.place(id).worker().unwrap();
        self.state.workers.get_mut(&worker).unwrap()
    }

    /// It was sent to a worker, which begins it.
    #[track_caller]
    fn begins(&mut self, id: AttemptId) {
        assert!(matches!(self.place(id), Place::Sent(_)), "{:?}", self.place(id));
        let worker = self.worker_of(id);
        let slot = worker.sent.front().unwrap().slot;
        assert!(worker.claims().start(slot));
    }

    /// It asks for something, the answer to which takes time.
    fn waits(&mut self, id: AttemptId, number: u64, what: &str) {
        self.asks(id, number);
        self.now += Duration::from_micros(10);
        self.state.wait_begins(id, number, what.to_owned(), self.now, &mut self.effects);
        self.state.dispatch(self.now, &mut self.effects);
    }

    fn asks(&mut self, id: AttemptId, number: u64) {
        let (worker, slot) = (self.worker_of(id).id, self.worker_of(id).sent.front().unwrap().slot);
        let message = RawValue::from_string("{}".to_owned()).unwrap();
        self.state.called(worker, slot, number, message, &mut self.effects);
    }

    fn is_answered(&mut self, id: AttemptId, number: u64) {
        self.state.answer(id, number, "{}", self.now);
        self.state.dispatch(self.now, &mut self.effects);
    }

    /// The supervisor looks around some times, as often as it does.
    fn look_around(&mut self, times: usize) {
        for _ in 0..times {
            self.now += Duration::from_millis(20);
            self.state.watch(self.now, &mut self.effects);
            self.state.dispatch(self.now, &mut self.effects);
        }
    }

    fn starts_and_waits(&mut self, name: &str, submitter: &str) -> AttemptId {
        let id = self.calling(name, submitter, 0);
        self.begins(id);
        self.waits(id, 1, "semaphore s");
        id
    }

    /// So many wait.
    fn fill(&mut self, count: usize, submitter: &str) {
        for number in 0..count {
            self.starts_and_waits(&format!("{submitter}-{number}"), submitter);
        }
    }

    /// It was told last that it is there.
    fn last_told(&self) -> &Moved {
        &self.effects.moved.last().unwrap().2
    }

    fn code_of_last_end(&self) -> (&str, &str) {
        let failed = self.effects.finished.last().unwrap().1.verdict.as_ref().err().unwrap();
        (&failed.code, &failed.error)
    }
}

fn waiting_for(what: &str) -> Moved {
    Moved::Waiting(what.to_owned())
}

#[test]
fn those_that_wait_keep_nobody_from_beginning() {
    let mut bench = Bench::with_workers(7);
    bench.state.sizes.suspended_max = 2;
    // Three quarters of what may wait are for this machine's user.
    let waiting: Vec<AttemptId> = (0..6).map(|number| bench.starts_and_waits(&format!("w{number}"), "local")).collect();
    assert!(waiting.iter().all(|id| matches!(bench.place(*id), Place::Out(_))));
    let next = bench.calling("next", "local", 0);
    bench.begins(next);
    assert_eq!(bench.running().as_deref(), Some("next"));
}

#[test]
fn one_more_than_may_wait_is_ended_and_the_next_one_begins() {
    let mut bench = Bench::with_workers(8);
    bench.fill(6, "local");
    let surplus = bench.starts_and_waits("surplus", "local");
    // It may be answered soon.
    assert!(matches!(bench.place(surplus), Place::Sent(_)));
    let next = bench.calling("next", "local", 0);
    assert_eq!(bench.place(next), Place::Queued);
    bench.look_around(10);
    let (code, text) = bench.code_of_last_end();
    assert!(code == "limit_reached" && text.contains("waiting_max 8"), "{code}: {text}");
    bench.begins(next);
}

#[test]
fn one_more_than_may_wait_goes_on_when_it_is_answered_soon() {
    let mut bench = Bench::with_workers(8);
    bench.fill(6, "local");
    let surplus = bench.starts_and_waits("surplus", "local");
    bench.look_around(2);
    bench.is_answered(surplus, 1);
    bench.look_around(20);
    assert!(matches!(bench.place(surplus), Place::Sent(_)));
}

#[test]
fn no_node_can_have_all_that_may_wait() {
    let mut bench = Bench::with_workers(9);
    bench.state.sizes.others_unprotected = true;
    let waits = |bench: &mut Bench, submitter: &str| {
        let id = bench.starts_and_waits(submitter, submitter);
        let waits = matches!(bench.place(id), Place::Out(_));
        bench.state.stop(id, Stop::Cancelled, bench.now, &mut bench.effects);
        waits
    };
    bench.fill(2, "one");
    assert!(!waits(&mut bench, "one"));
    assert!(waits(&mut bench, "two"));
    // With a worker for each one that was ended.
    (20..40).for_each(|id| bench.add_worker(id));
    for other in ["two", "three"] {
        bench.fill(2, other);
    }
    assert!(!waits(&mut bench, "four"));
    assert!(waits(&mut bench, "local"));
    bench.fill(2, "local");
    assert!(!waits(&mut bench, "local"));
}

#[test]
fn what_is_to_be_paused_counts_as_what_waits() {
    let mut bench = Bench::with_workers(8);
    bench.fill(6, "local");
    // One that has not begun has no process.
    let runs = bench.calling("runs", "local", 0);
    bench.begins(runs);
    let queued = bench.calling("queued", "local", 0);
    assert!(bench.state.pause(queued, bench.now, &mut bench.effects));
    assert_eq!(bench.place(queued), Place::Parked);
    assert!(bench.state.pause(runs, bench.now, &mut bench.effects));
    assert_eq!(bench.code_of_last_end().0, "limit_reached");
}

#[test]
fn who_cannot_begin_because_many_are_stopped_is_told_so() {
    let mut bench = Bench::with_workers(3);
    bench.state.sizes.suspended_max = 0;
    let waiting = bench.starts_and_waits("waiting", "local");
    let holder = bench.calling("holder", "local", 0);
    bench.begins(holder);
    bench.is_answered(waiting, 1);
    assert!(matches!(bench.place(waiting), Place::Begun(_)));
    let urgent = bench.calling("urgent", "local", 9);
    bench.look_around(3);
    let told = bench.effects.moved.iter().filter_map(|(_, _, told)| match told {
        Moved::Ready(reason) if reason.contains("suspended_max") => Some(*reason),
        _ => None,
    });
    // Once, and as one that has not begun.
    let reasons: Vec<&str> = told.collect();
    assert!(reasons.len() == 1 && is_unbegun(reasons[0]), "{reasons:?}");
    assert_eq!(bench.place(urgent), Place::Queued);
    // Whoever has begun gets on, and then it does.
    bench.state.stop(holder, Stop::Cancelled, bench.now, &mut bench.effects);
    bench.state.dispatch(bench.now, &mut bench.effects);
    assert!(matches!(bench.place(waiting), Place::Sent(_)));
    bench.waits(waiting, 2, "semaphore s");
    bench.begins(urgent);
}

#[test]
fn one_that_waits_goes_on_when_it_is_resumed() {
    let mut bench = Bench::with_workers(1);
    let waiting = bench.starts_and_waits("waiting", "local");
    assert!(bench.state.pause(waiting, bench.now, &mut bench.effects));
    assert!(bench.worker_of(waiting).is_stopped);
    assert_eq!(*bench.last_told(), waiting_for("paused"));
    assert!(bench.state.resume(waiting, bench.now, &mut bench.effects));
    assert!(!bench.worker_of(waiting).is_stopped);
    assert_eq!((bench.place(waiting), bench.last_told()), (Place::Out(0), &waiting_for("semaphore s")));
}

#[test]
fn one_that_was_stopped_for_another_goes_on_without_a_slot_when_it_waits() {
    let mut bench = Bench::with_workers(2);
    bench.set(Algorithm::Priority { preemptive: true, ageing: None });
    let first = bench.calling("first", "local", 0);
    bench.begins(first);
    bench.asks(first, 1);
    let urgent = bench.calling("urgent", "local", 5);
    bench.begins(urgent);
    assert!(bench.worker_of(first).is_stopped);
    bench.state.wait_begins(first, 1, "semaphore s".to_owned(), bench.now, &mut bench.effects);
    assert!(!bench.worker_of(first).is_stopped && matches!(bench.place(first), Place::Out(_)));
}

#[test]
fn one_of_several_threads_is_answered_and_the_others_still_wait() {
    let mut bench = Bench::with_workers(2);
    let threads = bench.starts_and_waits("threads", "local");
    bench.waits(threads, 2, "queue q");
    assert_eq!(*bench.last_told(), waiting_for("queue q"));
    bench.is_answered(threads, 2);
    assert!(matches!(bench.place(threads), Place::Sent(_)));
    let other = bench.calling("other", "local", 0);
    assert_eq!(bench.place(other), Place::Queued);
    // Its process does nothing.
    bench.look_around(10);
    assert!(matches!(bench.place(threads), Place::Out(_)));
    assert!(bench.effects.moved.iter().any(|(_, _, told)| *told == waiting_for("semaphore s")));
    bench.begins(other);
}

#[test]
fn one_that_waits_for_nothing_keeps_its_slot_when_it_does_nothing() {
    let mut bench = Bench::with_workers(2);
    let asleep = bench.calling("asleep", "local", 0);
    bench.begins(asleep);
    bench.asks(asleep, 1);
    bench.look_around(20);
    assert!(matches!(bench.place(asleep), Place::Sent(_)));
}

#[test]
fn one_that_computes_while_it_waits_needs_a_slot() {
    let mut bench = Bench::with_workers(1);
    let mut worker = Worker::start(1, &PYTHON, &Busy, bench.folder.path()).unwrap();
    worker.ready = true;
    bench.state.workers.insert(1, worker);
    bench.state.workers.get_mut(&0).unwrap().ready = false;
    let computes = bench.starts_and_waits("computes", "local");
    bench.worker().ready = true;
    let holder = bench.calling("holder", "local", 0);
    bench.begins(holder);
    assert_eq!(bench.place(computes), Place::Out(1));
    let begun = Instant::now();
    while bench.place(computes) != Place::Begun(1) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", bench.place(computes));
        std::thread::sleep(Duration::from_millis(5));
        bench.now = Instant::now();
        bench.state.watch(bench.now, &mut bench.effects);
    }
    // It gets no slot while another one has it, and what it did was part of its run.
    assert!(bench.worker_of(computes).is_stopped);
    let now = bench.now;
    assert!(bench.worker_of(computes).head_ran(now) >= Duration::from_millis(50));
    bench.state.stop(holder, Stop::Cancelled, now, &mut bench.effects);
    bench.state.dispatch(now, &mut bench.effects);
    assert_eq!(bench.place(computes), Place::Sent(1));
    assert!(!bench.worker_of(computes).is_stopped);
}

#[test]
fn time_in_which_it_waits_for_something_else_is_no_time_in_the_queue() {
    let mut bench = Bench::with_workers(1);
    let waiting = bench.starts_and_waits("waiting", "local");
    bench.now += Duration::from_secs(10);
    bench.is_answered(waiting, 1);
    assert!(bench.state.pause(waiting, bench.now, &mut bench.effects));
    bench.now += Duration::from_secs(5);
    assert!(bench.state.resume(waiting, bench.now, &mut bench.effects));
    bench.state.dispatch(bench.now, &mut bench.effects);
    bench.end();
    let outcome = &bench.effects.finished.last().unwrap().1;
    assert!((15.0..15.1).contains(&outcome.blocked_seconds), "{}", outcome.blocked_seconds);
    let statistics = bench.state.measures.statistics(bench.now);
    let (waited, turnaround) = (statistics[0].average_waiting_seconds, statistics[0].average_turnaround_seconds);
    assert!(waited < 0.1 && turnaround >= 15.0, "{waited}, {turnaround}");
}
