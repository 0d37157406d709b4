//! Runs attempts at tasks in worker processes: at most one per slot at a time, each submitter's in interpreters of its
//! own, within their limits.
//!
//! All state is behind one lock, which any thread takes: a task goes from the thread that received it straight into a
//! worker's socket, and its result from the supervisor thread straight to whoever waits. Nobody is called while the lock
//! is held: what is finished is collected in [`Effects`] and told afterwards.

mod channel;
mod dispatch;
mod lane;
mod process;
mod scratch;
mod stop;
mod supervisor;
mod worker;

pub(crate) use lane::{LaneReport, Phase, missing_protections};
pub(crate) use stop::Stop;
pub(crate) use supervisor::{Links, start};

use crate::runtime::{RuntimeKey, Runtimes};
use crate::scheduler::{Algorithm, Ticket};
use crate::task::Limits;
use lane::Lane;
use parking_lot::{Condvar, Mutex};
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::outcome;
use scratch::Remover;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use worker::Worker;

/// Names an attempt.
pub(crate) type AttemptId = u64;
/// Names a worker process.
pub(crate) type WorkerId = usize;

/// Told how an attempt ended.
pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// One run of a task on this node.
pub(crate) struct Attempt {
    /// What must run it.
    pub runtime: RuntimeKey,
    /// Comes from somebody else than this machine's user, so it is run with protections or not at all.
    pub others_work: bool,
    /// The order's JSON behind its slot.
    pub body: Arc<[u8]>,
    /// Whose interpreters it may use.
    pub submitter: Arc<str>,
    /// The interpreter serves nobody afterwards.
    pub isolated: bool,
    /// Whether its load may be announced.
    pub confidential: bool,
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

/// How an attempt ended.
pub(crate) struct Outcome {
    /// The result, or why there is none.
    pub verdict: Result<Box<RawValue>, Failed>,
    /// How long it ran; 0 when it did not.
    pub seconds: f64,
    /// What it printed.
    pub stdout: String,
    /// What it printed.
    pub stderr: String,
    /// Whether it was begun.
    pub started: bool,
    /// Whether it was observed to depend on its program and arguments alone.
    pub deterministic: Option<bool>,
    /// Files that it hands back.
    pub files: Files,
}

/// Files that a task hands back: their names and lengths, and their bytes one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub list: Vec<(String, usize)>,
    pub bytes: Vec<u8>,
}

impl Files {
    fn lack_bytes(&self) -> bool {
        self.bytes.is_empty() && self.list.iter().any(|(_, bytes)| *bytes > 0)
    }
}

/// Why an attempt has no result.
pub(crate) struct Failed {
    /// One of the codes of a CPU_RESULT.
    pub code: Cow<'static, str>,
    /// One line.
    pub error: String,
    /// The exception's class.
    pub error_type: Option<String>,
    /// The traceback.
    pub traceback: Option<String>,
}

impl Failed {
    pub(crate) fn new(code: &'static str, error: impl Into<String>) -> Failed {
        Failed { code: Cow::Borrowed(code), error: error.into(), error_type: None, traceback: None }
    }
}

impl Outcome {
    fn not_run(failed: Failed) -> Outcome {
        Outcome { started: false, ..Outcome::stopped(failed, 0.0, (String::new(), String::new())) }
    }

    fn stopped(failed: Failed, seconds: f64, (stdout, stderr): (String, String)) -> Outcome {
        let files = Files::default();
        Outcome { verdict: Err(failed), seconds, stdout, stderr, started: true, deterministic: None, files }
    }
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
    /// Attempts that are running.
    pub running: usize,
    /// Attempts that wait.
    pub queued: usize,
    /// Expected seconds of both.
    pub backlog_seconds: f64,
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
    /// Signalled whenever attempts end while the pool stops.
    drained: Condvar,
}

struct State {
    sizes: Sizes,
    runtimes: Runtimes,
    algorithm: Algorithm,
    lanes: BTreeMap<RuntimeKey, Lane>,
    /// Attempts that wait, over all lanes.
    queued: usize,
    attempts: HashMap<AttemptId, Entry>,
    /// By deadline, to find the next one.
    deadlines: BTreeSet<(Instant, AttemptId)>,
    workers: BTreeMap<WorkerId, Worker>,
    next_attempt: AttemptId,
    queued_bytes: usize,
    /// Expected seconds of what waits; set to 0 whenever nothing does, so that rounding errors cannot add up.
    queued_seconds: f64,
    /// Runtimes that must be made ready, off this thread.
    unprepared: Vec<RuntimeKey>,
    counts: Counts,
    /// When the supervisor will look around by itself; none when it waits for something to happen.
    awake_until: Option<Instant>,
    last_activity: Instant,
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Queued,
    Sent(WorkerId),
}

