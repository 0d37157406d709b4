//! What a worker's process uses, and what of that is its task's.
//!
//! The kernel counts for processes, and a worker runs many tasks. To look takes longer than a short task, so only those are
//! looked at that have run for a while, and what a process had used before such a task is worked out: what it had when it
//! was last looked at, and the time that the tasks ran which came in between.

use super::{Sent, Worker};
use crate::pool::process;
use std::time::{Duration, Instant};

/// How often a task that runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the kernel counts processor time in.
const TICK: Duration = Duration::from_millis(10);

/// How much of a time an order has used a processor, with all its threads and processes.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Pace {
    pub(in crate::pool) time: Duration,
    pub(in crate::pool) used: Duration,
}

impl Pace {
    /// It did nothing; the kernel counts in hundredths of a second.
    pub(in crate::pool) fn is_still(self) -> bool {
        self.used <= TICK
    }

    /// It was at work for most of the time.
    pub(in crate::pool) fn is_at_work(self) -> bool {
        self.used > self.time / 2
    }
}

/// What is known of the processor time of a process.
#[derive(Default)]
pub(super) struct CpuSeconds {
    /// When it was last looked at.
    read: f64,
    /// How long tasks ran since.
    pub(super) unread_seconds: f64,
}

/// What was seen of a task that has run for a while.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    at: Instant,
    cpu_seconds_before: f64,
    /// The most that its process ever had, when the task was first looked at.
    peak_bytes_before: u64,
    /// The most that its process had when it was looked at.
    memory_bytes: u64,
    cpu_seconds: f64,
}

impl Worker {
    /// Processor time that the process has used, and all that it has started.
    pub(in crate::pool) fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds_of_all(self.child.id())
    }

    pub(super) fn read_cpu_seconds(&mut self) -> f64 {
        self.cpu = CpuSeconds { read: self.cpu_seconds(), unread_seconds: 0.0 };
        self.cpu.read
    }

    /// Processor time that its oldest order has used, where that was measured from the start.
    pub(in crate::pool) fn cpu_seconds_of_head(&self) -> Option<f64> {
        Some(self.cpu_seconds() - self.sent.front()?.cpu_seconds_before?)
    }

    /// Its process, and the processor time that it is taken to have used before its oldest order, without a look; nothing
    /// when it has not begun that order.
    pub(in crate::pool) fn base_of_head(&self) -> Option<(u32, f64)> {
        let head = self.sent.front().filter(|head| self.has_started(head.slot))?;
        let before = head.seen.map(|seen| seen.cpu_seconds_before).or(head.cpu_seconds_before);
        Some((self.child.id(), before.unwrap_or(self.cpu.read + self.cpu.unread_seconds)))
    }

    /// Threads of the process.
    pub(in crate::pool) fn threads(&self) -> u64 {
        process::threads(self.child.id())
    }

    /// Memory that it has taken since it was first looked at while it ran its order, in bytes.
    pub(in crate::pool) fn memory_bytes_taken(&mut self) -> u64 {
        let now = process::own_memory_bytes(self.child.id());
        let head = self.sent.front_mut();
        head.map_or(0, |sent| now.saturating_sub(*sent.memory_bytes_before.get_or_insert(now)))
    }

    /// Looks at the order that it runs, if that is due. Only for one that has run for a while. Returns what it did since the
    /// last look, unless it has got or lost its slot meanwhile.
    pub(in crate::pool) fn look(&mut self, now: Instant) -> Option<Pace> {
        // Of those that wait it is asked at what pace they go on.
        let paced = |sent: &Sent| self.is_off_slot || sent.waits_for().is_some();
        let is_due = |sent: &Sent| {
            let last = sent.seen.map(|seen| seen.at).filter(|_| sent.pace_from.is_some() || !paced(sent));
            last.is_none_or(|at| now >= at + LOOK_EVERY)
        };
        self.sent.front().filter(|sent| is_due(sent))?;
        let expected = self.cpu.read + self.cpu.unread_seconds;
        let memory = process::memory(self.child.id());
        let cpu_seconds = self.cpu_seconds();
        let sent = self.sent.front_mut()?;
        let before = sent.cpu_seconds_before.unwrap_or(expected).min(cpu_seconds);
        let seen = sent.seen.get_or_insert(Seen {
            at: now,
            cpu_seconds_before: before,
            peak_bytes_before: memory.peak_bytes,
            memory_bytes: 0,
            cpu_seconds: 0.0,
        });
        seen.at = now;
        seen.memory_bytes = seen.memory_bytes.max(memory.resident_bytes);
        seen.cpu_seconds = cpu_seconds - seen.cpu_seconds_before;
        let last = sent.pace_from.replace((now, cpu_seconds));
        // What has used no processor has written nothing.
        self.is_used |= last.is_none_or(|(_, used)| cpu_seconds > used);
        let (at, used) = last?;
        let used = Duration::try_from_secs_f64(cpu_seconds - used).unwrap_or_default();
        Some(Pace { time: now.saturating_duration_since(at), used })
    }

    /// Its pace counts from the next look on.
    pub(in crate::pool) fn forget_pace(&mut self) {
        if let Some(sent) = self.sent.front_mut() {
            sent.pace_from = None;
        }
    }

    /// What an order has used, in processor seconds and bytes; nothing when it was never looked at.
    pub(in crate::pool) fn used_by(&mut self, sent: &Sent) -> Option<(f64, u64)> {
        let seen = sent.seen?;
        let memory = process::memory(self.child.id());
        if memory.resident_bytes == 0 {
            // The process is gone.
            return Some((seen.cpu_seconds, seen.memory_bytes));
        }
        let cpu_seconds = self.read_cpu_seconds() - seen.cpu_seconds_before;
        // The peak is the process's. If it has grown since, this task has reached it.
        let grown = if memory.peak_bytes > seen.peak_bytes_before { memory.peak_bytes } else { 0 };
        Some((cpu_seconds.max(0.0), seen.memory_bytes.max(grown)))
    }

    /// The same of its oldest order.
    pub(in crate::pool) fn used_by_head(&mut self) -> Option<(f64, u64)> {
        let sent = self.sent.pop_front()?;
        let used = self.used_by(&sent);
        self.sent.push_front(sent);
        used
    }

    /// Processor time that it has used since it was last looked at while it was idle; nothing the first time.
    pub(in crate::pool) fn idle_cpu_seconds(&mut self) -> Option<f64> {
        let now = self.cpu_seconds();
        let before = self.idle_cpu_seconds_before.replace((self.last_used, now))?;
        (before.0 == self.last_used).then_some(now - before.1)
    }
}
