//! Whether to stay awake for the next order.
//!
//! When orders come one after the other, each waits for the last one's result, and putting a processor to sleep and waking
//! it again costs more than a short task itself. So a worker whose last order came soon looks for the next one for about
//! as long, giving way to whoever else wants the processor; when none comes it sleeps, and the next time it sleeps at once.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The longest time for which a worker stays awake: about what a client needs to take a result and to send the next task.
const AWAKE_MAX: Duration = Duration::from_micros(150);

/// How long the last order let the worker wait.
#[derive(Default)]
pub struct Patience {
    came_soon: bool,
}

impl Patience {
    /// Returns when there is something to read, or when reading should block.
    pub fn wait(&mut self, socket: impl AsFd) {
        let begun = Instant::now();
        let mut watched = [PollFd::new(&socket, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if self.came_soon {
            while begun.elapsed() < AWAKE_MAX {
                if poll(&mut watched, Some(&now)) != Ok(0) {
                    return;
                }
                rustix::thread::sched_yield();
            }
        }
        let _ = poll(&mut watched, None);
        self.came_soon = begun.elapsed() < 2 * AWAKE_MAX;
    }
}
