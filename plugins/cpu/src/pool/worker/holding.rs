//! A worker whose order has no slot, and what is held back for it meanwhile.

use super::{Sent, Worker};
use crate::pool::process;
use potluck_worker_protocol::{CALL_BYTES_MAX, write_frame};
use std::time::{Duration, Instant};

/// Answers that may wait for a worker, in bytes: some of the longest. One that does not read them is ended.
const ANSWERS_BYTES_MAX: usize = 4 * CALL_BYTES_MAX;

impl Sent {
    /// What it waits for: the newest of its calls that takes time.
    pub(in crate::pool) fn waits_for(&self) -> Option<&str> {
        self.calls.iter().rev().find_map(|open| open.waits_for.as_deref())
    }

    /// How long it has run; `is_off_slot` when it does not.
    pub(in crate::pool) fn ran(&self, is_off_slot: bool, now: Instant) -> Duration {
        let turn = if is_off_slot { Duration::ZERO } else { now.saturating_duration_since(self.head_since) };
        self.ran_before + turn
    }
}

impl Worker {
    /// How long its oldest order has run.
    pub(in crate::pool) fn head_ran(&self, now: Instant) -> Duration {
        self.sent.front().map_or(Duration::ZERO, |sent| sent.ran(self.is_off_slot, now))
    }

    /// Its oldest order loses its slot; returns how long it had it.
    pub(in crate::pool) fn leave_slot(&mut self, now: Instant) -> Duration {
        let was_off_slot = std::mem::replace(&mut self.is_off_slot, true);
        let Some(sent) = self.sent.front_mut().filter(|_| !was_off_slot) else { return Duration::ZERO };
        let turn = now.saturating_duration_since(sent.head_since);
        sent.ran_before += turn;
        sent.pace_from = None;
        turn
    }

    /// Its oldest order has run without a slot for a time.
    pub(in crate::pool) fn has_run(&mut self, time: Duration) {
        if let Some(sent) = self.sent.front_mut() {
            sent.ran_before += time;
        }
    }

    /// Its oldest order has a slot again, and gets the answers that were held back.
    pub(in crate::pool) fn enter_slot(&mut self, now: Instant) {
        self.is_off_slot = false;
        self.is_used = true;
        if let Some(sent) = self.sent.front_mut() {
            sent.head_since = now;
            sent.pace_from = None;
            self.unsent.append(&mut sent.held);
        }
        self.go_on();
        self.flush();
    }

    /// It has to react to something, whether its order has a slot or not.
    pub(in crate::pool) fn wake_up(&mut self, now: Instant) {
        if self.is_off_slot {
            self.enter_slot(now);
        }
    }

    /// Stops the process and everything it has started, until it goes on.
    pub(in crate::pool) fn halt(&mut self) {
        if !self.is_stopped && !self.doomed {
            self.is_stopped = true;
            process::stop(self.child.id());
        }
    }

    /// Lets the process go on, if it was stopped.
    pub(in crate::pool) fn go_on(&mut self) {
        if std::mem::take(&mut self.is_stopped) && !self.doomed {
            if let Some(sent) = self.sent.front_mut() {
                sent.pace_from = None;
            }
            process::go_on(self.child.id());
        }
    }

    /// Sends an answer, or holds it back while the order has no slot. False when there are more of them than any worker
    /// leaves unread.
    pub(in crate::pool) fn answer(&mut self, number: u64, json: &[u8]) -> bool {
        let head = format!("{{\"answer\":{number},\"message\":");
        let parts = [head.as_bytes(), json, b"}"];
        let unread = self.unsent.len() + self.sent.front().map_or(0, |sent| sent.held.len());
        if self.doomed || unread > ANSWERS_BYTES_MAX {
            return self.doomed;
        }
        match self.sent.front_mut().filter(|_| self.is_off_slot) {
            Some(sent) => write_frame(&mut sent.held, &parts),
            None => {
                write_frame(&mut self.unsent, &parts);
                self.flush();
            }
        }
        true
    }
}
