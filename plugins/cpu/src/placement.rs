//! Where a task runs: here, or on the peer that is expected to start it soonest.
//!
//! The tracker pushes a table of peers with their loads. Between two reports of a peer this node adds what it has itself
//! sent there, so that a burst does not all go to the peer that was idle a moment ago. A report is of a moment ago too:
//! what this node had there then and has no more is nobody else's.

use crate::pool::PoolLoad;
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::{Load, PeerEntry, PeerTable};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What sending a task to another peer costs, in seconds: connection, two more nodes' queues, and the result's way back.
const REMOTE_OVERHEAD_SECONDS: f64 = 0.002;
/// How old a load may be when it is told, in a small pool: a node waits for up to 50 ms until it reports and 100 ms until
/// it announces, its tracker for 50 ms, and the network for the rest.
const REPORT_AGE_MAX: Duration = Duration::from_millis(300);
/// A peer that could not be reached is not tried again for this long.
const AVOID_UNREACHABLE: Duration = Duration::from_secs(5);
/// A peer that has refused a task, though it could be reached, is not asked again for this long: twice as long each time,
/// until it takes one. One that was only full for a moment should be used again soon.
const AVOID_REFUSING_FIRST: Duration = Duration::from_millis(500);
/// It is never left alone for longer.
const AVOID_REFUSING_LAST: Duration = Duration::from_secs(10);

/// The peers that tasks may go to.
#[derive(Default)]
pub(crate) struct Placement {
    /// By address. A leaf lock.
    candidates: Mutex<BTreeMap<String, Candidate>>,
}

struct Candidate {
    entry: PeerEntry,
    /// What this node has there now.
    mine: InFlight,
    recent: Recent,
    /// When the entry's load was told, and how much of this node's that includes: what it had there when it was told, and
    /// at most shortly before.
    told: Told,
    unreachable_until: Option<Instant>,
    refusals: Refusals,
}

/// The refusals of a peer since it has last taken a task.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    until: Option<Instant>,
    /// For how long it was avoided because of the last one.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    mine: u32,
    mine_at_most: u32,
}

/// The most tasks that this node had at a peer of late: within the last [`REPORT_AGE_MAX`], or up to twice as long.
#[derive(Clone, Copy, Debug)]
struct Recent {
    since: Instant,
    most: u32,
    most_before: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    tasks: u32,
    seconds: f64,
}

/// A task that was sent to a peer, until it is known how it ended.
#[derive(Debug)]
pub(crate) struct Placed {
    /// `host:port` of the peer.
    pub address: String,
    /// The peer, when the tracker has said which it is.
    pub peer: Option<PeerId>,
    seconds: f64,
}

impl Recent {
    fn new(now: Instant) -> Recent {
        Recent { since: now, most: 0, most_before: 0 }
    }

    /// Takes note of the number of tasks that have been there up to now; called before it changes.
    fn note(&mut self, tasks: u32, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= REPORT_AGE_MAX {
            // It has not changed since the last note, and that was longer ago than anybody wants to know.
            let most_before = if age < 2 * REPORT_AGE_MAX { self.most } else { tasks };
            *self = Recent { since: now, most: tasks, most_before };
        }
        self.most = self.most.max(tasks);
    }

    fn most(&self) -> u32 {
        self.most.max(self.most_before)
    }
}

impl Candidate {
    fn new(entry: PeerEntry, now: Instant) -> Candidate {
        Candidate {
            entry,
            mine: InFlight::default(),
            recent: Recent::new(now),
            told: Told { at: now, mine: 0, mine_at_most: 0 },
            unreachable_until: None,
            refusals: Refusals::default(),
        }
    }

    /// The peer, whose load has just been told.
    fn told(mut self, entry: PeerEntry, now: Instant) -> Candidate {
        self.recent.note(self.mine.tasks, now);
        let told = Told { at: now, mine: self.mine.tasks, mine_at_most: self.recent.most() };
        Candidate { entry, told, ..self }
    }

    fn add(&mut self, seconds: f64, now: Instant) {
        self.recent.note(self.mine.tasks, now);
        self.mine.tasks += 1;
        self.mine.seconds += seconds;
    }

    fn remove(&mut self, seconds: f64, now: Instant) {
        self.recent.note(self.mine.tasks, now);
        self.mine.tasks = self.mine.tasks.saturating_sub(1);
        self.mine.seconds = if self.mine.tasks == 0 { 0.0 } else { (self.mine.seconds - seconds).max(0.0) };
    }

    /// The tasks of others that are there, as far as this node knows.
    fn others(&self, now: Instant) -> u32 {
        // Were it older than it may be, a newer one would have come: this one is of the time at which it was told.
        let may_be_old = now < self.told.at + REPORT_AGE_MAX;
        let mine = if may_be_old { self.told.mine_at_most } else { self.told.mine };
        tasks(&self.entry.load).saturating_sub(mine)
    }

