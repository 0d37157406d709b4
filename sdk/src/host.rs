//! What a provider may ask of its host.

use crate::abi::{Buffer, CallDone, HostTable, REPLY_OK, Slice};
use crate::reply::hook;
use crate::{PeerId, ProviderError};
use serde::{Deserialize, Serialize};
use std::ffi::c_void;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often it is asked whether work that is put off is still wanted.
const STILL_WANTED_EVERY: Duration = Duration::from_secs(5);

/// The host, as a provider sees it. Copies are cheap; all functions may be called from any thread and none blocks.
#[derive(Clone, Copy)]
pub struct Host {
    table: &'static HostTable,
}

/// Facts about the node as it starts. Only `ip` can change later: [`crate::message::node::ADDRESS_TOPIC`] tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The node's id.
    pub peer_id: PeerId,
    /// The address that other nodes and clients use.
    pub ip: String,
    /// The TCP port that it listens on.
    pub port: u16,
    /// A folder that belongs to this provider alone; it exists.
    pub data_dir: PathBuf,
    /// The node's data directory. Providers of files keep them in a folder of their own there, where people look for them.
    pub node_dir: PathBuf,
    /// The node's Ed25519 key, which its id follows from.
    pub public_key: [u8; 32],
    /// Where the installation keeps plugins and workers.
    pub lib_dir: PathBuf,
    /// Number of processors that the node may use.
    pub cores: usize,
}

/// What came back from [`Host::call`].
#[derive(Debug)]
pub struct Response {
    /// One JSON object.
    pub json: String,
    /// The raw bytes behind it.
    pub attachment: Vec<u8>,
}

/// Severity of a log line, by what the operator should do.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Look at it now: something does not work.
    Error = 1,
    /// Look at it some time: something works worse than it should.
    Warn = 2,
    /// Nothing to do: a change of state, a few a minute at most.
    Info = 3,
    /// For finding a fault: one line a request.
    Debug = 4,
    /// For finding a fault: several lines a request.
    Trace = 5,
}

impl Host {
    /// # Safety
    /// All functions of the table are callable for the rest of the process.
    pub(crate) unsafe fn from_table(table: &'static HostTable) -> Host {
        Host { table }
    }

    /// Facts about the node.
    pub fn node(&self) -> NodeFacts {
        // SAFETY: the host keeps its own JSON for the life of the process.
        let json = unsafe { self.table.node_json.bytes() };
        serde_json::from_slice(json).expect("the host writes the facts that this version reads")
    }

