//! Runs attempts at tasks in worker processes: at most one per slot at a time, each submitter's in interpreters of its
//! own, within their limits.
//!
//! All state is behind one lock, which any thread takes: a task goes from the thread that received it straight into a
//! worker's socket, and its result from the supervisor thread straight to whoever waits. Nobody is called while the lock
//! is held: what is finished is collected in [`Effects`] and told afterwards.

mod alarm;
mod books;
mod calls;
mod channel;
mod decisions;
mod dispatch;
mod give_back;
mod lane;
mod measure;
mod outcome;
mod preempt;
mod process;
mod reports;
mod scratch;
mod stop;
mod supervisor;
#[cfg(test)]
mod tests;
mod usage;
mod waiting;
mod watch;
mod worker;

pub(crate) use calls::{Moved, TaskCalls, is_unbegun};
pub(crate) use decisions::Decision;
pub(crate) use give_back::Turn;
pub(crate) use lane::{LaneReport, Phase, missing_protections};
pub(crate) use outcome::{Failed, Files, Outcome};
pub(crate) use stop::Stop;
pub(crate) use supervisor::{Links, start};
pub(crate) use usage::Usage;

use crate::runtime::{RuntimeKey, Runtimes};
use crate::scheduler::{Algorithm, Ticket};
use crate::task::Limits;
use calls::Called;
use decisions::Budget;
use lane::Lane;
use measure::Measures;
use parking_lot::{Condvar, Mutex};
use scratch::Remover;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::DecisionListener;
use worker::Worker;

/// Names an attempt.
pub(crate) type AttemptId = u64;
/// Names a worker process.
pub(crate) type WorkerId = usize;

/// Told how an attempt ended.
pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// One run of a task on this node.
pub(crate) struct Attempt {
    /// What decisions call it: its process.
    pub name: Arc<str>,
    /// Serves its system calls; a task of nobody's has none.
    pub calls: Option<Arc<dyn TaskCalls>>,
    /// What must run it.
    pub runtime: RuntimeKey,
    /// Comes from somebody else than this machine's user, so it is run with protections or not at all.
    pub others_work: bool,
    /// The other node that it comes from, if it does.
    pub peer: Option<Box<str>>,
    /// The order's JSON behind its slot.
    pub body: Arc<[u8]>,
    /// Whose interpreters it may use.
    pub submitter: Arc<str>,
    /// The interpreter serves nobody afterwards.
    pub isolated: bool,
    /// Whether its load may be announced.
    pub confidential: bool,
    /// Whether it may run on another node: [`Pool::give_back`] takes no others.
    pub may_leave: bool,
    /// The turn that it had when it was given back, for one that comes back: it keeps it, and a queue that is full does not
    /// turn it away.
    pub turn: Option<Turn>,
    /// Higher first.
    pub priority: i64,
    /// When its wall time is over.
    pub deadline: Instant,
    /// What it is expected to need, in seconds.
    pub estimate_seconds: f64,
    /// What it may use.
    pub limits: Limits,
    /// Told how it ended, once, on any thread, without the pool's lock.
    pub done: Done,
}

/// Sizes of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Attempts that run at once.
    pub slots: usize,
    /// Started workers without a submitter, in a runtime whose workers serve one each.
    pub spares: usize,
    /// Processes of such a runtime together.
    pub processes_max: usize,
    /// Attempts that may have begun and wait for nothing but a slot: beyond that no other one begins.
    pub suspended_max: usize,
    /// Attempts that may have begun and wait for something else, or are paused: [`State::may_wait`] says whose.
    pub waiting_max: usize,
    /// Attempts that may wait.
    pub queue_tasks_max: usize,
    /// Bytes that may wait.
    pub queue_bytes_max: usize,
    /// Bytes of files that an attempt may write.
    pub scratch_bytes_max: u64,
    /// Whether others' work is taken without protections that the kernel does not have.
    pub others_unprotected: bool,
}

/// How busy the pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PoolLoad {
    /// Attempts that run at once.
    pub slots: usize,
    /// Attempts that have a slot.
    pub running: usize,
    /// Of them, those that have begun; the others are on their way to their workers.
    pub begun: usize,
    /// Attempts that wait for a slot, also those that were sent ahead and wait behind another one in their worker.
    pub queued: usize,
    /// Expected seconds of both.
    pub backlog_seconds: f64,
}

