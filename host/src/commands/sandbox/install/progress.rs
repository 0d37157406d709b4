//! How far an installation is: a bar on a terminal, and a line now and then elsewhere.

use crate::output::{self, printable};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::time::Duration;

/// Positions of the bar: more than any terminal has columns.
const BAR_STEPS: u64 = 1000;
/// How often the bar moves by itself, so that a phase that cannot tell how far it is looks alive.
const TICK: Duration = Duration::from_millis(120);
/// Without a terminal there is a line for each quarter of a phase.
const LINES_PER_PHASE: f64 = 4.0;

/// Shows on standard error how far an installation is.
pub(super) struct Progress {
    image: String,
    bar: ProgressBar,
    /// The last line that was written without a terminal: its phase and its quarter.
    last: RefCell<Option<(String, u64)>>,
}

impl Progress {
    pub(super) fn new(image: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
        let progress = Progress { image: printable(image).into_owned(), bar, last: RefCell::default() };
        if !progress.bar.is_hidden() {
            progress.style(false);
            progress.bar.set_message(format!("Installing {}", progress.image));
            progress.bar.enable_steady_tick(TICK);
        }
        progress
    }

    /// Shows a phase, and which part of it from 0 to 1 is done if that is known.
    pub(super) fn show(&self, phase: &str, fraction: Option<f64>) {
        // Whatever a node says, it is a number from 0 to 1.
        let fraction = fraction.filter(|fraction| fraction.is_finite()).map(|fraction| fraction.clamp(0.0, 1.0));
        if self.bar.is_hidden() {
            if let Some(line) = self.line(phase, fraction) {
                output::note(&line);
            }
            return;
        }
        self.style(fraction.is_some());
        self.bar.set_message(doing(phase, &self.image));
        self.bar.set_position((fraction.unwrap_or(0.0) * BAR_STEPS as f64) as u64);
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// The line to write, unless it says nothing new.
    fn line(&self, phase: &str, fraction: Option<f64>) -> Option<String> {
        let part = (fraction.unwrap_or(0.0) * LINES_PER_PHASE) as u64;
        let now = (phase.to_owned(), part);
        let mut last = self.last.borrow_mut();
        if last.as_ref() == Some(&now) {
            return None;
        }
        *last = Some(now);
        let percent = fraction.map(|fraction| format!(": {:.0} %", fraction * 100.0)).unwrap_or_default();
        Some(format!("{}{percent}", doing(phase, &self.image)))
    }

    fn style(&self, is_measured: bool) {
        let template =
            if is_measured { "{msg}  {wide_bar} {percent:>3} %  {elapsed}" } else { "{spinner} {msg}  {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

/// A phase in words. One that this version does not know is shown as it is.
fn doing(phase: &str, image: &str) -> String {
    match phase {
        "download" => format!("Downloading {image}"),
        "unpack" => format!("Unpacking {image}"),
        "snapshot" => format!("Taking the snapshot of {image}"),
        "compile" => format!("Compiling {image}"),
        "done" => format!("Finishing {image}"),
        other => format!("{image}: {}", printable(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(steps: &[(&str, Option<f64>)]) -> Vec<String> {
        let progress = Progress { image: "science".to_owned(), bar: ProgressBar::hidden(), last: RefCell::default() };
        steps.iter().filter_map(|(phase, fraction)| progress.line(phase, *fraction)).collect()
    }

    #[test]
    fn without_a_terminal_a_phase_has_a_few_lines() {
        let compile: Vec<_> = (0..=100).map(|percent| ("compile", Some(f64::from(percent) / 100.0))).collect();
        let expected = ["0 %", "25 %", "50 %", "75 %", "100 %"].map(|part| format!("Compiling science: {part}"));
        assert_eq!(lines(&compile), expected);
        let steps = [("download", None), ("download", None), ("unpack", None), ("paint\u{1b}", None)];
        assert_eq!(lines(&steps), ["Downloading science", "Unpacking science", "science: paint\\u{1b}"]);
    }

    #[test]
    fn a_fraction_that_is_none_does_no_harm() {
        let progress = Progress::new("science");
        for fraction in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            progress.show("compile", Some(fraction));
        }
    }
}