    /// Tasks that would start at once.
    fn idle_slots(&self, now: Instant) -> u32 {
        self.entry.load.workers.saturating_sub(self.others(now).saturating_add(self.mine.tasks))
    }

    /// Expected seconds until a further task would start.
    fn expected_wait(&self, now: Instant) -> f64 {
        if self.idle_slots(now) > 0 {
            return 0.0;
        }
        let load = &self.entry.load;
        // Whose tasks the backlog is made of was not told.
        let share = f64::from(self.others(now)) / f64::from(tasks(load).max(1));
        (load.backlog_seconds.max(0.0) * share + self.mine.seconds) / f64::from(load.workers.max(1))
    }

    fn is_unreachable(&self, now: Instant) -> bool {
        self.unreachable_until.is_some_and(|until| until > now)
    }
}

impl Refusals {
    fn are_recent(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    fn note(&mut self, now: Instant) {
        // Those that were on their way when the first one was refused say nothing new.
        if !self.are_recent(now) {
            self.pause = (self.pause * 2).clamp(AVOID_REFUSING_FIRST, AVOID_REFUSING_LAST);
            self.until = Some(now + self.pause);
        }
    }

    /// It takes tasks again: the next refusal is a first one.
    fn served(&mut self) {
        self.pause = Duration::ZERO;
    }
}

fn tasks(load: &Load) -> u32 {
    load.running.saturating_add(load.queued)
}

impl Placement {
    /// Takes in a table; `own` is this node, which is no candidate.
    pub(crate) fn update(&self, table: PeerTable, own: PeerId) {
        let now = Instant::now();
        let mut candidates = self.candidates.lock();
        let mut former = std::mem::take(&mut *candidates);
        for entry in table.peers {
            if entry.peer_id == Some(own) || entry.load.workers == 0 {
                continue;
            }
            let address = entry.address();
            let candidate = match former.remove(&address) {
                Some(known) if known.entry == entry => known,
                Some(known) => known.told(entry, now),
                None => Candidate::new(entry, now),
            };
            candidates.insert(address, candidate);
        }
    }

    /// Whether there is anybody to send tasks to.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.lock().is_empty()
    }

    /// How many of the tasks that wait here should go to peers that have become idle.
    pub(crate) fn idle_slots(&self, here: &PoolLoad) -> usize {
        if here.queued == 0 || here.expected_wait() <= REMOTE_OVERHEAD_SECONDS {
            return 0;
        }
        let now = Instant::now();
        let candidates = self.candidates.lock();
        let is_avoided = |candidate: &Candidate| candidate.is_unreachable(now) || candidate.refusals.are_recent(now);
        let idle = candidates.values().filter(|candidate| !is_avoided(candidate));
        let idle: usize = idle.map(|candidate| candidate.idle_slots(now) as usize).sum();
        idle.min(here.queued)
    }

    /// Chooses the peer that is expected to start a task sooner than this node would, and counts the task as sent there.
    /// Nothing when it should run here. `here` is nothing when it cannot; `not_these` are peers that cannot or will not. A
    /// peer that has refused others of late is asked only when nobody else can run it.
    pub(crate) fn choose(
        &self,
        here: Option<&PoolLoad>,
        estimate_seconds: f64,
        not_these: &[String],
    ) -> Option<Placed> {
        if here.is_some_and(|here| here.running + here.queued < here.slots) {
            return None;
        }
        let wait_here = here.map_or(f64::INFINITY, PoolLoad::expected_wait);
        let now = Instant::now();
        let mut candidates = self.candidates.lock();
        let best = candidates
            .values_mut()
            .filter(|candidate| !candidate.is_unreachable(now))
            .map(|candidate| (candidate.refusals.are_recent(now), candidate))
            .filter(|(refuses, _)| here.is_none() || !refuses)
            .filter(|(_, candidate)| !not_these.contains(&candidate.entry.address()))
            .map(|(refuses, candidate)| (refuses, candidate.expected_wait(now), candidate))
            .min_by(|(refuses, wait, _), (other_refuses, other_wait, _)| {
                refuses.cmp(other_refuses).then(wait.total_cmp(other_wait))
            });
        let (_, wait_there, candidate) = best?;
        if wait_there + REMOTE_OVERHEAD_SECONDS >= wait_here {
            return None;
        }
        candidate.add(estimate_seconds, now);
        Some(Placed { address: candidate.entry.address(), peer: candidate.entry.peer_id, seconds: estimate_seconds })
    }

