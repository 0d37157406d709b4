//! One call: the message that comes in, the response that goes out, and the answer that comes later.

use crate::account::Account;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use potluck_sdk::abi::{Buffer, Completion, FileBody, Hook, REPLY_DROPPED, REPLY_ERROR, REPLY_OK};
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::{Caller, ProviderError};
use std::ffi::c_void;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
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
    /// The process that the caller is, when it is a task; else empty.
    pub process: &'a str,
    /// The IP address that it came from over the network; empty for this machine.
    pub source_ip: &'a str,
    /// The file with the bytes of its member `data`, when that was taken out because it was larger than a frame.
    pub spooled: Option<&'a Path>,
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

/// A part of a file that becomes one more member of an answer.
pub struct Body {
    /// Its name, of plain characters.
    pub member: String,
    /// The file.
    pub file: File,
    /// Where the part begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl Body {
    /// Takes over what a provider gave.
    pub fn from_abi(mut file: FileBody) -> Option<Box<Body>> {
        let (offset, length, member) = (file.offset, file.length, file.member.to_text());
        file.take_file().map(|file| Box::new(Body { member, file, offset, length }))
    }

    /// Length of its Base64 text.
    pub fn text_bytes(&self) -> u64 {
        self.length.div_ceil(3).saturating_mul(4)
    }
}

/// The beginning of an object that gets one more member, a string, up to that string; `"}` ends it. Nothing when there is
/// no such object.
pub fn open_member(json: &[u8], member: &str) -> Option<Vec<u8>> {
    let inner = json.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    if member.is_empty() || !member.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let comma = if inner.trim_ascii().is_empty() { "" } else { "," };
    let mut head = Vec::with_capacity(inner.len() + member.len() + 8);
    head.push(b'{');
    head.extend_from_slice(inner);
    head.extend_from_slice(format!("{comma}\"{member}\":\"").as_bytes());
    Some(head)
}

/// An answer: one JSON object, and raw bytes behind it.
pub struct Response {
    /// `REPLY_OK` or `REPLY_ERROR`.
    pub reply: u32,
    /// The object.
    pub json: Buffer,
    /// The bytes.
    pub attachment: Buffer,
    /// One more member of the object.
    pub body: Option<Box<Body>>,
}

impl Response {
    /// Bytes of the answer.
    pub fn byte_count(&self) -> usize {
        self.json.as_bytes().len() + self.attachment.as_bytes().len()
    }

    /// An answer without attachment.
    pub fn ok(json: impl Into<Vec<u8>>) -> Response {
        Response { reply: REPLY_OK, json: json.into().into(), attachment: Buffer::EMPTY, body: None }
    }

    /// An `ERROR` answer.
    pub fn error(error: &ProviderError) -> Response {
        Response { reply: REPLY_ERROR, json: error.to_json().into(), attachment: Buffer::EMPTY, body: None }
    }

    /// The answer with its part of a file read in, where it cannot be sent piece by piece. Blocks.
    pub fn inlined(self) -> Response {
        let Some(body) = &self.body else { return self };
        if body.length > ATTACHMENT_BYTES_MAX {
            return Response::too_large(body.length, ATTACHMENT_BYTES_MAX);
        }
        let Some(mut json) = open_member(self.json.as_bytes(), &body.member) else {
            return Response::not_an_object();
        };
        let mut bytes = vec![0; body.length as usize];
        if let Err(error) = body.file.read_exact_at(&mut bytes, body.offset) {
            let text = format!("the file of the reply cannot be read: {error}");
            return Response::error(&ProviderError::new(ProviderError::INTERNAL, text));
        }
        json.extend_from_slice(STANDARD.encode(&bytes).as_bytes());
        json.extend_from_slice(b"\"}");
        Response { json: json.into(), body: None, ..self }
    }

    /// In place of a part of a file that this caller cannot have at once.
    pub fn too_large(length: u64, length_max: u64) -> Response {
        let text =
            format!("the reply has a file of {length} bytes, over the limit of {length_max} bytes; use GET_FILE_CHUNK");
        Response::error(&ProviderError::new("reply_too_large", text))
    }

    /// In place of what a provider must not answer.
    pub fn not_an_object() -> Response {
        Response::error(&ProviderError::new(ProviderError::INTERNAL, "the provider's reply is not a JSON object"))
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
        Completion { context: Arc::into_raw(self).cast_mut().cast(), done, is_cancelled, on_cancel, done_file }
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
    pending.answer(Response { reply, json, attachment, body: None });
}

unsafe extern "C" fn done_file(context: *mut c_void, json: Buffer, file: FileBody) {
    // SAFETY: as in `done`, in place of which it is called.
    let pending = unsafe { Arc::from_raw(context.cast::<PendingCall>()) };
    let body = Body::from_abi(file);
    pending.answer(Response { reply: REPLY_OK, json, attachment: Buffer::EMPTY, body });
}

unsafe extern "C" fn is_cancelled(context: *mut c_void) -> u32 {
    // SAFETY: the provider calls this before `done`, so the reference is alive.
    unsafe { &*context.cast::<PendingCall>() }.is_cancelled().into()
}

unsafe extern "C" fn on_cancel(context: *mut c_void, hook: Hook) {
    // SAFETY: as above.
    unsafe { &*context.cast::<PendingCall>() }.on_cancel(CancelHook::new(hook));
}
