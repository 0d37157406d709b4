//! The lock, the timers, and what is done once the lock is released.
//!
//! All state is behind one lock, which is held for the look-ups of one message. No function of the host is called, and
//! nobody is answered, while it is held: what is to be done outside is collected in an [`Outbox`].

use crate::config::TrackerConfig;
use crate::directory::{Directory, JOINED, Now, PeerEvent};
use crate::error::TrackerError;
use crate::files::SharedFiles;
use crate::table::Tables;
use crate::watch::{WatcherId, Watchers};
use parking_lot::Mutex;
use potluck_sdk::message::tracker::WatchPeers;
use potluck_sdk::{Host, Level, PeerId, PendingReply, ProviderError};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Tells the time.
pub(crate) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// The tracker behind its handlers.
pub(crate) struct Service {
    host: Host,
    clock: Clock,
    /// Least time between two looks for dead peers.
    sweep_gap: Duration,
    state: Mutex<State>,
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) directory: Directory,
    pub(crate) files: SharedFiles,
    pub(crate) counters: Counters,
    watchers: Watchers<PendingReply>,
    tables: Tables,
    /// Version of the table that the watchers were last told of.
    noted_version: u64,
    /// Whether a timer for dead peers is running. One is enough: a death never becomes due earlier.
    sweep_running: bool,
    /// Whether a timer for waiting watchers is running. One is enough: a later watcher's turn is not earlier, and each
    /// change looks anyway.
    flush_running: bool,
}

/// Messages since the start, by type, and what came of them. A confidential task leaves no trace in them.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) registers: u64,
    pub(crate) unregisters: u64,
    pub(crate) heartbeats: u64,
    pub(crate) cpu_requests: u64,
    pub(crate) watches: u64,
    tables_sent: u64,
    peers_lost: u64,
    /// WATCH_PEERS that wait now.
    watchers: usize,
    /// Shared files that are known now, each as often as there are holders.
    shared_files: usize,
}

/// What is done once the lock is released.
#[derive(Default)]
struct Outbox {
    events: Vec<PeerEvent>,
    tables: Vec<(PendingReply, Arc<[u8]>)>,
    sweep_after: Option<Duration>,
    flush_after: Option<Duration>,
}

/// What becomes of a WATCH_PEERS.
pub(crate) enum Watch {
    /// The asker has to begin anew; this is the table.
    Answer(Arc<[u8]>),
    /// It waits, under this name.
    Wait(WatcherId),
}

impl Service {
    pub(crate) fn new(host: Host, config: &TrackerConfig, clock: Clock) -> Arc<Service> {
        let directory = Directory::new(config.dead_after(), config.peers_max);
        let noted_version = directory.version();
        Arc::new(Service {
            host,
            clock,
            // A tenth of a heartbeat late is soon enough, and bounds the timers when peers die one after another.
            sweep_gap: config.heartbeat() / 10,
            state: Mutex::new(State {
                directory,
                files: SharedFiles::new(config.shared_files_max, config.peer_files_max),
                counters: Counters::default(),
                watchers: Watchers::new(config.watchers_max),
                tables: Tables::new(),
                noted_version,
                sweep_running: false,
                flush_running: false,
            }),
        })
    }