    /// A task that was settled goes to the same peer once more.
    pub(crate) fn take(&self, placed: &Placed) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            candidate.add(placed.seconds, Instant::now());
        }
    }

    /// A peer has refused a task for a reason that others may meet too.
    pub(crate) fn refused(&self, placed: &Placed) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            candidate.refusals.note(Instant::now());
        }
    }

    /// A peer has begun a task.
    pub(crate) fn served(&self, placed: &Placed) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            candidate.refusals.served();
        }
    }

    /// A task that was sent to a peer is there no more; `reached` tells whether the peer answered.
    pub(crate) fn settle(&self, placed: &Placed, reached: bool) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            let now = Instant::now();
            candidate.remove(placed.seconds, now);
            if !reached {
                candidate.unreachable_until = Some(now + AVOID_UNREACHABLE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(port: u16, workers: u32, running: u32) -> PeerEntry {
        let load = Load { workers, running, backlog_seconds: f64::from(running), ..Load::default() };
        PeerEntry { peer_id: Some(PeerId::from_hash([port as u8; 16])), ip: "127.0.0.1".to_owned(), port, load }
    }

    fn placement(entries: Vec<PeerEntry>) -> Placement {
        let placement = Placement::default();
        let table = PeerTable { full: true, peers: entries, ..PeerTable::default() };
        placement.update(table, PeerId::from_hash([1; 16]));
        placement
    }

    fn here(running: usize, queued: usize) -> PoolLoad {
        PoolLoad { slots: 2, running, begun: running, queued, backlog_seconds: (running + queued) as f64 }
    }

    #[test]
    fn an_idle_node_keeps_its_tasks() {
        let placement = placement(vec![entry(2, 2, 0)]);
        assert!(placement.choose(Some(&here(1, 0)), 1.0, &[]).is_none());
        assert!(placement.choose(Some(&here(2, 0)), 1.0, &[]).is_some());
    }

    #[test]
    fn what_cannot_run_here_goes_to_whoever_can() {
        let placement = placement(vec![entry(2, 2, 9), entry(3, 2, 0)]);
        let unable = ["127.0.0.1:3".to_owned()];
        assert_eq!(placement.choose(None, 1.0, &[]).unwrap().address, "127.0.0.1:3");
        assert_eq!(placement.choose(None, 1.0, &unable).unwrap().address, "127.0.0.1:2");
    }

    #[test]
    fn a_burst_is_spread_by_the_number_of_workers() {
        let placement = placement(vec![entry(1, 2, 0), entry(2, 2, 0), entry(3, 6, 0), entry(4, 0, 0)]);
        let mut counts = BTreeMap::<String, u32>::new();
        let mut kept = 0;
        for _ in 0..30 {
            match placement.choose(Some(&here(kept.min(2), kept.saturating_sub(2))), 1.0, &[]) {
                Some(placed) => *counts.entry(placed.address).or_default() += 1,
                None => kept += 1,
            }
        }
        assert_eq!(kept, 6);
        assert_eq!(counts, BTreeMap::from([("127.0.0.1:2".to_owned(), 6), ("127.0.0.1:3".to_owned(), 18)]));
    }

    #[test]
    fn what_was_sent_is_not_counted_twice_when_the_peer_reports_it() {
        let placement = placement(vec![entry(2, 2, 0)]);
        let placed = placement.choose(Some(&here(2, 0)), 1.0, &[]).unwrap();
        placement.update(
            PeerTable { full: true, peers: vec![entry(2, 2, 1)], ..PeerTable::default() },
            PeerId::from_hash([1; 16]),
        );
        assert!(placement.choose(Some(&here(2, 0)), 1.0, &[]).is_some(), "one of its two workers is still idle");
        placement.settle(&placed, true);
    }

    #[test]
    fn what_has_just_ended_there_keeps_nobody_busy() {
        let placement = placement(vec![entry(2, 2, 0)]);
        let placed: Vec<Placed> = (0..4).map(|_| placement.choose(Some(&here(2, 9)), 1.0, &[]).unwrap()).collect();
        placed.iter().for_each(|placed| placement.settle(placed, true));
        // Told when they had ended, and true of a time when they had not.
        let table = PeerTable { full: true, peers: vec![entry(2, 2, 4)], ..PeerTable::default() };
        placement.update(table, PeerId::from_hash([1; 16]));
        assert_eq!(placement.idle_slots(&here(2, 9)), 2);
        assert!(placement.choose(Some(&here(2, 0)), 1.0, &[]).is_some());
    }

    #[test]
    fn a_load_that_stands_for_long_is_true() {
        let (start, delay) = (Instant::now(), REPORT_AGE_MAX / 3);
        let mut candidate = Candidate::new(entry(2, 2, 0), start);
        candidate.add(1.0, start);
        candidate.add(1.0, start);
        candidate.remove(1.0, start + delay);
        candidate.remove(1.0, start + delay);
        let told_at = start + 2 * delay;
        let candidate = candidate.told(entry(2, 2, 3), told_at);
        assert_eq!((candidate.others(told_at), candidate.idle_slots(told_at)), (1, 1));
        assert_eq!(candidate.expected_wait(told_at), 0.0);
        let later = told_at + REPORT_AGE_MAX;
        assert_eq!((candidate.others(later), candidate.idle_slots(later)), (3, 0));
        assert_eq!(candidate.expected_wait(later), 1.5);
    }

    #[test]
    fn a_backlog_is_others_in_proportion_to_their_tasks() {
        let start = Instant::now();
        let mut candidate = Candidate::new(entry(2, 2, 0), start);
        for _ in 0..6 {
            candidate.add(0.1, start);
        }
        // It does not know the function, and expects a second of each.
        let candidate = candidate.told(entry(2, 2, 8), start);
        assert!((candidate.expected_wait(start) - (2.0 + 0.6) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_most_of_late_is_forgotten_in_time() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.note(5, start);
        recent.note(3, start + REPORT_AGE_MAX / 2);
        assert_eq!(recent.most(), 5);
        recent.note(2, start + REPORT_AGE_MAX);
        assert_eq!(recent.most(), 5, "the five were there until then, for all that is known");
        recent.note(1, start + 2 * REPORT_AGE_MAX);
        assert_eq!(recent.most(), 2);
        recent.note(1, start + 9 * REPORT_AGE_MAX);
        assert_eq!(recent.most(), 1);
    }

    #[test]
    fn only_what_waits_goes_to_those_that_become_idle() {
        let placement = placement(vec![entry(2, 2, 0), entry(3, 4, 3), entry(4, 2, 7)]);
        assert_eq!(placement.idle_slots(&here(2, 9)), 3);
        assert_eq!(placement.idle_slots(&here(2, 1)), 1);
        assert_eq!(placement.idle_slots(&here(2, 0)), 0);
        let short = PoolLoad { backlog_seconds: REMOTE_OVERHEAD_SECONDS, ..here(2, 9) };
        assert_eq!(placement.idle_slots(&short), 0, "they begin here as soon");
    }

    #[test]
    fn a_load_of_any_size_is_taken() {
        let load = Load { workers: u32::MAX, running: u32::MAX, queued: u32::MAX, ..Load::default() };
        let placement = placement(vec![PeerEntry { load, ..entry(2, 2, 0) }]);
        assert_eq!(placement.idle_slots(&here(2, 9)), 0);
        assert!(placement.choose(Some(&here(2, 9)), 1.0, &[]).is_some());
        assert_eq!(placement.idle_slots(&here(2, 9)), 0);
    }

    #[test]
    fn a_peer_that_cannot_be_reached_is_avoided() {
        let placement = placement(vec![entry(2, 2, 0)]);
        let placed = placement.choose(Some(&here(2, 0)), 1.0, &[]).unwrap();
        placement.settle(&placed, false);
        assert!(placement.choose(Some(&here(2, 5)), 1.0, &[]).is_none());
    }

    #[test]
    fn a_peer_that_refuses_is_left_alone_until_it_may_have_changed_its_mind() {
        let placement = placement(vec![entry(2, 2, 0), entry(3, 2, 1)]);
        let placed: Vec<Placed> = (0..2).map(|_| placement.choose(Some(&here(2, 9)), 1.0, &[]).unwrap()).collect();
        assert_eq!(placed[0].address, "127.0.0.1:2");
        placement.settle(&placed[0], true);
        placement.refused(&placed[0]);
        assert_eq!(placement.idle_slots(&here(2, 9)), 1);
        for _ in 0..9 {
            assert_eq!(placement.choose(Some(&here(2, 9)), 1.0, &[]).unwrap().address, "127.0.0.1:3");
        }
        assert_eq!(placement.choose(None, 1.0, &[]).unwrap().address, "127.0.0.1:3");
        let full = ["127.0.0.1:3".to_owned()];
        assert!(placement.choose(Some(&here(2, 9)), 1.0, &full).is_none());
        assert_eq!(placement.choose(None, 1.0, &full).unwrap().address, "127.0.0.1:2", "nobody else can run it");
    }

    #[test]
    fn the_longer_a_peer_refuses_the_less_often_it_is_asked() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        assert!(!refusals.are_recent(now));
        for milliseconds in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            let pause = Duration::from_millis(milliseconds);
            refusals.note(now);
            // All that were on their way.
            refusals.note(now + pause / 2);
            assert!(refusals.are_recent(now + pause - Duration::from_nanos(1)));
            now += pause;
            assert!(!refusals.are_recent(now));
        }
        refusals.served();
        refusals.note(now);
        assert!(!refusals.are_recent(now + AVOID_REFUSING_FIRST), "it has taken one since");
    }
}
