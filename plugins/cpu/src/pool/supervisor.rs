//! The thread that listens to all workers, starts new ones, and watches deadlines and limits.

use super::worker::Worker;
use super::{Counts, Effects, Failed, Outcome, Pool, PoolLoad, Sizes, State, WorkerId};
use crate::runtime::Runtime;
use crate::scheduler::{Algorithm, ReadyQueue};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::outcome;
use potluck_worker_protocol::{FrameReader, Ready, Report};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a refusal to start workers stands before another try.
pub(super) const RETRY_START_AFTER: Duration = Duration::from_secs(5);
/// How often limits are looked at while something runs; a task over its limit is stopped within 50 ms.
const TICK: Duration = Duration::from_millis(20);
/// How long the thread goes on ticking when nothing happens any more, so that a task that comes soon need not wake it.
const LINGER: Duration = Duration::from_millis(100);
/// Workers that end before they are ready, in a row, until the runtime counts as unavailable.
const FAILED_STARTS_MAX: u32 = 3;
/// How often at most the load is reported.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// How often it is reported while nothing changes but the time that tasks have run beyond what was expected of them.
const REPORT_GROWTH_EVERY: Duration = Duration::from_millis(500);

const WAKER: Token = Token(usize::MAX);

/// Called with the load when it has changed, and whether it may be announced before the next heartbeat.
pub(crate) type LoadListener = Box<dyn Fn(PoolLoad, bool) + Send>;
/// Called with one line when something about the workers is worth the operator's attention.
pub(crate) type Complaint = Box<dyn Fn(&str) + Send>;

/// Starts a pool and its thread, which ends after [`Pool::drain`].
pub(crate) fn start(
    sizes: Sizes,
    algorithm: Algorithm,
    runtime: Box<dyn Runtime>,
    folder: PathBuf,
    on_load: LoadListener,
    complain: Complaint,
) -> std::io::Result<(Arc<Pool>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let now = Instant::now();
    let pool = Arc::new(Pool {
        state: Mutex::new(State {
            sizes,
            queue: ReadyQueue::new(algorithm),
            attempts: HashMap::new(),
            deadlines: BTreeSet::new(),
            workers: BTreeMap::new(),
            next_attempt: 1,
            queued_bytes: 0,
            queued_seconds: 0.0,
            spawns_wanted: sizes.spares,
            unavailable: None,
            description: String::new(),
            counts: Counts::default(),
            awake_until: Some(now),
            last_activity: now,
            // Whoever starts the pool reports its first load.
            load_changed: false,
            load_announced: false,
            stopping: false,
        }),
        waker,
        drained: Condvar::new(),
    });
    let supervisor = Supervisor {
        pool: Arc::clone(&pool),
        poll,
        runtime,
        folder,
        on_load,
        complain,
        channels: HashMap::new(),
        next_worker: 0,
        failed_starts: 0,
        last_report: now - REPORT_EVERY,
    };
    let thread = std::thread::Builder::new().name("cpu-supervisor".to_owned()).spawn(move || supervisor.run())?;
    Ok((pool, thread))
}

struct Supervisor {
    pool: Arc<Pool>,
    poll: Poll,
    runtime: Box<dyn Runtime>,
    folder: PathBuf,
    on_load: LoadListener,
    complain: Complaint,
    channels: HashMap<WorkerId, Channel>,
    next_worker: WorkerId,
    failed_starts: u32,
    last_report: Instant,
}

/// The receiving end of a worker's socket; only this thread reads.
struct Channel {
    socket: Arc<UnixStream>,
    reader: FrameReader,
    ready: bool,
}

/// What a worker has said.
enum Said {
    Ready(String),
    Skipped { slot: usize },
    Done { slot: usize, outcome: Outcome, retire: bool },
}

