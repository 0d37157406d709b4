//! How far a transfer is: a bar on a terminal, and a line now and then elsewhere.

use crate::output::{self, printable, units};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often the bar moves by itself, so that a wait looks alive.
const TICK: Duration = Duration::from_millis(120);
/// Without a terminal there is a line as often as this, and none for what takes less.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

const MEASURED: &str = "{msg}  {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} remaining";
const UNMEASURED: &str = "{spinner} {msg}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}";

/// Shows on standard error how far a transfer is.
pub(in crate::commands) struct Progress {
    bar: ProgressBar,
    last_line: Cell<Instant>,
    begun: Cell<(Instant, u64)>,
    doing: String,
}

impl Progress {
    /// `doing` says what is done with what, such as `Sending a.txt`.
    pub(in crate::commands) fn new(doing: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let now = Instant::now();
        let doing = printable(doing).into_owned();
        let progress = Progress { bar, last_line: Cell::new(now), begun: Cell::new((now, 0)), doing };
        if !progress.bar.is_hidden() {
            progress.bar.set_message(progress.doing.clone());
            progress.style(None);
            progress.bar.enable_steady_tick(TICK);
        }
        progress
    }

    /// Says how much there is, if that is known, and what is there already: the rate counts from here.
    pub(in crate::commands) fn begin(&self, size_bytes: Option<u64>, done_bytes: u64) {
        self.style(size_bytes);
        self.bar.set_position(done_bytes);
        self.bar.reset_eta();
        self.begun.set((Instant::now(), done_bytes));
    }

    /// Says what is done now and how much of that there is; the rate of something new counts from here.
    pub(in crate::commands) fn doing(&mut self, doing: &str, size_bytes: u64, done_bytes: u64) {
        let doing = printable(doing);
        if self.doing == doing {
            self.bar.set_length(size_bytes);
        } else {
            self.doing = doing.into_owned();
            self.bar.set_message(self.doing.clone());
            self.begin(Some(size_bytes), done_bytes);
        }
    }

    /// Shows how many bytes are done.
    pub(in crate::commands) fn show(&self, done_bytes: u64) {
        self.bar.set_position(done_bytes);
        if self.bar.is_hidden() && self.last_line.get().elapsed() >= LINE_INTERVAL {
            self.last_line.set(Instant::now());
            let (since, from) = self.begun.get();
            output::note(&line(&self.doing, done_bytes, self.bar.length(), from, since.elapsed().as_secs_f64()));
        }
    }

    /// Writes a line beside the bar.
    pub(in crate::commands) fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }

    /// Takes the bar away.
    pub(in crate::commands) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, size_bytes: Option<u64>) {
        match size_bytes {
            Some(size) => self.bar.set_length(size),
            None => self.bar.unset_length(),
        }
        let template = if size_bytes.is_some() { MEASURED } else { UNMEASURED };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

/// What there is to say after some seconds, in which all but the first `from` bytes were done.
fn line(doing: &str, done: u64, size: Option<u64>, from: u64, seconds: f64) -> String {
    let rate = done.saturating_sub(from) as f64 / seconds.max(0.001);
    let per_second = units::bytes(rate as u64);
    match size {
        Some(size) if size > 0 => {
            let percent = done as f64 / size as f64 * 100.0;
            let remaining = if rate > 0.0 {
                format!(", {} remaining", units::seconds(size.saturating_sub(done) as f64 / rate))
            } else {
                String::new()
            };
            format!("{doing}: {percent:.0} % of {}, {per_second}/s{remaining}", units::bytes(size))
        }
        _ => format!("{doing}: {}, {per_second}/s", units::bytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_remaining_time() {
        let mib = 1 << 20;
        assert_eq!(
            line("Sending a", 30 * mib, Some(100 * mib), 10 * mib, 10.0),
            "Sending a: 30 % of 100.0 MiB, 2.0 MiB/s, 35.0 s remaining"
        );
        assert_eq!(line("Sending -", 30 * mib, None, 0, 10.0), "Sending -: 30.0 MiB, 3.0 MiB/s");
        assert_eq!(line("Sending a", 0, Some(mib), 0, 10.0), "Sending a: 0 % of 1.0 MiB, 0 B/s");
    }
}
