//! Finds deadlocks: the processes that can never go on, whatever the others do.
//!
//! With several units of a resource a circle of waits is not yet a deadlock, so the question is played through. Whoever
//! waits for nothing can end, and gives back what it has. That goes to those who wait, as the providers themselves would
//! give it: in order of arrival, and under Banker's algorithm only when that is safe. Who has got all that it waited for can
//! end as well. Who is left at last is deadlocked. Each step only helps the others, so the order of the steps makes no
//! difference. That holds because a process which waits for several things at once gets units from the bank only when it
//! gets all of them and can end: given a part, it might keep from others what they need, and whether that happens depends
//! on who comes first. As long as all can go on in one order, there is no deadlock.
//!
//! Memory is given out in one piece, so there it counts how large a piece can be had when all have ended who can. Who has got
//! a block and waits for nothing else ends, and gives it back: where it was makes no difference.
//!
//! What a process may ask for later is no wait. A wait with a time-out ends by itself, and one for a semaphore that anybody
//! may signal may be ended by anybody, so neither can be part of a deadlock.

mod arena;
mod cycle;
pub(crate) mod ends;
#[cfg(test)]
mod tests;

use crate::bank::Bank;
use crate::banker::{Denial, Units};
use arena::Arena;
use potluck_sdk::message::deadlock::CycleEdge;
use potluck_sdk::message::resources::{Places, ResourceState};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Who has and waits for what, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Semaphores, memory, and the ends of tasks for which others wait.
    pub(crate) resources: Vec<ResourceState>,
    /// Where the units lie of those that are given out in one piece.
    pub(crate) places: Vec<Places>,
    pub(crate) bank: Bank,
}

/// Which wait it is: process, resource, and when it began. The same one in two snapshots has lasted all the time between.
pub(crate) type WaitKey = (String, String, u64);

/// A process that can never go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) pid: String,
    /// What it has, by resource.
    pub(crate) holds: Vec<(String, u64)>,
    pub(crate) waits: Vec<StuckWait>,
    /// Which circle it is of, if any, also when it is not on the short way around that is told.
    pub(crate) circle: Option<usize>,
}

/// A wait that is never over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StuckWait {
    pub(crate) resource: String,
    pub(crate) units: u64,
    pub(crate) total: u64,
    /// Units that are free when everybody has ended who can.
    pub(crate) free: u64,
    /// Deadlocked processes that have units of it, or stand in the way otherwise; the first few.
    pub(crate) held_by: Vec<(String, u64)>,
    pub(crate) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Too few units are free.
    Units,
    /// Enough are free, but not in one piece: the largest has so many.
    Pieces(u64),
    /// Enough are free, but Banker's algorithm may not give them out.
    Unsafe,
    /// An older request comes first.
    Behind,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Detection {
    /// In order of their names.
    pub(crate) stuck: Vec<Stuck>,
    /// A short way around each circle of them, begun with the first name; the first few circles.
    pub(crate) cycles: Vec<Vec<CycleEdge>>,
    /// Circles there are: parts of the deadlock in which everybody waits for everybody, by way of others.
    pub(crate) cycle_count: usize,
    /// Waits without a time-out that were looked at.
    pub(crate) waiting: usize,
    /// Waits without a time-out for what anybody may give.
    pub(crate) open: Noted,
    /// Waits without a time-out for what a process of another node has.
    pub(crate) abroad: Noted,
    /// Processes that wait and can go on, in an order in which they can; the first few.
    pub(crate) can_go_on: Vec<String>,
    /// The waits of the processes that are stuck.
    pub(crate) keys: HashSet<WaitKey>,
}

/// Waits that the search cannot look behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) count: usize,
    /// The first of them.
    pub(crate) example: Option<NotedWait>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotedWait {
    pub(crate) pid: String,
    pub(crate) resource: String,
    /// Whose units it waits for; empty when those may be anybody's.
    pub(crate) held_by: String,
}

