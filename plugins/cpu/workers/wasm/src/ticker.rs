//! Keeps the time while an order runs: lets the running code give way every few milliseconds, and looks whether the
//! provider wants it stopped. A thread of its own, since the other one is busy with the order; it sleeps when there is none.

use potluck_worker_protocol::Claims;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;
use tokio::sync::Notify;
use wasmtime::Engine;

/// How often it looks; what is stopped must be within 50 ms.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without an order until it sleeps: waking it costs more than some ticks.
const IDLE_TICKS_MAX: u32 = 20;
/// Stands for no order.
const NONE: usize = usize::MAX;

/// The thread, as the other one sees it.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    engine: Engine,
    claims: Arc<Claims>,
    /// The order that runs.
    slot: AtomicUsize,
    sleeps: AtomicBool,
    stop: Notify,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: &Engine, claims: &Arc<Claims>) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            claims: Arc::clone(claims),
            slot: AtomicUsize::new(NONE),
            sleeps: AtomicBool::new(false),
            stop: Notify::new(),
        });
        let own = Arc::clone(&shared);
        let handle = std::thread::Builder::new().name("ticker".to_owned()).spawn(move || own.run())?;
        Ok(Ticker { thread: handle.thread().clone(), shared })
    }

    /// An order begins.
    pub(crate) fn begin(&self, slot: usize) {
        self.shared.slot.store(slot, Ordering::SeqCst);
        if self.shared.sleeps.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.shared.slot.store(NONE, Ordering::SeqCst);
    }

    /// Returns when the order must be stopped.
    pub(crate) async fn stopped(&self, slot: usize) {
        loop {
            self.shared.stop.notified().await;
            // What was noticed of an earlier order may come late.
            if self.shared.claims.is_condemned(slot) {
                return;
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut idle_ticks = 0;
        loop {
            std::thread::sleep(TICK);
            self.engine.increment_epoch();
            let slot = self.slot.load(Ordering::SeqCst);
            if slot != NONE {
                idle_ticks = 0;
                if self.claims.is_condemned(slot) {
                    self.stop.notify_one();
                }
                continue;
            }
            idle_ticks += 1;
            if idle_ticks < IDLE_TICKS_MAX {
                continue;
            }
            idle_ticks = 0;
            self.sleeps.store(true, Ordering::SeqCst);
            // Whoever has begun in between has either seen that, or is seen here.
            if self.slot.load(Ordering::SeqCst) != NONE {
                self.sleeps.store(false, Ordering::SeqCst);
                continue;
            }
            while self.sleeps.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
    }
}