impl Supervisor {
    fn run(mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        let mut events = Events::with_capacity(64);
        loop {
            self.start_workers();
            let timeout = self.plan();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    (self.complain)(&format!("the supervisor of the workers cannot go on: {error}"));
                    return;
                }
                _ => {}
            }
            let mut effects = Effects::default();
            for event in &events {
                if event.token() != WAKER {
                    let (id, exited) = (event.token().0 / 2, event.token().0 % 2 == 1);
                    self.listen(id, exited, &mut effects);
                }
            }
            let now = Instant::now();
            let mut state = self.pool.state.lock();
            state.watch(now, &mut effects);
            state.dispatch(now);
            let done = state.stopping && state.attempts.is_empty();
            if done {
                self.pool.drained.notify_all();
                // A worker that was being started while the others were dismissed.
                for worker in state.workers.values_mut().filter(|worker| !worker.doomed) {
                    worker.kill();
                }
            }
            let gone = done && state.workers.values().all(|worker| worker.doomed);
            if gone {
                effects.buried.extend(std::mem::take(&mut state.workers).into_values());
            }
            drop(state);
            effects.happen();
            self.report_load(now);
            if gone {
                let _ = std::fs::remove_dir_all(&self.folder);
                return;
            }
        }
    }

    /// How long to sleep: to the next deadline, a tick while something runs, for ever when nothing does.
    fn plan(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.pool.state.lock();
        let active = !state.attempts.is_empty() || now < state.last_activity + LINGER;
        let tick = (active || state.load_changed).then(|| now + TICK);
        let deadline = state.deadlines.first().map(|(deadline, _)| *deadline);
        let until = match (tick, deadline) {
            (Some(tick), Some(deadline)) => Some(tick.min(deadline)),
            (one, other) => one.or(other),
        };
        state.awake_until = until;
        // mio rounds up to milliseconds, as epoll does, so a deadline has passed when this wakes.
        until.map(|until| until.saturating_duration_since(now))
    }

    fn report_load(&mut self, now: Instant) {
        if now < self.last_report + REPORT_EVERY {
            return;
        }
        let (load, announced) = {
            let mut state = self.pool.state.lock();
            let grown = !state.attempts.is_empty() && now >= self.last_report + REPORT_GROWTH_EVERY;
            if !state.load_changed && !grown {
                return;
            }
            state.load_changed = false;
            (state.load(now), std::mem::take(&mut state.load_announced))
        };
        self.last_report = now;
        (self.on_load)(load, announced);
    }

    fn start_workers(&mut self) {
        loop {
            let wanted = {
                let state = self.pool.state.lock();
                !state.stopping && state.spawns_wanted > 0
            };
            if !wanted {
                return;
            }
            let id = self.next_worker;
            self.next_worker += 1;
            let started = Worker::start(id, self.runtime.as_ref(), &self.folder).and_then(|worker| self.adopt(worker));
            let mut effects = Effects::default();
            let now = Instant::now();
            let mut state = self.pool.state.lock();
            match started {
                Ok(worker) => {
                    state.counts.workers_started += 1;
                    state.workers.insert(id, worker);
                    state.spawns_wanted = state.spawns_wanted.saturating_sub(1);
                }
                Err(reason) => {
                    (self.complain)(&reason);
                    state.give_up(reason, now, &mut effects);
                }
            }
            drop(state);
            effects.happen();
        }
    }

    fn adopt(&mut self, worker: Worker) -> Result<Worker, String> {
        let registry = self.poll.registry();
        let (socket, exit) = (worker.socket.as_raw_fd(), worker.exit.as_raw_fd());
        let both = Interest::READABLE | Interest::WRITABLE;
        registry
            .register(&mut SourceFd(&socket), Token(2 * worker.id), both)
            .and_then(|()| registry.register(&mut SourceFd(&exit), Token(2 * worker.id + 1), Interest::READABLE))
            .map_err(|error| format!("a worker process cannot be listened to: {error}"))?;
        let channel = Channel { socket: Arc::clone(&worker.socket), reader: FrameReader::default(), ready: false };
        self.channels.insert(worker.id, channel);
        Ok(worker)
    }

    /// Reads everything that a worker has sent and acts on it; `exited` when its process has ended.
    fn listen(&mut self, id: WorkerId, exited: bool, effects: &mut Effects) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let mut said = Vec::new();
        let ended = channel.drain(&mut said);
        let now = Instant::now();
        let mut state = self.pool.state.lock();
        for message in said {
            match message {
                Said::Ready(description) => {
                    self.failed_starts = 0;
                    state.description = description;
                    if let Some(worker) = state.workers.get_mut(&id) {
                        worker.ready = true;
                    }
                }
                Said::Skipped { slot } => {
                    if let Some(worker) = state.workers.get_mut(&id) {
                        worker.reported(slot, None, now);
                    }
                }
                Said::Done { slot, outcome, retire } => state.reported(id, slot, outcome, retire, now, effects),
            }
        }
        if let Some(worker) = state.workers.get_mut(&id) {
            worker.flush();
        }
        if ended
            && !exited
            && let Some(worker) = state.workers.get_mut(&id)
        {
            // Without its socket it is of no use; its exit follows, and with it what becomes of its tasks.
            worker.hang_up();
        }
        if exited {
            self.channels.remove(&id);
            let failed_start = state.died(id, now, effects);
            if let Some(reason) = failed_start {
                self.failed_starts += 1;
                if self.failed_starts >= FAILED_STARTS_MAX && !state.stopping {
                    (self.complain)(&reason);
                    state.give_up(reason, now, effects);
                    self.failed_starts = 0;
                }
            }
        }
    }
}