impl Noted {
    fn add(&mut self, pid: &str, resource: &str, held_by: &str) {
        self.count += 1;
        let wait = || NotedWait { pid: pid.to_owned(), resource: resource.to_owned(), held_by: held_by.to_owned() };
        self.example.get_or_insert_with(wait);
    }
}

/// Whether a process is another node's, which alone knows what it waits for there.
fn is_abroad(pid: &str) -> bool {
    pid.contains('@')
}

/// Processes that are named in an explanation.
const NAMED_MAX: usize = 8;

/// Looks for a deadlock among all waits, or only among those of `only`; a process that is `gone` waits for nothing.
pub(crate) fn detect(snapshot: &Snapshot, only: Option<&HashSet<WaitKey>>, gone: &HashSet<String>) -> Detection {
    let mut reduction = Reduction::new(snapshot, only, gone);
    reduction.run();
    reduction.result()
}

struct Queued {
    process: usize,
    units: u64,
    since: u64,
}

/// How the requests of one process to the bank fare.
#[derive(Default)]
struct Asking {
    waits: usize,
    /// Requests that wait no longer, granted or not.
    over: usize,
    is_granted_one: bool,
}

struct Reduction<'a> {
    resources: &'a [ResourceState],
    /// Names of the processes, and their places here.
    pids: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
    /// Waits of each process that are not over.
    pending: Vec<usize>,
    has_waited: Vec<bool>,
    /// What each process has of `resources`; the bank keeps its own books.
    holds: Vec<Vec<(usize, u64)>>,
    free: Vec<u64>,
    /// Of those resources that are given out in one piece.
    arenas: Vec<Option<Arena<'a>>>,
    queues: Vec<VecDeque<Queued>>,
    bank: Bank,
    tickets: HashMap<u64, usize>,
    can_end: Vec<usize>,
    bank_changed: bool,
    waiting: usize,
    open: Noted,
    abroad: Noted,
    can_go_on: Vec<String>,
}

