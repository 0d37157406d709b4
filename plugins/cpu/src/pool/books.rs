//! The books of the pool: who waits where, how much that is, what has ended.

use super::decisions::Budget;
use super::lane::{Lane, Phase, missing_protections};
use super::measure::Measures;
use super::scratch::Remover;
use super::worker::Worker;
use super::{
    Attempt, AttemptId, Counts, Effects, Entry, Failed, Outcome, Place, PoolLoad, Sizes, State, Stop, Turn, WorkerId,
};
use super::{stop, supervisor};
use crate::runtime::{RuntimeKey, Runtimes};
use crate::scheduler::{Algorithm, Ticket, micros};
use potluck_sdk::message::cpu::outcome;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

impl State {
    /// Of a pool without anything in it.
    pub(super) fn new(sizes: Sizes, algorithm: Algorithm, runtimes: Runtimes, remover: Remover, now: Instant) -> State {
        State {
            sizes,
            runtimes,
            algorithm,
            lanes: BTreeMap::new(),
            queued: 0,
            parked: (0, 0),
            attempts: HashMap::new(),
            deadlines: BTreeSet::new(),
            workers: BTreeMap::new(),
            next_attempt: 1,
            next_sequence: 0,
            epoch: now,
            measures: Measures::new(algorithm, now),
            budget: Budget::new(now),
            gave_way: None,
            queued_bytes: 0,
            queued_seconds: 0.0,
            held_back: Vec::new(),
            unprepared: Vec::new(),
            counts: Counts::default(),
            awake_until: Some(now),
            last_activity: now,
            off_slot_looked_at: now,
            // Whoever starts the pool reports its first load.
            load_changed: false,
            load_announced: false,
            stopping: false,
            remover,
        }
    }