impl PoolLoad {
    /// Attempts that have not begun, or not again: those that wait for a slot, and those on their way to their workers.
    pub(crate) fn not_running(&self) -> usize {
        self.queued + self.running - self.begun
    }

    /// Expected seconds until a further attempt would begin, when no slot is free.
    pub(crate) fn expected_wait(&self) -> f64 {
        self.backlog_seconds / self.slots.max(1) as f64
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Attempts taken in.
    pub submitted: u64,
    /// Attempts that were run, to an end of any kind.
    pub executed: u64,
    /// Worker processes started.
    pub workers_started: u64,
    /// Worker processes that ended without being asked to.
    pub workers_died: u64,
}

/// The pool. Shared by all threads that submit, and the supervisor.
pub(crate) struct Pool {
    state: Mutex<State>,
    waker: mio::Waker,
    on_decision: DecisionListener,
    /// Signalled whenever attempts end while the pool stops.
    drained: Condvar,
}

struct State {
    sizes: Sizes,
    runtimes: Runtimes,
    algorithm: Algorithm,
    lanes: BTreeMap<RuntimeKey, Lane>,
    /// Attempts that wait for a slot, over all lanes.
    queued: usize,
    /// Attempts that are paused and have not begun, and their bytes.
    parked: (usize, usize),
    attempts: HashMap<AttemptId, Entry>,
    /// By deadline, to find the next one.
    deadlines: BTreeSet<(Instant, AttemptId)>,
    workers: BTreeMap<WorkerId, Worker>,
    next_attempt: AttemptId,
    /// Number of the next one that comes to the queue.
    next_sequence: u64,
    /// When the pool was started: tickets count from then.
    epoch: Instant,
    measures: Measures,
    budget: Budget,
    /// Who has just lost its slot to the next one that gets one, and why.
    gave_way: Option<(String, String)>,
    queued_bytes: usize,
    /// Expected seconds of what waits; set to 0 whenever nothing does, so that rounding errors cannot add up.
    queued_seconds: f64,
    /// Attempts that are first in the queue and cannot begin for now, which they have not been told.
    held_back: Vec<AttemptId>,
    /// Runtimes that must be made ready, off this thread.
    unprepared: Vec<RuntimeKey>,
    counts: Counts,
    /// When the supervisor will look around by itself; none when it waits for something to happen.
    awake_until: Option<Instant>,
    last_activity: Instant,
    /// When attempts without a slot were looked at.
    off_slot_looked_at: Instant,
    /// Something changed that the tracker should know of, and whether it may be told before the next heartbeat.
    load_changed: bool,
    load_announced: bool,
    stopping: bool,
    /// Removes the folders of workers that have ended.
    remover: Remover,
}

struct Entry {
    attempt: Attempt,
    ticket: Ticket,
    place: Place,
    /// Workers that ended when it was their next order, and before they began it.
    unbegun: u32,
    arrived: Instant,
    /// When it began, for one that has lost its slot since.
    first_run: Option<Instant>,
    /// How often it has lost its slot.
    switches: u32,
    is_paused: bool,
    /// What it waits for, beside a slot.
    waits_for: Option<String>,
    /// Since when it has been waiting for something else than a slot, or has been paused.
    blocked_since: Option<Instant>,
    /// For how long it did so before.
    blocked: Duration,
    /// It was told that nobody begins for now.
    is_held_back: bool,
    /// How often it was told where it is, and whether it was told that it runs.
    moves: u64,
    is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits for a slot, and has not begun.
    Queued,
    /// It has not begun and is paused.
    Parked,
    /// It is on its way to a worker, or runs there in a slot.
    Sent(WorkerId),
    /// It has begun and waits for a slot.
    Begun(WorkerId),
    /// It has begun and waits for something else, or is paused.
    Out(WorkerId),
}

impl Place {
    fn worker(self) -> Option<WorkerId> {
        match self {
            Place::Queued | Place::Parked => None,
            Place::Sent(worker) | Place::Begun(worker) | Place::Out(worker) => Some(worker),
        }
    }
}

/// What must happen once the lock is released.
#[derive(Default)]
struct Effects {
    finished: Vec<(Done, Outcome)>,
    called: Vec<Called>,
    moved: Vec<(Arc<dyn TaskCalls>, u64, Moved)>,
    decisions: Vec<Decision>,
}

impl Effects {
    fn happen(self, pool: &Pool) {
        for decision in &self.decisions {
            (pool.on_decision)(decision);
        }
        for (calls, number, place) in self.moved {
            calls.moved(number, place);
        }
        for Called { calls, attempt, number, message } in self.called {
            calls.call(attempt, number, message);
        }
        for (done, outcome) in self.finished {
            done(outcome);
        }
    }
}

impl Pool {
    /// Takes in an attempt, or says why not; then `done` is not called.
    pub(crate) fn submit(&self, attempt: Attempt) -> Result<AttemptId, Failed> {
        let mut state = self.state.lock();
        // With the lock, so that what happens later has a later time.
        let now = Instant::now();
        let deadline = attempt.deadline;
        let id = state.take_in(attempt, now)?;
        let mut effects = Effects::default();
        state.dispatch(now, &mut effects);
        // The supervisor must know of the deadline, and of workers that are missing; while it is awake anyway, it will see.
        let wake = state.has_chores() || state.awake_until.is_none_or(|until| until > deadline);
        drop(state);
        effects.happen(self);
        if wake {
            let _ = self.waker.wake();
        }
        Ok(id)
    }