    /// Sends a message to whoever answers its `type` on this node, or to another peer when it has a member `to`. `done`
    /// gets the answer, possibly before this function returns, on any thread; it must not block.
    pub fn call_with<F>(&self, json: &str, attachment: &[u8], done: F)
    where
        F: FnOnce(Result<Response, ProviderError>) + Send + 'static,
    {
        unsafe extern "C" fn finish<F: FnOnce(Result<Response, ProviderError>)>(
            context: *mut c_void,
            reply: u32,
            json: Buffer,
            attachment: Buffer,
        ) {
            // SAFETY: `context` is the box made below; the host calls `done` once.
            let done = unsafe { Box::from_raw(context.cast::<F>()) };
            let result = if reply == REPLY_OK {
                Ok(Response { json: json.to_text(), attachment: attachment.into_vec() })
            } else {
                Err(ProviderError::from_json(&json.to_text()))
            };
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(result)));
        }
        let done = CallDone { context: Box::into_raw(Box::new(done)).cast(), done: finish::<F> };
        // SAFETY: the table is valid for the life of the process; the slices live until the call returns.
        unsafe {
            (self.table.call)(self.table.context, Slice::new(json.as_bytes()), Slice::new(attachment), done);
        }
    }

    /// As [`Host::call_with`], for providers with an executor of their own.
    pub fn call(&self, json: &str, attachment: &[u8]) -> CallFuture {
        let shared = Arc::new(parking_lot::Mutex::new(CallState::default()));
        let answer = Arc::clone(&shared);
        self.call_with(json, attachment, move |result| {
            let waker = {
                let mut state = answer.lock();
                state.result = Some(result);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        CallFuture { shared }
    }

    /// Publishes an event. Subscribers are called before this returns.
    pub fn publish<T: Serialize + ?Sized>(&self, topic: &str, body: &T) {
        let json = crate::error::to_json(body);
        // SAFETY: as in `call_with`.
        unsafe { (self.table.publish)(self.table.context, Slice::new(topic.as_bytes()), Slice::new(&json)) }
    }

    /// Asks for events: [`crate::Provider::event`] is called for each topic that equals `pattern`, or, when the pattern
    /// ends in `*`, begins with what stands before the star. Events may arrive before `start` has returned to the host; they are
    /// not delivered before.
    pub fn subscribe(&self, pattern: &str) {
        // SAFETY: as in `call_with`.
        unsafe { (self.table.subscribe)(self.table.context, Slice::new(pattern.as_bytes())) }
    }

    /// Writes a line to the node's log. Never log programs, arguments, results or stored values.
    pub fn log(&self, level: Level, message: &str) {
        // SAFETY: as in `call_with`.
        unsafe { (self.table.log)(self.table.context, level as u32, Slice::new(message.as_bytes())) }
    }

    /// Whether a line of that level would be written; ask before composing a costly one.
    pub fn log_enabled(&self, level: Level) -> bool {
        // SAFETY: as in `call_with`.
        unsafe { (self.table.log_enabled)(self.table.context, level as u32) != 0 }
    }

    /// A secret that follows from the node's private key, this provider's id and `label`: the same for ever, on whichever
    /// machine the key is, and nobody else can know it (HKDF-SHA-256, RFC 5869).
    pub fn secret(&self, label: &str) -> [u8; 32] {
        let mut secret = [0; 32];
        // SAFETY: as in `call_with`; the function writes 32 bytes.
        unsafe { (self.table.secret)(self.table.context, Slice::new(label.as_bytes()), secret.as_mut_ptr()) }
        secret
    }

    /// Signs a message with the node's key under a label, which keeps the uses apart; `signature::verify` checks it.
    pub fn sign(&self, label: &str, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        let (label, message) = (Slice::new(label.as_bytes()), Slice::new(message));
        // SAFETY: as in `call_with`; the function writes 64 bytes.
        unsafe { (self.table.sign)(self.table.context, label, message, signature.as_mut_ptr()) }
        signature
    }

    /// Runs work that may block, on a thread of the host's.
    pub fn spawn_blocking<F: FnOnce() + Send + 'static>(&self, work: F) {
        // SAFETY: as in `call_with`.
        unsafe { (self.table.spawn_blocking)(self.table.context, hook(work)) }
    }

    /// Runs work after a delay; it must not block. It is dropped without running when the node stops first.
    pub fn run_after<F: FnOnce() + Send + 'static>(&self, delay: Duration, work: F) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        // SAFETY: as in `call_with`.
        unsafe { (self.table.run_after)(self.table.context, milliseconds, hook(work)) }
    }

    /// As [`Host::run_after`], for work that may become needless: it is dropped some seconds after `is_wanted` has begun
    /// to say no. A job of the host's cannot be taken back, so time-outs that callers choose would else pile up for as
    /// long as callers like, although nobody waits any more.
    pub fn run_after_if<W, F>(&self, delay: Duration, is_wanted: W, work: F)
    where
        W: Fn() -> bool + Send + 'static,
        F: FnOnce() + Send + 'static,
    {
        let (host, step) = (*self, delay.min(STILL_WANTED_EVERY));
        self.run_after(step, move || {
            let left = delay.saturating_sub(step);
            if left.is_zero() {
                work();
            } else if is_wanted() {
                host.run_after_if(left, is_wanted, work);
            }
        });
    }
}

#[derive(Default)]
struct CallState {
    result: Option<Result<Response, ProviderError>>,
    waker: Option<Waker>,
}

/// The answer to [`Host::call`]. Dropping it does not take the message back.
pub struct CallFuture {
    shared: Arc<parking_lot::Mutex<CallState>>,
}

impl Future for CallFuture {
    type Output = Result<Response, ProviderError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
