//! Who is asked for which block next. Nothing here waits, or looks at a clock.

use super::{FetchLimits, Fetching};
use crate::files::BlockHashes;
use crate::message::disk::FetchSource;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A source that fails so often without a block between is left out.
const FAILURES_MAX: u32 = 2;
/// Of what a source says was wrong so much is told.
const REASON_CHARS_MAX: usize = 200;

struct Asked {
    index: usize,
    since: Instant,
}

struct State {
    report: FetchSource,
    in_flight: Vec<Asked>,
    /// When it was last heard, or asked with nothing in flight.
    waiting_since: Option<Instant>,
    failures: u32,
}

impl State {
    fn is_left_out(&self) -> bool {
        self.report.dropped.is_some()
    }
}

pub(super) struct Plan {
    sources: Vec<State>,
    /// Blocks that nobody is asked for.
    open: VecDeque<usize>,
    here: Vec<bool>,
    missing_count: usize,
    received_bytes: u64,
    window: usize,
    in_flight_max: usize,
    silence: Duration,
}

impl Plan {
    pub(super) fn new(hashes: &BlockHashes, names: Vec<String>, limits: FetchLimits) -> Plan {
        let report = |peer| FetchSource { peer, bytes: 0, dropped: None };
        let state = |name| State { report: report(name), in_flight: Vec::new(), waiting_since: None, failures: 0 };
        let in_flight_max = usize::try_from(limits.in_flight_bytes / hashes.block_bytes()).unwrap_or(usize::MAX);
        Plan {
            sources: names.into_iter().map(state).collect(),
            open: (0..hashes.count()).collect(),
            here: vec![false; hashes.count()],
            missing_count: hashes.count(),
            received_bytes: 0,
            window: limits.window.max(1),
            in_flight_max: in_flight_max.max(1),
            silence: limits.silence,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing_count == 0
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.here.get(index).copied().unwrap_or(true)
    }

    pub(super) fn source_count(&self) -> usize {
        self.sources.iter().filter(|source| !source.is_left_out()).count()
    }

    pub(super) fn state(&self) -> Fetching {
        Fetching { received_bytes: self.received_bytes, source_count: self.source_count() }
    }

    pub(super) fn report(&self) -> Vec<FetchSource> {
        self.sources.iter().map(|source| source.report.clone()).collect()
    }

    /// A block is here, wherever it came from.
    pub(super) fn is_here(&mut self, index: usize, length: u64) {
        if let Some(here) = self.here.get_mut(index)
            && !std::mem::replace(here, true)
        {
            self.missing_count -= 1;
            self.received_bytes += length;
        }
    }

    /// Whom to ask for which block now; whoever has the fewest in flight comes first. When nothing is open, who has
    /// nothing to do is asked for what others have been asked for longest, once each.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, usize)> {
        let in_flight: usize = self.sources.iter().map(|source| source.in_flight.len()).sum();
        if in_flight >= self.in_flight_max {
            return None;
        }
        let able = self.sources.iter().enumerate();
        let able = able.filter(|(_, source)| !source.is_left_out() && source.in_flight.len() < self.window);
        let (number, is_idle) = able
            .min_by_key(|(_, source)| source.in_flight.len())
            .map(|(number, s)| (number, s.in_flight.is_empty()))?;
        let here = &self.here;
        while self.open.front().is_some_and(|index| here[*index]) {
            self.open.pop_front();
        }
        let index = match self.open.pop_front() {
            Some(index) => index,
            None if is_idle => self.longest_asked()?,
            None => return None,
        };
        let source = &mut self.sources[number];
        if source.in_flight.is_empty() {
            source.waiting_since = Some(now);
        }
        source.in_flight.push(Asked { index, since: now });
        Some((number, index))
    }

    /// The missing block that one source alone was asked for, longest ago.
    fn longest_asked(&self) -> Option<usize> {
        let all = self.sources.iter().flat_map(|source| &source.in_flight);
        let lone = all.filter(|asked| !self.has(asked.index) && self.asked_count(asked.index) == 1);
        lone.min_by_key(|asked| asked.since).map(|asked| asked.index)
    }

    fn asked_count(&self, index: usize) -> usize {
        self.sources.iter().flat_map(|source| &source.in_flight).filter(|asked| asked.index == index).count()
    }

    /// A block has come and is what it should be.
    pub(super) fn received(&mut self, number: usize, index: usize, length: u64, now: Instant) {
        self.was_late(number, index, now);
        self.is_here(index, length);
        if let Some(source) = self.sources.get_mut(number) {
            source.report.bytes += length;
        }
    }

    /// A block has come that is here already.
    pub(super) fn was_late(&mut self, number: usize, index: usize, now: Instant) {
        self.heard(number, index, now);
        if let Some(source) = self.sources.get_mut(number) {
            source.failures = 0;
        }
    }

    /// A source has not given a block that it was asked for.
    pub(super) fn failed(&mut self, number: usize, index: usize, reason: &str, now: Instant) {
        let was_asked = self.heard(number, index, now);
        self.open_again(index);
        let Some(source) = self.sources.get_mut(number) else { return };
        if was_asked {
            source.failures += 1;
        }
        if source.failures >= FAILURES_MAX {
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            self.leave_out(number, format!("it failed twice, at last with: {reason}"));
        }
    }

    /// A source has given other bytes than the file has.
    pub(super) fn lied(&mut self, number: usize, index: usize, now: Instant) {
        self.heard(number, index, now);
        self.open_again(index);
        self.leave_out(number, format!("block {index} of its copy is damaged: its hash is another"));
    }

    pub(super) fn leave_out_silent(&mut self, now: Instant) {
        for number in 0..self.sources.len() {
            let since = self.sources[number].waiting_since;
            if since.is_some_and(|since| now.saturating_duration_since(since) >= self.silence) {
                self.leave_out(number, format!("it said nothing for {} seconds", self.silence.as_secs()));
            }
        }
    }

    /// When the next source has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sources
            .iter()
            .filter_map(|source| source.waiting_since)
            .min()
            .and_then(|since| since.checked_add(self.silence))
    }

    /// Notes that an answer has come; returns whether one was expected.
    fn heard(&mut self, number: usize, index: usize, now: Instant) -> bool {
        let Some(source) = self.sources.get_mut(number) else { return false };
        let Some(place) = source.in_flight.iter().position(|asked| asked.index == index) else { return false };
        source.in_flight.remove(place);
        // The time is counted anew from each answer: slow is not silent.
        source.waiting_since = if source.in_flight.is_empty() { None } else { Some(now) };
        true
    }

    fn open_again(&mut self, index: usize) {
        if !self.has(index) && self.asked_count(index) == 0 && !self.open.contains(&index) {
            self.open.push_front(index);
        }
    }

    fn leave_out(&mut self, number: usize, reason: String) {
        let Some(source) = self.sources.get_mut(number) else { return };
        source.report.dropped.get_or_insert(reason);
        source.waiting_since = None;
        for asked in std::mem::take(&mut source.in_flight).into_iter().rev() {
            self.open_again(asked.index);
        }
    }
}
