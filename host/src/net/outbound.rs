//! The sending half of a connection: any thread writes, straight to the socket when it has room.

use super::channel::Channel;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// A buffer larger than this is given back to the allocator once it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// What a buffer keeps while nothing is sent.
const RESTING_BYTES: usize = 4 << 10;

/// Bytes on their way into a socket.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl Buffer {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are written to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Hands the socket as much as it takes, and returns whether something is left. Never blocks.
    pub fn flush(&mut self, channel: &Channel) -> std::io::Result<bool> {
        while self.sent < self.bytes.len() {
            match channel.try_write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        } else if self.sent > KEPT_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(channel.flush()? || !self.is_empty())
    }

    /// Gives back memory that is not needed while nothing is sent.
    pub fn rest(&mut self) {
        if self.is_empty() && self.bytes.capacity() > RESTING_BYTES {
            *self = Buffer { bytes: Vec::with_capacity(RESTING_BYTES), sent: 0 };
        }
    }
}

/// What several threads share of a connection: `T` holds the buffer and whatever must change together with it.
pub struct Outbound<T> {
    state: Mutex<T>,
    /// Wakes the connection's task when the socket did not take everything, or when there is something else to see to.
    wake: Notify,
}

impl<T> Outbound<T> {
    /// Shares `state`.
    pub fn new(state: T) -> Outbound<T> {
        Outbound { state: Mutex::new(state), wake: Notify::new() }
    }

    /// The state. A leaf lock: nothing else is locked and nobody is called while it is held.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock()
    }

    /// Makes the connection's task look around.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Outbound::wake`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
