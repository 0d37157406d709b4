//! What attempts use that run now, measured when somebody asks.

use super::{AttemptId, Pool, State, WorkerId, process};

/// What an attempt has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// What its worker's process has now.
    pub(crate) memory_bytes: u64,
    /// How often it has lost its slot.
    pub(crate) context_switches: u32,
}

/// Where to look for what an attempt uses.
struct Base {
    worker: WorkerId,
    /// Number of the worker's process.
    process: u32,
    /// What that had used before the attempt.
    cpu_seconds: f64,
}

impl Pool {
    /// What an attempt has used so far; nothing when it has not begun, or is over. Reads files of /proc, without the pool's
    /// lock.
    pub(crate) fn usage(&self, id: AttemptId) -> Option<Usage> {
        let base = self.state.lock().base(id)?;
        let memory = process::memory(base.process);
        let cpu_seconds = process::cpu_seconds_of_all(base.process);
        let state = self.state.lock();
        // While its worker has it the process cannot become another's, nor the time another attempt's.
        let is_still_there = state.base(id).is_some_and(|now| now.worker == base.worker);
        let context_switches = state.attempts.get(&id).filter(|_| is_still_there)?.switches;
        // What it had used before may have been taken for more than it was. The kernel counts in hundredths of a second.
        let cpu_seconds = ((cpu_seconds - base.cpu_seconds).max(0.0) * 100.0).round() / 100.0;
        Some(Usage { cpu_seconds, memory_bytes: memory.resident_bytes, context_switches })
    }
}

impl State {
    fn base(&self, id: AttemptId) -> Option<Base> {
        let worker = self.workers.get(&self.attempts.get(&id)?.place.worker()?)?;
        // One that was sent ahead waits behind others.
        let is_head = worker.sent.front().is_some_and(|head| head.attempt == Some(id));
        let (process, cpu_seconds) = worker.base_of_head().filter(|_| is_head)?;
        Some(Base { worker: worker.id, process, cpu_seconds })
    }
}