    /// Switches the order of everything that waits; nothing is lost.
    pub(super) fn set_algorithm(&mut self, algorithm: Algorithm, now: Instant) {
        // What was sent ahead would keep its old order.
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            self.take_back(worker, now);
        }
        self.algorithm = algorithm;
        self.measures.chosen(algorithm, now);
        for lane in self.lanes.values_mut() {
            lane.queue.set_algorithm(algorithm);
            lane.begun.set_algorithm(algorithm);
        }
    }

    /// Puts an attempt into the queue, or says why not.
    pub(super) fn take_in(&mut self, attempt: Attempt, now: Instant) -> Result<AttemptId, Failed> {
        if let Some(failed) = self.refusal(&attempt, now) {
            return Err(failed);
        }
        let id = self.next_attempt;
        self.next_attempt += 1;
        let turn = attempt.turn.unwrap_or_else(|| {
            self.counts.submitted += 1;
            Turn { arrived: now, sequence: self.next_sequence(), arrival_micros: self.micros(now) }
        });
        let ticket = Ticket {
            priority: attempt.priority,
            sequence: turn.sequence,
            arrival_micros: turn.arrival_micros,
            estimate_micros: micros(attempt.estimate_seconds),
        };
        let deadline = attempt.deadline;
        let announced = !attempt.confidential;
        self.attempts.insert(id, Entry::new(attempt, ticket, turn.arrived));
        self.deadlines.insert((deadline, id));
        self.enqueue(id);
        self.touch(announced, now);
        Ok(id)
    }

    pub(super) fn refusal(&mut self, attempt: &Attempt, now: Instant) -> Option<Failed> {
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
        let (tasks, bytes) = (self.queued + self.parked.0, self.queued_bytes + self.parked.1);
        let is_full = tasks >= queue_tasks_max || bytes + attempt.body.len() > queue_bytes_max;
        if is_full && attempt.turn.is_none() {
            let text = format!(
                "{tasks} tasks with {bytes} bytes wait on this node, as many as it takes (queue_tasks_max {queue_tasks_max}, queue_bytes_max {queue_bytes_max}); try again later"
            );
            return Some(Failed::new(outcome::QUEUE_FULL, text));
        }
        None
    }

    /// Puts an attempt that has not begun into the queue.
    pub(super) fn enqueue(&mut self, id: AttemptId) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        if entry.is_paused {
            // It was on its way to a worker.
            return self.park(id);
        }
        entry.place = Place::Queued;
        self.queued_bytes += entry.attempt.body.len();
        self.queued_seconds += seconds_left(&entry.ticket);
        let (ticket, key) = (entry.ticket, entry.attempt.runtime.clone());
        self.queued += 1;
        self.wake_lane(&key).queue.push(ticket, id);
    }

    /// Puts an attempt aside that has not begun and is paused.
    pub(super) fn park(&mut self, id: AttemptId) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        entry.place = Place::Parked;
        self.parked.0 += 1;
        self.parked.1 += entry.attempt.body.len();
    }

    /// Puts an attempt that has begun into the queue; it keeps its worker.
    pub(super) fn enqueue_begun(&mut self, id: AttemptId, worker: WorkerId) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        let Some(lane) = self.lanes.get_mut(&entry.attempt.runtime) else { return };
        entry.place = Place::Begun(worker);
        self.queued += 1;
        self.queued_seconds += seconds_left(&entry.ticket);
        lane.begun.push(entry.ticket, id);
    }

    /// The number of the next one that comes to the queue.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// A time as tickets have it.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }

    /// The lane of a runtime, which is made ready if nobody has needed it before.
    pub(super) fn wake_lane(&mut self, key: &RuntimeKey) -> &mut Lane {
        let (runtimes, algorithm) = (&self.runtimes, self.algorithm);
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane::new(runtimes.get(key), algorithm));
        if lane.phase == Phase::Asleep {
            lane.phase = Phase::Preparing;
            self.unprepared.push(key.clone());
        }
        lane
    }

    /// Whether the supervisor has something to do beside listening.
    pub(super) fn has_chores(&self) -> bool {
        !self.unprepared.is_empty()
            || self.lanes.values().any(|lane| lane.spawns_wanted > 0)
            || self.workers.values().any(Worker::is_room_missed)
            // It sleeps until the next deadline.
            || (self.awake_until.is_none() && self.busy() > 0)
    }

    /// Why a runtime does not take work of others; nothing when it does.
    pub(super) fn unprotected(&self, key: &RuntimeKey) -> Option<Failed> {
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

    /// Takes an attempt out of the queue, if it is there; where it is then is the caller's to say.
    pub(super) fn dequeue(&mut self, id: AttemptId) {
        let Some(entry) = self.attempts.get(&id) else { return };
        let bytes = entry.attempt.body.len();
        let Some(lane) = self.lanes.get_mut(&entry.attempt.runtime) else { return };
        let removed = match entry.place {
            Place::Queued => {
                let removed = lane.queue.remove(entry.ticket).is_some();
                self.queued_bytes -= if removed { bytes } else { 0 };
                removed
            }
            Place::Begun(_) => lane.begun.remove(entry.ticket).is_some(),
            Place::Parked => {
                self.parked.0 -= 1;
                self.parked.1 -= bytes;
                return;
            }
            Place::Sent(_) | Place::Out(_) => return,
        };
        if removed {
            self.queued -= 1;
            self.queued_seconds -= seconds_left(&entry.ticket);
        }
        if self.queued == 0 {
            self.queued_seconds = 0.0;
        }
    }

    /// Something happened: the supervisor stays awake for a while, and the load is told.
    pub(super) fn touch(&mut self, announced: bool, now: Instant) {
        self.last_activity = now;
        self.measures.note_queue(self.queued + self.workers.values().map(Worker::ahead).sum::<usize>(), now);
        self.load_changed = true;
        self.load_announced |= announced;
    }

    pub(super) fn load(&self, now: Instant) -> PoolLoad {
        let (mut running, mut begun) = (0, 0);
        let mut backlog_seconds = self.queued_seconds.max(0.0);
        // What has no slot is in the queue, or is expected to need nothing for now.
        for worker in self.workers.values().filter(|worker| !worker.doomed && !worker.is_off_slot) {
            let mut head = true;
            begun += usize::from(worker.runs().is_some());
            for sent in &worker.sent {
                let Some(entry) = sent.attempt.and_then(|id| self.attempts.get(&id)) else { continue };
                let estimate = entry.attempt.estimate_seconds;
                let ran = if head { sent.ran(false, now).as_secs_f64() } else { 0.0 };
                // What has run longer than expected is expected to need as long again.
                backlog_seconds += if ran < estimate { estimate - ran } else { ran };
                running += 1;
                head = false;
            }
        }
        // Those sent ahead wait as well, only elsewhere.
        let ahead = running - self.busy().min(running);
        let running = running - ahead;
        PoolLoad {
            slots: self.sizes.slots,
            running,
            begun: begun.min(running),
            queued: self.queued + ahead,
            backlog_seconds,
        }
    }

    /// The attempt that has been running in its slot for the longest.
    pub(super) fn running(&self) -> Option<&Entry> {
        let running = self.workers.values().filter_map(Worker::runs).min_by_key(|sent| sent.head_since);
        self.attempts.get(&running?.attempt?)
    }

    /// Slots that are taken.
    pub(super) fn busy(&self) -> usize {
        let has_slot = |worker: &&Worker| !worker.doomed && !worker.sent.is_empty() && !worker.is_off_slot;
        self.workers.values().filter(has_slot).count()
    }

    /// Attempts that have begun and wait for nothing but a slot.
    pub(super) fn suspended(&self) -> usize {
        self.lanes.values().map(|lane| lane.begun.len()).sum()
    }

    /// Workers whose attempt has begun and has no slot.
    pub(super) fn off_slot(&self) -> usize {
        self.workers.values().filter(|worker| !worker.doomed && worker.is_off_slot).count()
    }

    /// Ends an attempt: it is nowhere any more, and `done` will be told.
    pub(super) fn finish(&mut self, id: AttemptId, outcome: Outcome, now: Instant, effects: &mut Effects) {
        self.dequeue(id);
        let Some(entry) = self.attempts.remove(&id) else { return };
        let mut outcome = outcome;
        outcome.context_switches = entry.switches;
        outcome.blocked_seconds = entry.blocked(now).as_secs_f64();
        self.deadlines.remove(&(entry.attempt.deadline, id));
        if outcome.started {
            self.counts.executed += 1;
            self.measures.ended(&entry, &outcome, now);
        }
        self.touch(!entry.attempt.confidential, now);
        effects.finished.push((entry.attempt.done, outcome));
    }
}

impl Entry {
    pub(super) fn new(attempt: Attempt, ticket: Ticket, arrived: Instant) -> Entry {
        Entry {
            attempt,
            ticket,
            place: Place::Queued,
            unbegun: 0,
            arrived,
            first_run: None,
            switches: 0,
            is_paused: false,
            waits_for: None,
            blocked_since: None,
            blocked: Duration::ZERO,
            is_held_back: false,
            moves: 0,
            is_told: false,
        }
    }

    /// How long it has been waiting for something else than a slot.
    pub(super) fn blocked(&self, now: Instant) -> Duration {
        let time = self.blocked_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.blocked + time
    }
}

/// How long an attempt is still expected to run.
fn seconds_left(ticket: &Ticket) -> f64 {
    ticket.estimate_micros as f64 / 1e6
}
