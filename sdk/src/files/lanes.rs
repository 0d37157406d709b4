//! Work on one name is done in the order in which it came, on one blocking thread; names do not wait for each other.

use crate::Host;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most pieces of work that wait or run.
const WORK_MAX: usize = 1024;
/// Most bytes that they hold.
const BYTES_MAX: usize = 64 << 20;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    lanes: HashMap<String, VecDeque<(usize, Work)>>,
    count: usize,
    bytes: usize,
}

/// Too much work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much work is waiting for the disk; try again in a moment")]
pub struct LanesFull;

/// Queues of work by name, on the host's blocking threads. Clones share the queues.
#[derive(Clone, Default)]
pub struct Lanes(Arc<Mutex<State>>);

impl Lanes {
    /// Queues work that holds `bytes` of memory. It does not block; the work may.
    ///
    /// # Errors
    /// When 1024 pieces of work wait, or they hold 64 MiB.
    pub fn run(
        &self,
        host: Host,
        name: &str,
        bytes: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), LanesFull> {
        self.run_with(host, name, bytes, (), |()| work()).map_err(|((), full)| full)
    }

    /// As [`Lanes::run`], for work on a value, such as a reply, that is given back when there is no room.
    ///
    /// # Errors
    /// As [`Lanes::run`].
    pub fn run_with<T: Send + 'static>(
        &self,
        host: Host,
        name: &str,
        bytes: usize,
        value: T,
        work: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), (T, LanesFull)> {
        let mut state = self.0.lock();
        if state.count >= WORK_MAX || (state.bytes > 0 && state.bytes + bytes > BYTES_MAX) {
            return Err((value, LanesFull));
        }
        state.count += 1;
        state.bytes += bytes;
        let work: (usize, Work) = (bytes, Box::new(move || work(value)));
        if let Some(lane) = state.lanes.get_mut(name) {
            lane.push_back(work);
            return Ok(());
        }
        state.lanes.insert(name.to_owned(), VecDeque::from([work]));
        drop(state);
        let (lanes, name) = (self.clone(), name.to_owned());
        host.spawn_blocking(move || lanes.drain(&name));
        Ok(())
    }

    fn drain(&self, name: &str) {
        loop {
            let work = {
                let mut state = self.0.lock();
                let work = state.lanes.get_mut(name).and_then(VecDeque::pop_front);
                if work.is_none() {
                    state.lanes.remove(name);
                }
                work
            };
            let Some((bytes, work)) = work else { return };
            // Work that panics drops its reply, which answers; the lane goes on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let mut state = self.0.lock();
            state.count -= 1;
            state.bytes -= bytes;
        }
    }
}
