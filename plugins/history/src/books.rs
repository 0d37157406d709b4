//! What the records come to, for each one that tasks ran for and altogether. Kept in memory, so that nobody counts.

use potluck_sdk::message::history::HistoryStatistics;
use std::collections::HashMap;

/// Status of a record, as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success = 0,
    Failed = 1,
    Cancelled = 2,
}

impl Outcome {
    pub(crate) fn from_word(word: &str) -> Option<Outcome> {
        [Outcome::Success, Outcome::Failed, Outcome::Cancelled]
            .into_iter()
            .find(|outcome| outcome.word().eq_ignore_ascii_case(word))
    }

    pub(crate) fn from_number(number: i64) -> Outcome {
        match number {
            0 => Outcome::Success,
            2 => Outcome::Cancelled,
            _ => Outcome::Failed,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        use potluck_sdk::message::history::status;
        match self {
            Outcome::Success => status::SUCCESS,
            Outcome::Failed => status::FAILED,
            Outcome::Cancelled => status::CANCELLED,
        }
    }

    /// Its bit in the sets of the blocks.
    pub(crate) const fn bit(self) -> i64 {
        1 << self as u32
    }
}

/// Sums over records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Records whose time is known.
    pub(crate) timed: u64,
    pub(crate) execution_us: u64,
}

impl Counters {
    pub(crate) fn total(&self) -> u64 {
        self.successful + self.failed + self.cancelled
    }

    pub(crate) fn add(&mut self, outcome: Outcome, execution_us: Option<u64>) {
        *self.of(outcome) += 1;
        if let Some(time) = execution_us {
            self.timed += 1;
            self.execution_us = self.execution_us.saturating_add(time);
        }
    }

    pub(crate) fn remove(&mut self, outcome: Outcome, execution_us: Option<u64>) {
        let count = self.of(outcome);
        *count = count.saturating_sub(1);
        if let Some(time) = execution_us {
            self.timed = self.timed.saturating_sub(1);
            self.execution_us = self.execution_us.saturating_sub(time);
        }
    }

    fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Success => &mut self.successful,
            Outcome::Failed => &mut self.failed,
            Outcome::Cancelled => &mut self.cancelled,
        }
    }

    pub(crate) fn statistics(&self) -> HistoryStatistics {
        let total = self.total();
        HistoryStatistics {
            total_tasks: total,
            successful: self.successful,
            failed: self.failed,
            cancelled: self.cancelled,
            success_rate: (total > 0).then(|| self.successful as f64 / total as f64),
            average_execution_time: match self.timed {
                0 => 0.0,
                timed => self.execution_us as f64 / 1e6 / timed as f64,
            },
        }
    }
}

/// The sums, as they are on the disk.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) all: Counters,
    pub(crate) by_caller: HashMap<String, Counters>,
}

impl Books {
    /// What one caller may see; everything without a name.
    pub(crate) fn statistics(&self, caller: Option<&str>) -> HistoryStatistics {
        match caller {
            None => self.all.statistics(),
            Some(name) => self.by_caller.get(name).copied().unwrap_or_default().statistics(),
        }
    }
}