impl<'a> Reduction<'a> {
    fn new(snapshot: &'a Snapshot, only: Option<&HashSet<WaitKey>>, gone: &HashSet<String>) -> Reduction<'a> {
        let mut this = Reduction {
            resources: &snapshot.resources,
            pids: Vec::new(),
            places: HashMap::new(),
            pending: Vec::new(),
            has_waited: Vec::new(),
            holds: Vec::new(),
            free: snapshot.resources.iter().map(|resource| resource.available_units).collect(),
            arenas: snapshot.resources.iter().map(|resource| arena_of(snapshot, resource)).collect(),
            queues: snapshot.resources.iter().map(|_| VecDeque::new()).collect(),
            bank: snapshot.bank.clone(),
            tickets: HashMap::new(),
            can_end: Vec::new(),
            bank_changed: true,
            waiting: 0,
            open: Noted::default(),
            abroad: Noted::default(),
            can_go_on: Vec::new(),
        };
        let counts = |pid: &str, resource: &str, since: u64| {
            !gone.contains(pid) && only.is_none_or(|only| only.contains(&(pid.to_owned(), resource.to_owned(), since)))
        };
        for (index, resource) in snapshot.resources.iter().enumerate() {
            for holder in &resource.holders {
                let process = this.place(&holder.pid);
                this.holds[process].push((index, holder.units));
            }
            let abroad = resource.holders.iter().find(|holder| is_abroad(&holder.pid));
            for waiter in resource.waiters.iter().filter(|waiter| !waiter.bounded) {
                if !resource.owned {
                    this.open.add(&waiter.pid, &resource.resource_id, "");
                } else if let Some(holder) = abroad {
                    this.abroad.add(&waiter.pid, &resource.resource_id, &holder.pid);
                }
            }
            for waiter in &resource.waiters {
                let process = this.place(&waiter.pid);
                this.waiting += usize::from(!waiter.bounded);
                let since = waiter.since_unix_milliseconds;
                if resource.owned && !waiter.bounded && counts(&waiter.pid, &resource.resource_id, since) {
                    this.pending[process] += 1;
                    this.queues[index].push_back(Queued { process, units: waiter.units, since });
                }
            }
        }
        for (pid, customer) in &snapshot.bank.banker.processes {
            if !customer.allocation.is_empty() {
                this.place(pid);
            }
        }
        for wait in &snapshot.bank.waits {
            let process = this.place(&wait.pid);
            this.waiting += usize::from(!wait.is_bounded);
            let abroad = snapshot.bank.banker.processes.iter().filter(|(pid, _)| !wait.is_bounded && is_abroad(pid));
            let has = |allocation: &Units| wait.units.keys().find(|name| allocation.contains_key(*name));
            if let Some((pid, name)) = abroad.filter_map(|(pid, other)| Some((pid, has(&other.allocation)?))).next() {
                this.abroad.add(&wait.pid, name, pid);
            }
            if !wait.is_bounded && counts(&wait.pid, BANK, wait.ticket) {
                this.pending[process] += 1;
                this.tickets.insert(wait.ticket, process);
            } else {
                this.bank.cancel(wait.ticket);
            }
        }
        for process in 0..this.pids.len() {
            this.has_waited[process] = this.pending[process] > 0;
            if this.pending[process] == 0 {
                this.can_end.push(process);
            }
        }
        this
    }

    fn place(&mut self, pid: &'a str) -> usize {
        *self.places.entry(pid).or_insert_with(|| {
            self.pids.push(pid);
            self.pending.push(0);
            self.has_waited.push(false);
            self.holds.push(Vec::new());
            self.pids.len() - 1
        })
    }

    fn run(&mut self) {
        for index in 0..self.resources.len() {
            self.serve(index);
        }
        loop {
            while let Some(process) = self.can_end.pop() {
                self.end(process);
            }
            if !std::mem::take(&mut self.bank_changed) {
                return;
            }
            self.serve_bank();
        }
    }

    /// Lets those end who wait for the bank alone and can have all that they wait for.
    fn serve_bank(&mut self) {
        let outlook = self.bank.outlook();
        let mut asking: BTreeMap<usize, Asking> = BTreeMap::new();
        for (wait, result) in self.bank.waits.iter().zip(outlook) {
            let Some(process) = self.tickets.get(&wait.ticket) else { continue };
            let asking = asking.entry(*process).or_default();
            asking.waits += 1;
            asking.is_granted_one |= result.is_ok();
            asking.over += usize::from(!result.is_err_and(|denial| denial.may_pass()));
        }
        for (process, Asking { waits, over, is_granted_one }) in asking {
            // Who has been granted one request may overtake others with the rest, so the bank is asked for all of them.
            let may_have_all = is_granted_one || over == waits;
            if self.pending[process] == waits && may_have_all && self.bank.grant_all(self.pids[process]) {
                self.pending[process] = 0;
                self.can_end.push(process);
                // Its units came out of the bank, and it gives them back when it ends.
                self.bank_changed = true;
            }
        }
    }

    fn end(&mut self, process: usize) {
        if self.has_waited[process] && self.can_go_on.len() < NAMED_MAX {
            self.can_go_on.push(self.pids[process].to_owned());
        }
        for arena in self.arenas.iter_mut().flatten() {
            arena.end(self.pids[process]);
        }
        for (index, units) in std::mem::take(&mut self.holds[process]) {
            self.free[index] = self.free[index].saturating_add(units);
            self.serve(index);
        }
        self.bank_changed |= self.bank.end(self.pids[process]).1.is_some();
    }

    /// Whether so many units can be had.
    fn is_there(&self, index: usize, units: u64) -> bool {
        units <= self.free[index] && self.arenas[index].as_ref().is_none_or(|arena| units <= arena.largest())
    }

    /// Gives free units to those who wait, the first first; nobody overtakes.
    fn serve(&mut self, index: usize) {
        while let Some(&Queued { process, units, .. }) = self.queues[index].front()
            && self.is_there(index, units)
        {
            self.queues[index].pop_front();
            self.free[index] -= units;
            self.holds[process].push((index, units));
            self.wait_is_over(process);
        }
    }

    fn wait_is_over(&mut self, process: usize) {
        self.pending[process] -= 1;
        if self.pending[process] == 0 {
            self.can_end.push(process);
        }
    }

    fn is_stuck(&self, process: usize) -> bool {
        self.pending[process] > 0
    }

    fn result(mut self) -> Detection {
        let mut keys = HashSet::new();
        let mut waits: HashMap<usize, Vec<StuckWait>> = HashMap::new();
        let mut graph = cycle::Graph::new(self.pids.len());
        for (index, resource) in self.resources.iter().enumerate() {
            self.plain_waits(index, resource, &mut graph, &mut waits, &mut keys);
        }
        self.bank_waits(&mut graph, &mut waits, &mut keys);

        let mut stuck: Vec<usize> = (0..self.pids.len()).filter(|process| self.is_stuck(*process)).collect();
        stuck.sort_by_key(|process| self.pids[*process]);
        let circles = graph.circles(&self.pids);
        let stuck = stuck.into_iter().map(|process| Stuck {
            pid: self.pids[process].to_owned(),
            holds: self.all_holds(process),
            waits: waits.remove(&process).unwrap_or_default(),
            circle: circles.of.get(&process).copied(),
        });
        let mut stuck: Vec<Stuck> = stuck.collect();
        ends::leave_out_onlookers(&mut stuck);
        Detection {
            stuck,
            cycles: circles.chains,
            cycle_count: circles.count,
            waiting: self.waiting,
            open: std::mem::take(&mut self.open),
            abroad: std::mem::take(&mut self.abroad),
            can_go_on: std::mem::take(&mut self.can_go_on),
            keys,
        }
    }

    fn all_holds(&self, process: usize) -> Vec<(String, u64)> {
        let mut holds: Vec<(String, u64)> = Vec::new();
        for (index, units) in &self.holds[process] {
            let name = &self.resources[*index].resource_id;
            match holds.iter_mut().find(|(held, _)| held == name) {
                Some((_, sum)) => *sum += units,
                None => holds.push((name.clone(), *units)),
            }
        }
        let customer = self.bank.banker.processes.get(self.pids[process]);
        holds.extend(customer.into_iter().flat_map(|customer| customer.allocation.clone()));
        holds
    }

    fn plain_waits(
        &self,
        index: usize,
        resource: &ResourceState,
        graph: &mut cycle::Graph,
        waits: &mut HashMap<usize, Vec<StuckWait>>,
        keys: &mut HashSet<WaitKey>,
    ) {
        let Some(first) = self.queues[index].front() else { return };
        let mut holders: Vec<(usize, u64)> = Vec::new();
        for holder in &resource.holders {
            let process = self.places.get(holder.pid.as_str()).copied().filter(|process| self.is_stuck(*process));
            holders.extend(process.map(|process| (process, holder.units)));
        }
        let none_is_held = holders.is_empty();
        if none_is_held {
            // Nobody who is stuck has any, so it is the first in the queue who wants more than the others leave.
            holders.push((first.process, 0));
        }
        let node = graph.resource(holders.iter().map(|(process, _)| *process));
        let named: Vec<(String, u64)> =
            holders.iter().take(NAMED_MAX).map(|(process, units)| (self.pids[*process].to_owned(), *units)).collect();
        for (position, queued) in self.queues[index].iter().enumerate() {
            let pid = self.pids[queued.process];
            keys.insert((pid.to_owned(), resource.resource_id.clone(), queued.since));
            let is_own = none_is_held && position == 0;
            // It could be had, were it not for the first in the queue.
            let is_behind = position > 0 && queued.process != first.process && self.is_there(index, queued.units);
            if is_behind {
                graph.wait_for_process(queued.process, first.process, &resource.resource_id, queued.units);
            } else if !is_own {
                graph.wait_for_resource(queued.process, node, &resource.resource_id, queued.units);
            }
            let pieces = self.arenas[index].as_ref().filter(|_| queued.units <= self.free[index]).map(Arena::largest);
            waits.entry(queued.process).or_default().push(StuckWait {
                resource: resource.resource_id.clone(),
                units: queued.units,
                total: resource.total_units,
                free: self.free[index],
                held_by: match (is_own, is_behind) {
                    (true, _) => Vec::new(),
                    (_, true) => vec![(self.pids[first.process].to_owned(), 0)],
                    _ => named.clone(),
                },
                why: match pieces {
                    _ if is_behind || (none_is_held && !is_own) => Why::Behind,
                    Some(largest) => Why::Pieces(largest),
                    None => Why::Units,
                },
            });
        }
    }

    fn bank_waits(
        &mut self,
        graph: &mut cycle::Graph,
        waits: &mut HashMap<usize, Vec<StuckWait>>,
        keys: &mut HashSet<WaitKey>,
    ) {
        let queue: Vec<_> = self.bank.waits.iter().cloned().collect();
        for (position, wait) in queue.iter().enumerate() {
            let Some(&process) = self.tickets.get(&wait.ticket) else { continue };
            keys.insert((wait.pid.clone(), BANK.to_owned(), wait.ticket));
            let denial = self.bank.why(wait.ticket);
            let available = |name: &str| self.bank.banker.resources.get(name).map_or(0, |resource| resource.available);
            let lacking = wait.units.iter().find(|(name, units)| **units > available(name));
            let Some((name, units)) = lacking.or_else(|| wait.units.iter().next()) else { continue };
            let others = self.bank.banker.processes.iter().filter(|(pid, _)| **pid != wait.pid);
            let (why, blockers): (Why, Vec<(String, u64)>) = if lacking.is_some() {
                let has = |allocation: &Units| allocation.get(name).copied();
                (Why::Units, others.filter_map(|(pid, other)| Some((pid.clone(), has(&other.allocation)?))).collect())
            } else if denial == Denial::Unsafe {
                let has =
                    |allocation: &Units| (!allocation.is_empty()).then(|| allocation.get(name).copied().unwrap_or(0));
                (Why::Unsafe, others.filter_map(|(pid, other)| Some((pid.clone(), has(&other.allocation)?))).collect())
            } else {
                let ahead = queue[..position].iter().filter(|other| other.pid != wait.pid);
                let ahead = ahead.filter(|other| other.units.keys().any(|name| wait.units.contains_key(name)));
                (Why::Behind, ahead.map(|other| (other.pid.clone(), 0)).collect())
            };
            for (pid, _) in &blockers {
                if let Some(&other) = self.places.get(pid.as_str()) {
                    graph.wait_for_process(process, other, name, *units);
                }
            }
            waits.entry(process).or_default().push(StuckWait {
                resource: name.clone(),
                units: *units,
                total: self.bank.banker.resources.get(name).map_or(0, |resource| resource.total),
                free: available(name),
                held_by: blockers.into_iter().take(NAMED_MAX).collect(),
                why,
            });
        }
    }
}

/// Where the units of a resource lie, if that makes a difference.
fn arena_of<'a>(snapshot: &'a Snapshot, resource: &ResourceState) -> Option<Arena<'a>> {
    let places = snapshot.places.iter().find(|places| places.resource_id == resource.resource_id)?;
    Some(Arena::new(resource.total_units, &places.blocks))
}

/// Stands for the bank in a [`WaitKey`]; a ticket is never given twice.
const BANK: &str = "";