    /// Takes in attempts that come at the same instant: they are chosen from together.
    pub(crate) fn submit_all(&self, attempts: Vec<Attempt>) -> Vec<Result<AttemptId, Failed>> {
        let taken = self.act(|state, now, _| attempts.into_iter().map(|attempt| state.take_in(attempt, now)).collect());
        // For their deadlines.
        let _ = self.waker.wake();
        taken
    }

    /// Stops an attempt, queued or running; it is told at once. False when it has ended already.
    pub(crate) fn stop(&self, id: AttemptId, reason: Stop) -> bool {
        self.act(|state, now, effects| state.stop(id, reason, now, effects))
    }

    /// Takes up to `count` attempts out of the queue that would begin last and may run elsewhere; each is told that it is
    /// [`GIVEN_BACK`].
    pub(crate) fn give_back(&self, count: usize) {
        self.act(|state, now, effects| state.give_back(count, now, effects));
    }

    /// Changes something, lets what follows from that happen, and wakes the supervisor when it has something to do.
    fn act<R>(&self, change: impl FnOnce(&mut State, Instant, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        let now = Instant::now();
        let result = change(&mut state, now, &mut effects);
        state.dispatch(now, &mut effects);
        let wake = state.has_chores();
        drop(state);
        effects.happen(self);
        if wake {
            let _ = self.waker.wake();
        }
        result
    }

    /// Answers a system call; nothing happens when the attempt is over, or has no such call.
    pub(crate) fn answer(&self, id: AttemptId, number: u64, json: &str) {
        self.act(|state, now, effects| {
            state.answer(id, number, json, now);
            state.dispatch(now, effects);
            if state.attempts.get(&id).is_some_and(|entry| matches!(entry.place, Place::Begun(_))) {
                state.tell(id, effects);
            }
        });
    }

    /// An attempt waits for the answer to a call, and leaves its slot meanwhile; nothing happens when the answer has been
    /// given already. `what` says what it waits for.
    pub(crate) fn wait_begins(&self, id: AttemptId, number: u64, what: String) {
        self.act(|state, now, effects| state.wait_begins(id, number, what, now, effects));
    }

    /// Stops an attempt wherever it is until it is resumed. False when it is over.
    pub(crate) fn pause(&self, id: AttemptId) -> bool {
        self.act(|state, now, effects| state.pause(id, now, effects))
    }

    /// Lets an attempt go on that was paused. False when it is over.
    pub(crate) fn resume(&self, id: AttemptId) -> bool {
        self.act(|state, now, effects| state.resume(id, now, effects))
    }

    /// Changes the priority of an attempt. False when it is over.
    pub(crate) fn set_priority(&self, id: AttemptId, priority: i64) -> bool {
        self.act(|state, now, _| state.set_priority(id, priority, now))
    }

    /// How busy the pool is.
    pub(crate) fn load(&self) -> PoolLoad {
        self.state.lock().load(Instant::now())
    }

    /// The same, and the name of the attempt that has been running in its slot for the longest.
    pub(crate) fn load_and_running(&self) -> (PoolLoad, Option<Arc<str>>) {
        let state = self.state.lock();
        (state.load(Instant::now()), state.running().map(|entry| Arc::clone(&entry.attempt.name)))
    }

    /// Switches the order of the queue: all that wait are sorted anew, those that have begun too, and those that wait in
    /// their workers.
    pub(crate) fn set_algorithm(&self, algorithm: Algorithm) {
        self.act(|state, now, _| state.set_algorithm(algorithm, now));
    }

    /// The order of the queue.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.state.lock().algorithm
    }

