//! The thread that listens to all workers, starts new ones, and watches deadlines and limits.

use super::alarm::Alarm;
use super::channel::{Channel, Drained};
use super::dispatch::READY_PATIENCE;
use super::scratch::{self, Remover};
use super::worker::Worker;
use super::{Decision, Effects, Pool, PoolLoad, Sizes, State, WorkerId};
use crate::runtime::{Runtime, RuntimeKey, Runtimes};
use crate::scheduler::Algorithm;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};
use potluck_worker_protocol::remove_folder;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a refusal to start workers stands before another try.
pub(super) const RETRY_START_AFTER: Duration = Duration::from_secs(5);
/// How often limits are looked at while something runs; a task over its limit is stopped within 50 ms.
const TICK: Duration = Duration::from_millis(20);
/// How often while nothing does and attempts wait for something.
const SLOW_TICK: Duration = Duration::from_millis(200);
/// How long the thread goes on ticking when nothing happens any more, so that a task that comes soon need not wake it.
const LINGER: Duration = Duration::from_millis(100);
/// Workers that end before they are ready, or without having been given anything, in a row, until the runtime counts as
/// unavailable. More than there are workers of most nodes: somebody may have killed them all.
const FAILED_STARTS_MAX: u32 = 8;
/// How often idle workers are looked at, and whether they are.
const AUDIT_EVERY: Duration = Duration::from_secs(10);
/// How often at most the load is reported.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// How often it is reported while nothing changes but the time that tasks have run beyond what was expected of them.
const REPORT_GROWTH_EVERY: Duration = Duration::from_millis(500);

const WAKER: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);

/// Called with the load when it has changed, and whether it may be announced before the next heartbeat.
pub(crate) type LoadListener = Box<dyn Fn(PoolLoad, bool) + Send>;
/// Called with one line when something about the workers is worth the operator's attention.
pub(crate) type Complaint = Box<dyn Fn(&str) + Send>;
/// Called with a runtime that must be made ready, on a thread that may block; the result goes to [`Pool::prepared`].
pub(crate) type Prepare = Box<dyn Fn(&Arc<Pool>, RuntimeKey, Arc<dyn Runtime>) + Send>;

/// Called with decisions of the scheduler, without the pool's lock, on any thread, at most a thousand times a second.
pub(crate) type DecisionListener = Box<dyn Fn(&Decision) + Send + Sync>;

/// How the pool reaches the node around it.
pub(crate) struct Links {
    pub(crate) on_load: LoadListener,
    pub(crate) complain: Complaint,
    pub(crate) prepare: Prepare,
    pub(crate) on_decision: DecisionListener,
}

/// Starts a pool and its thread, which ends after [`Pool::drain`].
pub(crate) fn start(
    sizes: Sizes,
    algorithm: Algorithm,
    runtimes: Runtimes,
    folder: PathBuf,
    links: Links,
) -> std::io::Result<(Arc<Pool>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let alarm = Alarm::new(poll.registry(), ALARM)?;
    let now = Instant::now();
    let pool = Arc::new(Pool {
        state: Mutex::new(State::new(sizes, algorithm, runtimes, Remover::start()?, now)),
        waker,
        on_decision: links.on_decision,
        drained: Condvar::new(),
    });
    let supervisor = Supervisor {
        pool: Arc::clone(&pool),
        poll,
        alarm,
        folder,
        links: Reports { on_load: links.on_load, complain: links.complain, prepare: links.prepare },
        channels: HashMap::new(),
        next_worker: 0,
        last_report: now - REPORT_EVERY,
        next_audit: now + AUDIT_EVERY,
        turns_looked_at: now,
    };
    let thread = std::thread::Builder::new().name("cpu-supervisor".to_owned()).spawn(move || supervisor.run())?;
    Ok((pool, thread))
}

/// What this thread alone calls.
struct Reports {
    on_load: LoadListener,
    complain: Complaint,
    prepare: Prepare,
}

struct Supervisor {
    pool: Arc<Pool>,
    poll: Poll,
    /// Goes off when a quantum is over.
    alarm: Alarm,
    folder: PathBuf,
    links: Reports,
    channels: HashMap<WorkerId, Channel>,
    next_worker: WorkerId,
    last_report: Instant,
    /// When the idle workers are looked at next.
    next_audit: Instant,
    /// When it was last looked at whose turn is over.
    turns_looked_at: Instant,
}

