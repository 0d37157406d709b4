//! Exact simulation of a workload: integer microseconds, switching costs nothing, and the rules are those of
//! [`crate::scheduler`].
//!
//! What happens at one instant happens in this order, as in the textbooks: processes end; processes arrive, in the order
//! of the workload; whose quantum is over goes to the end of the queue, so behind those that just arrived; free slots are
//! given away; more urgent processes take slots from less urgent ones. Among equals, who came first is first.

use super::trace::{Piece, Trace};
use super::workload::Plan;
use crate::scheduler::{Algorithm, ReadyQueue, Return, Ticket};

/// Runs the workload to its end.
pub(super) fn simulate(plan: &Plan, algorithm: Algorithm) -> Trace {
    let slots = (0..plan.slots).map(|_| None).collect();
    let left = plan.processes.iter().map(|process| process.burst_micros).collect();
    let last_slot = vec![None; plan.processes.len()];
    let queue = ReadyQueue::new(algorithm);
    let mut machine =
        Machine { plan, algorithm, queue, slots, left, last_slot, sequence: 0, now: 0, trace: Trace::default() };
    let mut arrivals = machine.plan.arrivals().into_iter().peekable();
    loop {
        let arrival = arrivals.peek().map(|process| plan.processes[*process].arrival_micros);
        let Some(now) = arrival.into_iter().chain(machine.next_event()).min() else { break };
        machine.advance(now);
        machine.end_processes();
        while let Some(process) = arrivals.next_if(|process| plan.processes[*process].arrival_micros == now) {
            let ticket = plan.ticket(process, machine.next_sequence());
            machine.queue.push(ticket, (ticket, process));
        }
        machine.end_quanta();
        machine.fill_slots();
        machine.preempt();
    }
    machine.trace
}

struct Machine<'a> {
    plan: &'a Plan,
    algorithm: Algorithm,
    queue: ReadyQueue<(Ticket, usize)>,
    slots: Vec<Option<Running>>,
    /// What each process still needs.
    left: Vec<u64>,
    /// Where each process ran last: it goes on there when it can, which is no switch.
    last_slot: Vec<Option<usize>>,
    sequence: u64,
    now: u64,
    trace: Trace,
}

#[derive(Clone, Copy)]
struct Running {
    process: usize,
    /// As of `now`.
    ticket: Ticket,
    quantum_end: Option<u64>,
}

impl Machine<'_> {
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// When something happens to those that run.
    fn next_event(&self) -> Option<u64> {
        let event = |running: &Running| {
            let end = self.now + self.left[running.process];
            running.quantum_end.map_or(end, |quantum_end| end.min(quantum_end))
        };
        self.slots.iter().flatten().map(event).min()
    }

    /// Lets time pass until `now`: those in slots run.
    fn advance(&mut self, now: u64) {
        let from = self.now;
        for (slot, running) in self.slots.iter_mut().enumerate() {
            let Some(running) = running else { continue };
            self.left[running.process] -= now - from;
            running.ticket = running.ticket.having_run(now - from);
            self.trace.push(Piece { slot, process: running.process, from, to: now });
        }
        self.now = now;
    }

    fn end_processes(&mut self) {
        let left = &self.left;
        for slot in &mut self.slots {
            slot.take_if(|running| left[running.process] == 0);
        }
    }

    fn free_slots(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_none()).count()
    }

    fn end_quanta(&mut self) {
        let now = self.now;
        let mut over: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].is_some_and(|running| running.quantum_end == Some(now)))
            .collect();
        // Who has come to its slot first goes to the queue first.
        over.sort_by_key(|slot| self.slots[*slot].map(|running| running.ticket.sequence));
        for slot in over {
            if self.queue.len() > self.free_slots() {
                self.put_back(slot, Return::QuantumOver);
            } else if let Some(running) = &mut self.slots[slot] {
                running.quantum_end = quantum_end(self.algorithm, now);
            }
        }
    }

    fn put_back(&mut self, slot: usize, why: Return) {
        let sequence = self.next_sequence();
        if let Some(Running { process, ticket, .. }) = self.slots[slot].take() {
            let ticket = self.algorithm.put_back(ticket, why, sequence, self.now);
            self.queue.push(ticket, (ticket, process));
        }
    }

    fn take_first(&mut self) -> Option<(Ticket, usize)> {
        let (ticket, _) = *self.queue.peek()?;
        self.queue.remove(ticket)
    }

    fn fill_slots(&mut self) {
        let count = self.free_slots().min(self.queue.len());
        let chosen: Vec<(Ticket, usize)> = (0..count).filter_map(|_| self.take_first()).collect();
        let (at_home, others): (Vec<_>, Vec<_>) = chosen
            .into_iter()
            .partition(|(_, process)| self.last_slot[*process].is_some_and(|slot| self.slots[slot].is_none()));
        for (ticket, process) in at_home.into_iter().chain(others) {
            let own = self.last_slot[process].filter(|slot| self.slots[*slot].is_none());
            let free = || self.slots.iter().position(Option::is_none);
            if let Some(slot) = own.or_else(free) {
                self.run(slot, ticket, process);
            }
        }
    }

    fn run(&mut self, slot: usize, ticket: Ticket, process: usize) {
        let quantum_end = quantum_end(self.algorithm, self.now);
        self.last_slot[process] = Some(slot);
        self.slots[slot] = Some(Running { process, ticket, quantum_end });
    }

    fn preempt(&mut self) {
        while let Some((newcomer, _)) = self.queue.peek().copied() {
            let running = self.slots.iter().enumerate();
            let running = running.filter_map(|(slot, running)| Some((slot, running.as_ref()?.ticket)));
            let Some((slot, _)) = self.algorithm.victim(&newcomer, running) else { return };
            let Some((ticket, process)) = self.take_first() else { return };
            self.put_back(slot, Return::Preempted);
            self.run(slot, ticket, process);
        }
    }
}

fn quantum_end(algorithm: Algorithm, now: u64) -> Option<u64> {
    algorithm.quantum().map(|quantum| now + u64::try_from(quantum.as_micros()).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod exercises;

#[cfg(test)]
mod properties;