impl Channel {
    /// Reads until the socket is empty; true when it has ended.
    fn drain(&mut self, said: &mut Vec<Said>) -> bool {
        loop {
            let ended = match self.reader.fill(&*self.socket) {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(_) => true,
            };
            loop {
                match self.reader.next_frame() {
                    Ok(Some(frame)) => match read(frame, self.ready) {
                        Some(message) => {
                            self.ready = true;
                            said.push(message);
                        }
                        // A task has got hold of the socket and writes nonsense: its worker is as good as dead.
                        None => return true,
                    },
                    Ok(None) => break,
                    Err(_) => return true,
                }
            }
            if ended {
                return true;
            }
        }
    }
}

fn read(frame: &[u8], ready: bool) -> Option<Said> {
    if !ready {
        return serde_json::from_slice::<Ready>(frame).ok().map(|ready| Said::Ready(ready.description));
    }
    let report: Report = serde_json::from_slice(frame).ok()?;
    let slot = report.slot;
    if report.skipped {
        return Some(Said::Skipped { slot });
    }
    let verdict = match (report.result, report.failure) {
        (_, Some(failure)) => Err(Failed {
            code: Cow::Owned(failure.code.into_owned()),
            error: failure.error.into_owned(),
            error_type: failure.error_type.map(Cow::into_owned),
            traceback: failure.traceback.map(Cow::into_owned),
        }),
        (Some(result), None) => Ok(result.to_owned()),
        // JSON null arrives as nothing.
        (None, None) => Ok(RawValue::NULL.to_owned()),
    };
    let outcome = Outcome {
        verdict,
        seconds: if report.seconds.is_finite() { report.seconds.max(0.0) } else { 0.0 },
        stdout: report.stdout.into_owned(),
        stderr: report.stderr.into_owned(),
        started: true,
    };
    Some(Said::Done { slot, outcome, retire: report.retire })
}

impl State {
    fn reported(
        &mut self,
        id: WorkerId,
        slot: usize,
        outcome: Outcome,
        retire: bool,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(sent) = worker.reported(slot, Some(Duration::from_secs_f64(outcome.seconds.min(1e6))), now) else {
            // An answer to a question that was not asked: a task has got hold of the socket.
            worker.hang_up();
            return;
        };
        let isolated = sent.attempt.and_then(|id| self.attempts.get(&id)).is_some_and(|entry| entry.attempt.isolated);
        if (retire || isolated) && !worker.doomed {
            // A worker that says so itself starts nothing more; an isolated task has nothing sent ahead behind it.
            worker.kill();
            self.take_back(id);
        }
        if let Some(attempt) = sent.attempt {
            self.finish(attempt, outcome, now, effects);
        }
    }

    /// A worker's socket has ended: what it had begun has failed, what it had not goes back. Returns why it failed if it
    /// never was ready.
    fn died(&mut self, id: WorkerId, now: Instant, effects: &mut Effects) -> Option<String> {
        let mut worker = self.workers.remove(&id)?;
        let asked = worker.dismissed;
        let (stdout, stderr) = worker.output();
        worker.hang_up();
        let (ready, begun_since) = (worker.ready, worker.sent.front().map(|sent| sent.head_since));
        let mut victims = Vec::new();
        let mut unharmed = Vec::new();
        for sent in &worker.sent {
            let Some(attempt) = sent.attempt else { continue };
            if worker.has_started(sent.slot) { victims.push(attempt) } else { unharmed.push(attempt) }
        }
        // The process has ended, so this does not wait.
        let end = worker.bury();
        for attempt in unharmed {
            self.enqueue(attempt);
        }
        for attempt in victims {
            let failed = Failed::new(outcome::WORKER_DIED, format!("the task ended its worker process ({end})"));
            let seconds = begun_since.map_or(0.0, |since| (now - since).as_secs_f64());
            let (stdout, stderr) = (stdout.clone(), stderr.clone());
            self.finish(
                attempt,
                Outcome { verdict: Err(failed), seconds, stdout, stderr, started: true },
                now,
                effects,
            );
        }
        if !asked {
            self.counts.workers_died += 1;
        }
        self.touch(false, now);
        (!ready && !asked).then(|| {
            let complaint = stderr.lines().last().unwrap_or("it printed nothing").to_owned();
            format!("the worker processes end before they are ready ({end}): {complaint}")
        })
    }

    /// No worker can be started: whoever waits is told why, instead of waiting until the time is over.
    fn give_up(&mut self, reason: String, now: Instant, effects: &mut Effects) {
        self.spawns_wanted = 0;
        let waiting: Vec<super::AttemptId> = self.queue.iter().copied().collect();
        for id in waiting {
            self.dequeue(id);
            self.finish(id, Outcome::not_run(Failed::new(outcome::RUNTIME_UNAVAILABLE, reason.clone())), now, effects);
        }
        self.unavailable = Some((reason, now));
    }
}
