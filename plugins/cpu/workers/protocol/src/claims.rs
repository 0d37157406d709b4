//! A page of memory that provider and worker share: one cell for each order that may be on its way.
//!
//! ```text
//! FREE --send--> SENT --worker starts--> STARTED --worker ends----> FINISHED --report read--> FREE
//!                  |                        |                          ^
//!                  |                        +--condemn--> CONDEMNED ---+ the worker has stopped it
//!                  +--revoke--> REVOKED                       |
//!                                                             + or the worker is killed
//! ```
//!
//! Each step is one compare-and-swap, so of two sides that want to go on from a cell only one succeeds. That makes
//! cancelling exact: an order that could be revoked is never run; one that could be condemned was running, and the worker
//! starts no other before it has stopped it or is killed; if neither succeeds the report is on its way. No task is ever run
//! twice or stopped in another's place.
//!
//! That holds for workers whose tasks cannot reach the page, those of WebAssembly. A native task shares the address
//! space with its worker and can write what it likes here; what it spoils are orders of its own submitter, the only ones
//! that its worker gets. So the provider believes the cells of no worker further than that: a report counts only if the
//! cell says that its order has ended, only an order that was given up may be skipped, and one that was given up must be
//! reported soon, whatever its cell says, or the worker is killed. So is one whose cells cannot be used any more.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// Orders that may be on their way to one worker.
pub const SLOTS: usize = 64;
const PAGE_BYTES: usize = 4096;

const FREE: u8 = 0;
const SENT: u8 = 1;
const STARTED: u8 = 2;
const FINISHED: u8 = 3;
const REVOKED: u8 = 4;
const CONDEMNED: u8 = 5;

/// The shared page.
pub struct Claims {
    cells: *const [AtomicU8; SLOTS],
}

// SAFETY: the page is only accessed through atomics, and stays mapped until the value is dropped.
unsafe impl Send for Claims {}
// SAFETY: as above.
unsafe impl Sync for Claims {}

impl Claims {
    /// A new page, and the descriptor with which the worker maps it.
    pub fn create() -> std::io::Result<(Claims, OwnedFd)> {
        let file = rustix::fs::memfd_create("potluck-claims", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, PAGE_BYTES as u64)?;
        Ok((Claims::map(&file)?, file))
    }

    /// Maps the page of a descriptor that [`Claims::create`] made.
    pub fn map(file: impl AsFd) -> std::io::Result<Claims> {
        // A shorter file would make each access a SIGBUS.
        if rustix::fs::fstat(file.as_fd())?.st_size < PAGE_BYTES as i64 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the claims page is too short"));
        }
        // SAFETY: a new shared mapping, at an address of the kernel's choice, of a file that has a whole page. The worker
        // could truncate its file and be hit by SIGBUS; the provider seals nothing, but touches the page only from the
        // file that it made itself and that it keeps no writable path to outside the worker.
        let cells = unsafe {
            mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )?
        };
        Ok(Claims { cells: cells.cast() })
    }

    fn step(&self, slot: usize, from: u8, to: u8) -> bool {
        // SAFETY: the mapping is a whole page and lives as long as `self`; zeroed bytes are valid atomics.
        let cells = unsafe { &*self.cells };
        cells.get(slot).is_some_and(|cell| cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Provider: the order is about to be written.
    pub fn send(&self, slot: usize) -> bool {
        self.step(slot, FREE, SENT)
    }

    /// Provider: takes the order back, if it has not been started.
    pub fn revoke(&self, slot: usize) -> bool {
        self.step(slot, SENT, REVOKED)
    }

    /// Provider: stops the worker from ending this order as if nothing were, if it is running it.
    pub fn condemn(&self, slot: usize) -> bool {
        self.step(slot, STARTED, CONDEMNED)
    }

    /// Provider: the order's report has been read. False when the order was not ended.
    pub fn release(&self, slot: usize) -> bool {
        self.step(slot, FINISHED, FREE) || self.step(slot, REVOKED, FREE)
    }

    /// Provider: whether the order was begun.
    pub fn is_started(&self, slot: usize) -> bool {
        self.load(slot).is_some_and(|state| !matches!(state, FREE | SENT | REVOKED))
    }

    fn load(&self, slot: usize) -> Option<u8> {
        // SAFETY: as in `step`.
        let cells = unsafe { &*self.cells };
        cells.get(slot).map(|cell| cell.load(Ordering::Acquire))
    }

    /// Worker: begins the order, unless it was revoked.
    pub fn start(&self, slot: usize) -> bool {
        self.step(slot, SENT, STARTED)
    }

    /// Worker: ends the order. When this fails the order is condemned: a worker that cannot stop orders is about to be
    /// killed and must do nothing more.
    pub fn finish(&self, slot: usize) -> bool {
        self.step(slot, STARTED, FINISHED)
    }

    /// Worker: whether the order that it runs must be stopped.
    pub fn is_condemned(&self, slot: usize) -> bool {
        self.load(slot) == Some(CONDEMNED)
    }

    /// Worker: nothing of a condemned order is left.
    pub fn end_condemned(&self, slot: usize) -> bool {
        self.step(slot, CONDEMNED, FINISHED)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this size, and nobody can refer to it any more.
        let _ = unsafe { munmap(self.cells.cast_mut().cast(), PAGE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_sides_that_want_an_order_one_gets_it() {
        let (provider, file) = Claims::create().unwrap();
        let worker = Claims::map(&file).unwrap();
        assert!(provider.send(3) && provider.revoke(3) && !worker.start(3) && !provider.is_started(3));
        provider.release(3);
        assert!(provider.send(3) && worker.start(3) && !provider.revoke(3) && provider.is_started(3));
        assert!(provider.condemn(3) && !worker.finish(3));
        assert!(worker.is_condemned(3) && worker.end_condemned(3));
        provider.release(3);
        assert!(provider.send(3) && !worker.is_condemned(3));
        assert!(provider.send(4) && worker.start(4) && worker.finish(4) && !provider.condemn(4));
        provider.release(4);
        assert!(provider.send(4));
        assert!(!worker.start(SLOTS));
    }
}