    /// Counts since the start.
    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// The runtimes that have been needed so far.
    pub(crate) fn lanes(&self) -> Vec<LaneReport> {
        let state = self.state.lock();
        let report = |(key, lane): (&RuntimeKey, &Lane)| {
            let workers = state.workers.values().filter(|worker| worker.runtime == *key);
            LaneReport {
                key: key.clone(),
                phase: lane.phase.clone(),
                description: lane.description.clone(),
                processes: workers.filter(|worker| worker.ready && !worker.doomed).count(),
                is_hardened: lane.runtime.is_hardened(),
                protections: lane.protections.clone(),
            }
        };
        state.lanes.iter().map(report).collect()
    }

    /// Gets a runtime ready before anybody needs it.
    pub(crate) fn warm_up(&self, key: &RuntimeKey) {
        let mut state = self.state.lock();
        state.wake_lane(key);
        drop(state);
        let _ = self.waker.wake();
    }

    /// A runtime has been made ready, or cannot be.
    pub(crate) fn prepared(&self, key: &RuntimeKey, result: Result<(), String>) {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        match result {
            Ok(()) => {
                if let Some(lane) = state.lanes.get_mut(key) {
                    lane.phase = Phase::Ready;
                }
                state.dispatch(now, &mut effects);
            }
            Err(reason) => state.give_up(key, reason, now, &mut effects),
        }
        drop(state);
        effects.happen(self);
        let _ = self.waker.wake();
    }

    /// Lets a runtime's workers go, those that are busy once they have ended what they have begun; the next attempt gets
    /// new ones.
    pub(crate) fn retire(&self, key: &RuntimeKey) {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        let own = state.workers.values_mut().filter(|worker| worker.runtime == *key && !worker.doomed);
        let retired = own.map(|worker| {
            worker.retire();
            worker.id
        });
        for id in retired.collect::<Vec<_>>() {
            state.take_back(id, now);
        }
        if let Some(lane) = state.lanes.get_mut(key)
            && lane.queue.len() == 0
        {
            lane.phase = Phase::Asleep;
            lane.spawns_wanted = 0;
        }
        state.dispatch(now, &mut effects);
        drop(state);
        effects.happen(self);
        let _ = self.waker.wake();
    }

    /// Refuses new attempts and answers those that wait; gives those that run some time to end, then stops them.
    pub(crate) fn drain(&self, patience: Duration) {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.stopping = true;
        // What is paused would not end by itself.
        let waits = |entry: &Entry| entry.is_paused || matches!(entry.place, Place::Queued | Place::Parked);
        let waiting: Vec<AttemptId> =
            state.attempts.iter().filter(|(_, entry)| waits(entry)).map(|(id, _)| *id).collect();
        for id in waiting {
            state.stop(id, Stop::NodeStopping, now, &mut effects);
        }
        drop(state);
        effects.happen(self);
        let mut state = self.state.lock();
        while !state.attempts.is_empty() {
            if self.drained.wait_until(&mut state, now + patience).timed_out() {
                break;
            }
        }
        let mut effects = Effects::default();
        let running: Vec<AttemptId> = state.attempts.keys().copied().collect();
        for id in running {
            state.stop(id, Stop::NodeStopping, now, &mut effects);
        }
        for worker in state.workers.values_mut() {
            worker.kill();
        }
        drop(state);
        effects.happen(self);
        let _ = self.waker.wake();
    }
}
