//! One call: the message that comes in, the response that goes out, and the answer that comes later.

use crate::account::Account;
use parking_lot::Mutex;
use potluck_sdk::abi::{Buffer, Completion, Hook, REPLY_DROPPED, REPLY_ERROR, REPLY_OK};
use potluck_sdk::{Caller, ProviderError};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A message that has arrived at this node.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The whole object, as it came.
    pub json: &'a str,
    /// The bytes behind it.
    pub attachment: &'a [u8],
    /// Who sent it, as established by the host.
    pub caller: Caller<'a>,
    /// The IP address that it came from over the network; empty for this machine.
    pub source_ip: &'a str,
}

/// What became of a message.
pub enum Dispatch {
    /// It is answered; the sink was not made.
    Ready(Response),
    /// The answer comes, or has come, through the sink.
    Pending(Arc<PendingCall>),
}

impl Dispatch {
    /// The answer, if it is there.
    pub fn into_ready(self) -> Option<Response> {
        match self {
            Dispatch::Ready(response) => Some(response),
            Dispatch::Pending(_) => None,
        }
    }
}

/// An answer: one JSON object, and raw bytes behind it.
pub struct Response {
    /// `REPLY_OK` or `REPLY_ERROR`.
    pub reply: u32,
    /// The object.
    pub json: Buffer,
    /// The bytes.
    pub attachment: Buffer,
}

impl Response {
    /// Bytes of the answer.
    pub fn byte_count(&self) -> usize {
        self.json.as_bytes().len() + self.attachment.as_bytes().len()
    }

    /// An answer without attachment.
    pub fn ok(json: impl Into<Vec<u8>>) -> Response {
        Response { reply: REPLY_OK, json: json.into().into(), attachment: Buffer::EMPTY }
    }

    /// An `ERROR` answer.
    pub fn error(error: &ProviderError) -> Response {
        Response { reply: REPLY_ERROR, json: error.to_json().into(), attachment: Buffer::EMPTY }
    }

    /// What takes the place of an answer that a provider did not give.
    pub fn dropped_by(provider: &str) -> Response {
        let text = format!("the provider {provider} dropped the request without an answer");
        Response::error(&ProviderError::new(ProviderError::PROVIDER_DROPPED, text))
    }
}

/// Where the answer goes.
pub type Sink = Box<dyn FnOnce(Response) + Send>;

/// One call that waits for its answer. The answer is given once; later ones are ignored.
pub struct PendingCall {
    /// Taken when the answer is given. A leaf lock.
    sink: Mutex<Option<Sink>>,
    /// Where the answer is counted, with the time of the call; nowhere when the host itself owes it.
    account: Option<(Arc<Account>, Instant)>,
    cancelled: AtomicBool,
    /// Run when the caller goes away. A leaf lock.
    hook: Mutex<Option<CancelHook>>,
}

impl PendingCall {
    /// A call that answers through `sink`.
    pub fn new(sink: Sink, account: Option<(Arc<Account>, Instant)>) -> Arc<PendingCall> {
        Arc::new(PendingCall {
            sink: Mutex::new(Some(sink)),
            account,
            cancelled: AtomicBool::new(false),
            hook: Mutex::new(None),
        })
    }

    /// Gives the answer, from any thread.
    pub fn answer(&self, response: Response) {
        let Some(sink) = self.sink.lock().take() else { return };
        let hook = self.hook.lock().take();
        // Released without the lock: it is the provider's code.
        drop(hook);
        if let Some((account, started)) = &self.account {
            account.record(started.elapsed(), response.reply == REPLY_OK);
            if response.reply == REPLY_DROPPED {
                return sink(Response::dropped_by(&account.provider));
            }
        }
        sink(response);
    }

    /// Whether the answer has been given.
    pub fn is_answered(&self) -> bool {
        self.sink.lock().is_none()
    }

    /// The caller has gone away: tells whoever works on the answer.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let hook = self.hook.lock().take();
        if let Some(hook) = hook {
            hook.run();
        }
    }

    /// Whether the caller has gone away.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Asks for `hook` to be run when the caller goes away.
    pub fn on_cancel(&self, hook: CancelHook) {
        if !self.is_cancelled() {
            let mut place = self.hook.lock();
            if place.is_none() {
                *place = Some(hook);
            }
            drop(place);
            // The caller may have gone between the two looks; then `cancel` or this finds the hook, not both.
            if self.is_cancelled() {
                self.cancel();
            }
            return;
        }
        hook.run();
    }

    /// The call as a C completion, which owns one reference.
    pub fn into_completion(self: Arc<PendingCall>) -> Completion {
        Completion { context: Arc::into_raw(self).cast_mut().cast(), done, is_cancelled, on_cancel }
    }
}

/// What is to be run when a caller goes away.
pub struct CancelHook(Option<CancelAction>);

enum CancelAction {
    Provider(Hook),
    Host(Box<dyn FnOnce() + Send>),
}

impl CancelHook {
    /// Takes over a provider's hook.
    pub fn new(hook: Hook) -> CancelHook {
        CancelHook(Some(CancelAction::Provider(hook)))
    }

    /// A hook of the host's own.
    pub fn host(action: impl FnOnce() + Send + 'static) -> CancelHook {
        CancelHook(Some(CancelAction::Host(Box::new(action))))
    }

    fn run(mut self) {
        match self.0.take() {
            // SAFETY: `take` makes this the only use of the hook.
            Some(CancelAction::Provider(hook)) => unsafe { (hook.run)(hook.context) },
            Some(CancelAction::Host(action)) => action(),
            None => {}
        }
    }
}

impl Drop for CancelHook {
    fn drop(&mut self) {
        if let Some(CancelAction::Provider(hook)) = self.0.take() {
            // SAFETY: as above.
            unsafe { (hook.release)(hook.context) }
        }
    }
}

unsafe extern "C" fn done(context: *mut c_void, reply: u32, json: Buffer, attachment: Buffer) {
    // SAFETY: the context is the reference that `into_completion` gave away; `done` is called once and takes it back.
    let pending = unsafe { Arc::from_raw(context.cast::<PendingCall>()) };
    pending.answer(Response { reply, json, attachment });
}

unsafe extern "C" fn is_cancelled(context: *mut c_void) -> u32 {
    // SAFETY: the provider calls this before `done`, so the reference is alive.
    unsafe { &*context.cast::<PendingCall>() }.is_cancelled().into()
}

unsafe extern "C" fn on_cancel(context: *mut c_void, hook: Hook) {
    // SAFETY: as above.
    unsafe { &*context.cast::<PendingCall>() }.on_cancel(CancelHook::new(hook));
}