/// What must happen once the lock is released.
#[derive(Default)]
struct Effects {
    finished: Vec<(Done, Outcome)>,
}

impl Effects {
    fn happen(self) {
        for (done, outcome) in self.finished {
            done(outcome);
        }
    }
}

impl Pool {
    /// Takes in an attempt, or says why not; then `done` is not called.
    pub(crate) fn submit(&self, attempt: Attempt) -> Result<AttemptId, Failed> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(failed) = state.refusal(&attempt, now) {
            return Err(failed);
        }
        let id = state.next_attempt;
        state.next_attempt += 1;
        state.counts.submitted += 1;
        let ticket = Ticket { priority: attempt.priority, sequence: id };
        let deadline = attempt.deadline;
        let announced = !attempt.confidential;
        state.attempts.insert(id, Entry { attempt, ticket, place: Place::Queued, unbegun: 0 });
        state.deadlines.insert((deadline, id));
        state.enqueue(id);
        state.touch(announced, now);
        let mut effects = Effects::default();
        state.dispatch(now, &mut effects);
        // The supervisor must know of the deadline, and of workers that are missing; while it is awake anyway, it will see.
        let wake = state.has_chores() || state.awake_until.is_none_or(|until| until > deadline);
        drop(state);
        effects.happen();
        if wake {
            let _ = self.waker.wake();
        }
        Ok(id)
    }

    /// Stops an attempt, queued or running; it is told at once. False when it has ended already.
    pub(crate) fn stop(&self, id: AttemptId, reason: Stop) -> bool {
        let mut effects = Effects::default();
        let now = Instant::now();
        let mut state = self.state.lock();
        let stopped = state.stop(id, reason, now, &mut effects);
        state.dispatch(now, &mut effects);
        let wake = state.has_chores();
        drop(state);
        effects.happen();
        if wake {
            let _ = self.waker.wake();
        }
        stopped
    }

    /// How busy the pool is.
    pub(crate) fn load(&self) -> PoolLoad {
        self.state.lock().load(Instant::now())
    }

    /// Switches the order of the queue.
    pub(crate) fn set_algorithm(&self, algorithm: Algorithm) {
        let mut state = self.state.lock();
        state.algorithm = algorithm;
        for lane in state.lanes.values_mut() {
            lane.queue.set_algorithm(algorithm);
        }
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
        effects.happen();
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
        effects.happen();
        let _ = self.waker.wake();
    }

    /// Refuses new attempts and answers those that wait; gives those that run some time to end, then stops them.
    pub(crate) fn drain(&self, patience: Duration) {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        state.stopping = true;
        let waiting: Vec<AttemptId> = state.lanes.values().flat_map(|lane| lane.queue.iter()).copied().collect();
        for id in waiting {
            state.stop(id, Stop::NodeStopping, now, &mut effects);
        }
        drop(state);
        effects.happen();
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
        effects.happen();
        let _ = self.waker.wake();
    }
}

impl State {
    fn refusal(&mut self, attempt: &Attempt, now: Instant) -> Option<Failed> {
        if self.stopping {
            return Some(stop::failure(Stop::NodeStopping, attempt));
        }
        if let Some(lane) = self.lanes.get_mut(&attempt.runtime) {
            if let Phase::Unavailable(reason, since) = &lane.phase {
                // Something may have been repaired meanwhile; the next attempt finds out.
                if now - *since < supervisor::RETRY_START_AFTER {
                    return Some(Failed::new(outcome::RUNTIME_UNAVAILABLE, reason.clone()));
                }
                lane.phase = Phase::Asleep;
            }
            if attempt.others_work && !lane.protections.is_empty() {
                // Otherwise the first worker tells, and `dispatch` decides.
                if let Some(failed) = self.unprotected(&attempt.runtime) {
                    return Some(failed);
                }
            }
        }
        let Sizes { queue_tasks_max, queue_bytes_max, .. } = self.sizes;
        if self.queued >= queue_tasks_max || self.queued_bytes + attempt.body.len() > queue_bytes_max {
            let text = format!(
                "{} tasks with {} bytes wait on this node, as many as it takes (queue_tasks_max {queue_tasks_max}, queue_bytes_max {queue_bytes_max}); try again later",
                self.queued, self.queued_bytes
            );
            return Some(Failed::new(outcome::QUEUE_FULL, text));
        }
        None
    }

