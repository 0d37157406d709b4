//! What a command is doing while there is nothing to print yet: one line on standard error, and only on a terminal.

use super::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How often the sign moves that shows that something is going on.
const TICK: Duration = Duration::from_millis(120);

/// A line that goes away with this.
pub(crate) struct Activity(ProgressBar);

impl Activity {
    /// Shows what is being done.
    pub(crate) fn new(text: &str) -> Activity {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if !bar.is_hidden() {
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(TICK);
        }
        let activity = Activity(bar);
        activity.say(text);
        activity
    }

    /// Shows what is being done now.
    pub(crate) fn say(&self, text: &str) {
        self.0.set_message(printable(text).into_owned());
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