impl Supervisor {
    fn run(mut self) {
        remove_folder(&self.folder);
        let mut events = Events::with_capacity(64);
        loop {
            self.start_workers();
            self.listen_for_room();
            self.look_at_files();
            let timeout = self.plan();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    (self.links.complain)(&format!("the supervisor of the workers cannot go on: {error}"));
                    return;
                }
                _ => {}
            }
            let mut effects = Effects::default();
            for event in &events {
                if event.token() != WAKER && event.token() != ALARM {
                    let (id, exited) = (event.token().0 / 2, event.token().0 % 2 == 1);
                    self.listen(id, exited, &mut effects);
                }
            }
            let now = Instant::now();
            let mut state = self.pool.state.lock();
            state.watch(now, &mut effects);
            if now >= self.next_audit {
                self.next_audit = now + AUDIT_EVERY;
                state.end_restless_workers();
                state.end_surplus_workers();
            }
            state.dispatch(now, &mut effects);
            self.turns_looked_at = now;
            let done = state.stopping && state.attempts.is_empty();
            if done {
                self.pool.drained.notify_all();
                // A worker that was being started while the others were dismissed.
                for worker in state.workers.values_mut().filter(|worker| !worker.doomed) {
                    worker.kill();
                }
            }
            let gone = done && state.workers.values().all(|worker| worker.doomed);
            let workers = if gone { std::mem::take(&mut state.workers) } else { BTreeMap::new() };
            drop(state);
            effects.happen(&self.pool);
            self.report_load(now);
            if gone {
                for worker in workers.into_values() {
                    worker.bury();
                }
                remove_folder(&self.folder);
                return;
            }
        }
    }

    /// Looks at what tasks have written. Without the lock, since that takes as long as there is much of it.
    fn look_at_files(&self) {
        let (due, bytes_max) = {
            let mut state = self.pool.state.lock();
            (state.files_to_look_at(Instant::now()), state.sizes.scratch_bytes_max)
        };
        let mut effects = Effects::default();
        for (id, folder, pid) in due {
            if scratch::is_over(&folder, pid, bytes_max) {
                self.pool.state.lock().has_too_many_files(id, Instant::now(), &mut effects);
            }
        }
        effects.happen(&self.pool);
    }

    /// How long to sleep: to the next deadline, a tick while something runs, for ever when nothing does.
    fn plan(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.pool.state.lock();
        let active = state.queued > 0 || state.busy() > 0 || now < state.last_activity + LINGER;
        let tick = (active || state.load_changed).then(|| now + TICK);
        // What has no slot does little.
        let slow_tick = (!state.attempts.is_empty()).then(|| now + SLOW_TICK);
        // From the last look on, so that none is missed that was over since. One that is over later than in a tick is looked
        // at again before: most tasks end within that.
        self.alarm.set(state.quantum_over(self.turns_looked_at).filter(|over| *over <= now + TICK), now);
        let deadline = state.deadlines.first().map(|(deadline, _)| *deadline);
        let has_warm = state.workers.values().any(|worker| worker.submitter.is_some() && !worker.doomed);
        let audit = has_warm.then_some(self.next_audit);
        let files = state.workers.values().filter_map(Worker::files_due).min();
        let starting = state.workers.values().filter(|worker| !worker.ready && !worker.doomed);
        let ready = starting.map(|worker| worker.started + READY_PATIENCE).min();
        let spawn = state.lanes.values().filter_map(|lane| lane.spawn_after).filter(|after| *after > now).min();
        let until = [tick, slow_tick, deadline, audit, files, ready, spawn].into_iter().flatten().min();
        // Whoever submits wakes it from anything longer: what runs is looked at every tick.
        state.awake_until = tick.map(|tick| deadline.map_or(tick, |deadline| tick.min(deadline)));
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
        (self.links.on_load)(load, announced);
    }

    fn start_workers(&mut self) {
        let unprepared = std::mem::take(&mut self.pool.state.lock().unprepared);
        for key in unprepared {
            let runtime = self.pool.state.lock().lanes.get(&key).map(|lane| Arc::clone(&lane.runtime));
            if let Some(runtime) = runtime {
                (self.links.prepare)(&self.pool, key, runtime);
            }
        }
        loop {
            let wanted = {
                let state = self.pool.state.lock();
                let mut lanes = state.lanes.iter().filter(|_| !state.stopping);
                let wanted = lanes.find(|(_, lane)| lane.spawns_wanted > 0);
                wanted.map(|(key, lane)| (key.clone(), Arc::clone(&lane.runtime)))
            };
            let Some((key, runtime)) = wanted else { return };
            let id = self.next_worker;
            self.next_worker += 1;
            let started = Worker::start(id, &key, runtime.as_ref(), &self.folder).and_then(|worker| self.adopt(worker));
            let mut effects = Effects::default();
            let now = Instant::now();
            let mut state = self.pool.state.lock();
            match started {
                Ok(worker) => {
                    state.counts.workers_started += 1;
                    state.workers.insert(id, worker);
                    if let Some(lane) = state.lanes.get_mut(&key) {
                        lane.spawns_wanted = lane.spawns_wanted.saturating_sub(1);
                        lane.spawn_after = None;
                    }
                }
                Err(reason) => {
                    (self.links.complain)(&reason);
                    state.cannot_start(&key, reason, now, &mut effects);
                }
            }
            drop(state);
            effects.happen(&self.pool);
        }
    }

    fn adopt(&mut self, worker: Worker) -> Result<Worker, String> {
        let registry = self.poll.registry();
        let (socket, exit) = (worker.socket.as_raw_fd(), worker.exit.as_raw_fd());
        let registered = registry
            .register(&mut SourceFd(&socket), Token(2 * worker.id), Interest::READABLE)
            .and_then(|()| registry.register(&mut SourceFd(&exit), Token(2 * worker.id + 1), Interest::READABLE));
        if let Err(error) = registered {
            let (_, folder) = worker.bury();
            remove_folder(&folder);
            return Err(format!("a worker process cannot be listened to: {error}"));
        }
        self.channels.insert(worker.id, Channel::new(Arc::clone(&worker.socket)));
        Ok(worker)
    }

    /// Listens for room in the sockets that have not taken all, and in no other: a worker that takes an order makes room,
    /// and would wake this thread for nothing, so that it stands behind the worker when the report comes.
    fn listen_for_room(&self) {
        let mut state = self.pool.state.lock();
        for worker in state.workers.values_mut().filter(|worker| worker.is_room_missed()) {
            let interest =
                if worker.toggle_room() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            // When this fails, its order is late, and its deadline ends it.
            let _ = self.poll.registry().reregister(
                &mut SourceFd(&worker.socket.as_raw_fd()),
                Token(2 * worker.id),
                interest,
            );
        }
    }

    /// Reads everything that a worker has sent and acts on it; `exited` when its process has ended.
    fn listen(&mut self, id: WorkerId, exited: bool, effects: &mut Effects) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let now = Instant::now();
        let mut state = loop {
            let mut said = Vec::new();
            let drained = channel.drain(&mut said);
            let mut state = self.pool.state.lock();
            for message in said {
                state.heard(id, message, now, effects);
            }
            let Some(worker) = state.workers.get_mut(&id) else { break state };
            match drained {
                Drained::Nonsense => worker.misused(),
                // Without its socket it is of no use; its exit follows, and with it what becomes of its tasks.
                Drained::Ended if !exited => worker.hang_up(),
                Drained::Ended | Drained::Empty | Drained::Partly => {}
            }
            if drained != Drained::Partly || worker.doomed {
                worker.flush();
                break state;
            }
        };
        if exited {
            self.channels.remove(&id);
            if let Some((key, reason)) = state.died(id, now, effects) {
                let lane = state.lanes.get_mut(&key);
                let failed_starts = lane.map_or(0, |lane| {
                    lane.failed_starts += 1;
                    lane.failed_starts
                });
                if failed_starts >= FAILED_STARTS_MAX && !state.stopping {
                    (self.links.complain)(&reason);
                    state.give_up(&key, reason, now, effects);
                }
            }
        }
    }
}