    fn enqueue(&mut self, id: AttemptId) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        entry.place = Place::Queued;
        self.queued_bytes += entry.attempt.body.len();
        self.queued_seconds += entry.attempt.estimate_seconds;
        let (ticket, key) = (entry.ticket, entry.attempt.runtime.clone());
        self.queued += 1;
        self.wake_lane(&key).queue.push(ticket, id);
    }

    /// The lane of a runtime, which is made ready if nobody has needed it before.
    fn wake_lane(&mut self, key: &RuntimeKey) -> &mut Lane {
        let (runtimes, algorithm) = (&self.runtimes, self.algorithm);
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(runtimes.get(key), algorithm));
        if lane.phase == Phase::Asleep {
            lane.phase = Phase::Preparing;
            self.unprepared.push(key.clone());
        }
        lane
    }

    /// Whether the supervisor has something to do beside listening.
    fn has_chores(&self) -> bool {
        !self.unprepared.is_empty()
            || self.lanes.values().any(|lane| lane.spawns_wanted > 0)
            || self.workers.values().any(Worker::is_room_missed)
    }

    /// Why a runtime does not take work of others; nothing when it does.
    fn unprotected(&self, key: &RuntimeKey) -> Option<Failed> {
        if self.sizes.others_unprotected {
            return None;
        }
        let missing = missing_protections(&self.lanes.get(key)?.protections)?;
        let text = format!(
            "this node takes no work of others in the runtime {}: its workers lack {missing}; `potluck doctor` there tells why, and `remote_unprotected = true` in its [plugins.cpu] takes it nevertheless",
            key.name()
        );
        Some(Failed::new(outcome::RUNTIME_UNAVAILABLE, text))
    }

    fn dequeue(&mut self, id: AttemptId) {
        let Some(entry) = self.attempts.get(&id) else { return };
        let lane = self.lanes.get_mut(&entry.attempt.runtime);
        if lane.is_some_and(|lane| lane.queue.remove(entry.ticket).is_some()) {
            self.queued -= 1;
            self.queued_bytes -= entry.attempt.body.len();
            self.queued_seconds -= entry.attempt.estimate_seconds;
        }
        if self.queued == 0 {
            self.queued_seconds = 0.0;
        }
    }

    /// Something happened: the supervisor stays awake for a while, and the load is told.
    fn touch(&mut self, announced: bool, now: Instant) {
        self.last_activity = now;
        self.load_changed = true;
        self.load_announced |= announced;
    }

    fn load(&self, now: Instant) -> PoolLoad {
        let mut running = 0;
        let mut backlog_seconds = self.queued_seconds.max(0.0);
        for worker in self.workers.values().filter(|worker| !worker.doomed) {
            let mut head = true;
            for sent in &worker.sent {
                let Some(entry) = sent.attempt.and_then(|id| self.attempts.get(&id)) else { continue };
                let estimate = entry.attempt.estimate_seconds;
                let ran = if head { (now - sent.head_since).as_secs_f64() } else { 0.0 };
                // What has run longer than expected is expected to need as long again.
                backlog_seconds += if ran < estimate { estimate - ran } else { ran };
                running += 1;
                head = false;
            }
        }
        // Those sent ahead wait as well, only elsewhere.
        let ahead = running - self.busy().min(running);
        PoolLoad { slots: self.sizes.slots, running: running - ahead, queued: self.queued + ahead, backlog_seconds }
    }

    fn busy(&self) -> usize {
        self.workers.values().filter(|worker| !worker.doomed && !worker.sent.is_empty()).count()
    }

    /// Ends an attempt: it is nowhere any more, and `done` will be told.
    fn finish(&mut self, id: AttemptId, outcome: Outcome, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.attempts.remove(&id) else { return };
        self.deadlines.remove(&(entry.attempt.deadline, id));
        if outcome.started {
            self.counts.executed += 1;
        }
        self.touch(!entry.attempt.confidential, now);
        effects.finished.push((entry.attempt.done, outcome));
    }
}