    /// Runs one operation on the state. Before it the dead are removed, so that nobody is told of them; after it those
    /// are answered whose turn it is.
    pub(crate) fn with_state<T>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut State, Now, &mut Vec<PeerEvent>) -> T,
    ) -> T {
        let now = Now { instant: (self.clock)(), wall: SystemTime::now() };
        let (result, outbox) = {
            let mut state = self.state.lock();
            let mut outbox = Outbox::default();
            state.directory.remove_dead(now.instant, &mut outbox.events);
            state.counters.peers_lost += outbox.events.len() as u64;
            state.forget_gone();
            let result = operation(&mut state, now, &mut outbox.events);
            state.forget_gone();
            state.answer_watchers(now.instant, &mut outbox);
            state.set_timers(now.instant, self.sweep_gap, &mut outbox);
            (result, outbox)
        };
        self.post(outbox);
        result
    }

    /// Looks at a WATCH_PEERS: it is answered at once when the version that the asker has means nothing here.
    pub(crate) fn watch(self: &Arc<Self>, message: &WatchPeers) -> Result<Watch, TrackerError> {
        self.with_state(|state, _, _| {
            state.counters.watches += 1;
            let directory = &state.directory;
            let (epoch, version) = (message.epoch, message.version);
            let known = epoch == state.tables.epoch() && (1..=directory.version()).contains(&version);
            // In a large pool every answer is a sample anyway, and comes in its turn.
            let too_old = version < directory.version() && !directory.is_large() && !directory.remembers(version);
            if known && !too_old {
                return state.watchers.reserve().map(Watch::Wait);
            }
            state.counters.tables_sent += 1;
            Ok(Watch::Answer(state.tables.write(&state.directory, None)))
        })
    }

    /// Lets a reply wait for the next table. It is dropped when its caller has gone away.
    pub(crate) fn add_watcher(self: &Arc<Self>, id: WatcherId, reply: PendingReply, version: u64) {
        let refused = self.with_state(|state, now, _| {
            let current = state.directory.version();
            state.watchers.add(id, reply, version, current, now.instant)
        });
        drop(refused);
    }

    /// The caller of a waiting WATCH_PEERS has gone away.
    pub(crate) fn remove_watcher(&self, id: WatcherId) {
        let reply = self.state.lock().watchers.remove(id);
        drop(reply);
    }

    /// What time it is.
    pub(crate) fn instant(&self) -> Instant {
        (self.clock)()
    }

    /// The id of the node that this tracker runs in.
    pub(crate) fn own_id(&self) -> PeerId {
        self.host.node().peer_id
    }

    /// The counters as they are now.
    pub(crate) fn counters(state: &State) -> Counters {
        Counters { watchers: state.watchers.len(), shared_files: state.files.len(), ..state.counters.clone() }
    }

    /// Answers all that wait: the tracker goes away.
    pub(crate) fn stop(&self) {
        let waiting = self.state.lock().watchers.clear();
        let error =
            ProviderError::new(ProviderError::NODE_STOPPING, "the tracker is stopping; ask again when it is back");
        for reply in waiting {
            reply.error(&error);
        }
    }

    fn post(self: &Arc<Self>, outbox: Outbox) {
        for event in &outbox.events {
            self.host.publish(event.topic, event);
            let level = if event.topic == JOINED { Level::Debug } else { Level::Info };
            if self.host.log_enabled(level) {
                self.host.log(level, &format!("{event}"));
            }
        }
        for (reply, json) in outbox.tables {
            reply.send_json(json.to_vec());
        }
        if let Some(delay) = outbox.sweep_after {
            let service = Arc::clone(self);
            let sweep = move || service.with_state(|state, _, _| state.sweep_running = false);
            self.host.run_after(whole_milliseconds(delay), sweep);
        }
        if let Some(delay) = outbox.flush_after {
            let service = Arc::clone(self);
            let flush = move || service.with_state(|state, _, _| state.flush_running = false);
            self.host.run_after(whole_milliseconds(delay), flush);
        }
    }
}

impl State {
    /// What a peer has told of its files goes, or moves, with it.
    fn forget_gone(&mut self) {
        for gone in self.directory.take_gone() {
            match gone.moved_to {
                Some(key) => self.files.move_peer(gone.key, key),
                None => self.files.remove_peer(gone.key),
            }
        }
    }

    fn answer_watchers(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.noted_version != self.directory.version() {
            self.noted_version = self.directory.version();
            self.watchers.note_change();
        }
        for watcher in self.watchers.take_due(now, self.directory.is_large()) {
            let table = self.tables.write(&self.directory, Some(watcher.version));
            outbox.tables.push((watcher.reply, table));
        }
        self.counters.tables_sent += outbox.tables.len() as u64;
    }

    fn set_timers(&mut self, now: Instant, sweep_gap: Duration, outbox: &mut Outbox) {
        if !self.sweep_running
            && let Some(death) = self.directory.next_death()
        {
            self.sweep_running = true;
            outbox.sweep_after = Some(death.saturating_duration_since(now).max(sweep_gap));
        }
        if !self.flush_running
            && let Some(turn) = self.watchers.next_turn(self.directory.is_large())
        {
            self.flush_running = true;
            outbox.flush_after = Some(turn.saturating_duration_since(now));
        }
    }
}

/// Rounded up, since the host counts in milliseconds: a timer that fires too early finds nothing to do.
fn whole_milliseconds(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
