//! The host's side of one call: where the answer lands, and how the caller goes away.

use super::WAIT_LIMIT;
use super::host::{Live, public_key};
use super::job::Job;
use crate::abi::{
    ANSWERED, Buffer, Call, CallReply, Completion, DEFERRED, FileBody, Hook, PANICKED, REPLY_DROPPED, REPLY_OK, Slice,
};
use crate::envelope::Envelope;
use crate::{Caller, ProviderError, Response, signature};
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What came back, as text.
#[derive(Clone)]
pub(super) struct Answer {
    is_error: bool,
    json: String,
    attachment: Vec<u8>,
}

impl Answer {
    fn error(error: &ProviderError) -> Answer {
        let json = String::from_utf8_lossy(&error.to_json()).into_owned();
        Answer { is_error: true, json, attachment: Vec::new() }
    }

    fn from_abi(reply: u32, json: &Buffer, attachment: &Buffer) -> Answer {
        if reply == REPLY_DROPPED {
            let text = "the provider dropped the request without an answer";
            return Answer::error(&ProviderError::new(ProviderError::PROVIDER_DROPPED, text));
        }
        Answer { is_error: reply != REPLY_OK, json: json.to_text(), attachment: attachment.as_bytes().to_vec() }
    }

    /// What the wire carries of a reply with a part of a file.
    fn with_file(json: &Buffer, mut body: FileBody) -> Answer {
        let mut bytes = vec![0; usize::try_from(body.length).unwrap_or(usize::MAX)];
        let read = body.take_file().map(|file| file.read_exact_at(&mut bytes, body.offset));
        if !matches!(read, Some(Ok(()))) {
            let text = "the file of the reply is shorter than promised";
            return Answer::error(&ProviderError::new(ProviderError::INTERNAL, text));
        }
        let text = json.to_text();
        let (rest, member) = (text.trim_start().trim_start_matches('{').to_owned(), body.member.to_text());
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        let json = format!("{{\"{member}\":\"{}\"{comma}{rest}", base64(&bytes));
        Answer { is_error: false, json, attachment: Vec::new() }
    }

    fn value(&self) -> Result<Value, ProviderError> {
        if self.is_error {
            return Err(ProviderError::from_json(&self.json));
        }
        Ok(serde_json::from_str(&self.json)
            .unwrap_or_else(|error| panic!("a reply is no JSON ({error}): {}", self.json)))
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0, |number, index| number << 8 | usize::from(chunk.get(index).copied().unwrap_or(0)));
        for index in 0..4 {
            let digit = DIGITS[number >> (18 - 6 * index) & 63];
            text.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Shared by the test and, once the reply is deferred, by the provider's completion.
struct CallState {
    message_type: String,
    progress: Mutex<Progress>,
    answered: Condvar,
}

#[derive(Default)]
struct Progress {
    answer: Option<Answer>,
    cancelled: bool,
    hook: Option<Job>,
    /// A reply takes one hook; whether it has had it.
    hook_given: bool,
    deferred: bool,
    /// What the provider did against the rules of the ABI. It is told when the test looks at the answer: a panic must
    /// not unwind through the provider.
    violation: Option<&'static str>,
}

impl CallState {
    fn new(message_type: &str) -> Arc<CallState> {
        Arc::new(CallState {
            message_type: message_type.to_owned(),
            progress: Mutex::default(),
            answered: Condvar::new(),
        })
    }

    /// The first answer counts: `handle` may panic after the reply was deferred and dropped.
    fn finish(&self, answer: Answer) {
        let hook = {
            let mut progress = self.progress.lock();
            progress.answer.get_or_insert(answer);
            progress.hook.take()
        };
        self.answered.notify_all();
        drop(hook);
    }
}

/// What `handle` sees as a [`Call`], with the state behind it.
#[repr(C)]
struct HarnessCall {
    call: Call,
    state: Arc<CallState>,
}

/// The process that a message names as its sender: one of this node, if a provider says that or the task runs here.
fn process(json: &str, caller: Caller<'_>) -> String {
    let Ok(envelope) = Envelope::scan(json) else { return String::new() };
    match caller {
        Caller::Task(peer)
            if !envelope.process.is_empty()
                && envelope.works_for.is_none()
                && peer != signature::peer_id(&public_key()).to_string() =>
        {
            format!("{}@{peer}", envelope.process)
        }
        _ => envelope.process.to_owned(),
    }
}

/// Passes one message through the table.
pub(super) fn send(
    live: &Live,
    message_type: &str,
    json: &str,
    attachment: &[u8],
    spooled: Option<&Path>,
    caller: Caller<'_>,
) -> PendingCall {
    let state = CallState::new(message_type);
    let process = process(json, caller);
    let mut call = HarnessCall {
        call: Call {
            struct_size: size_of::<Call>() as u32,
            caller: caller.abi_kind(),
            caller_id: Slice::new(caller.id().as_bytes()),
            message_type: Slice::new(message_type.as_bytes()),
            json: Slice::new(json.as_bytes()),
            attachment: Slice::new(attachment),
            defer,
            source_ip: Slice::EMPTY,
            spooled: Slice::new(spooled.map_or(&b""[..], |path| path.as_os_str().as_bytes())),
            process: Slice::new(process.as_bytes()),
        },
        state: Arc::clone(&state),
    };
    let mut reply = CallReply::EMPTY;
    // SAFETY: the instance is live; the pointer covers the whole `HarnessCall`, which `defer` needs, and call and reply
    // outlive `handle`.
    let outcome = unsafe { (live.table.handle)(live.instance, (&raw mut call).cast(), &mut reply) };
    let deferred = state.progress.lock().deferred;
    match outcome {
        ANSWERED if deferred => state.progress.lock().violation = Some("handle deferred the reply and also answered"),
        ANSWERED if reply.file.is_present != 0 => state.finish(Answer::with_file(&reply.json, reply.file)),
        ANSWERED => state.finish(Answer::from_abi(reply.reply, &reply.json, &reply.attachment)),
        DEFERRED if deferred => {}
        DEFERRED => state.progress.lock().violation = Some("handle said DEFERRED without calling defer"),
        PANICKED => {
            let text = format!("the provider panicked: {}", reply.json.to_text());
            state.finish(Answer::error(&ProviderError::new(ProviderError::PROVIDER_PANICKED, text)));
        }
        _ => state.progress.lock().violation = Some("handle returned a number that the ABI does not have"),
    }
    PendingCall { state }
}

unsafe extern "C" fn defer(call: *mut Call) -> Completion {
    // SAFETY: `send` passes a pointer to a whole `HarnessCall`, and the plugin calls this before `handle` returns.
    let state = unsafe { Arc::clone(&(*call.cast::<HarnessCall>()).state) };
    {
        let mut progress = state.progress.lock();
        if std::mem::replace(&mut progress.deferred, true) {
            progress.violation = Some("defer was called twice");
        }
    }
    Completion { context: Arc::into_raw(state).cast_mut().cast(), done, is_cancelled, on_cancel, done_file }
}

unsafe extern "C" fn done_file(context: *mut c_void, json: Buffer, file: FileBody) {
    // SAFETY: as in `done`, in place of which it is called.
    let state = unsafe { Arc::from_raw(context.cast_const().cast::<CallState>()) };
    state.finish(Answer::with_file(&json, file));
}

unsafe extern "C" fn done(context: *mut c_void, reply: u32, json: Buffer, attachment: Buffer) {
    // SAFETY: `context` is the `Arc` that `defer` gave away; the plugin calls this once, at last.
    let state = unsafe { Arc::from_raw(context.cast_const().cast::<CallState>()) };
    state.finish(Answer::from_abi(reply, &json, &attachment));
}

unsafe extern "C" fn is_cancelled(context: *mut c_void) -> u32 {
    // SAFETY: the completion holds the `Arc` until `done`.
    let state = unsafe { &*context.cast_const().cast::<CallState>() };
    u32::from(state.progress.lock().cancelled)
}

unsafe extern "C" fn on_cancel(context: *mut c_void, hook: Hook) {
    // SAFETY: as in `is_cancelled`.
    let state = unsafe { &*context.cast_const().cast::<CallState>() };
    let hook = Job::new(hook);
    let run_now = {
        let mut progress = state.progress.lock();
        if std::mem::replace(&mut progress.hook_given, true) {
            // A second hook is ignored.
            false
        } else if progress.cancelled {
            true
        } else {
            progress.hook = Some(hook);
            return;
        }
    };
    if run_now {
        hook.run();
    }
}

/// A message that was sent and may not be answered yet. Dropping it means that the caller goes away.
#[must_use = "a call that is dropped is cancelled"]
pub struct PendingCall {
    state: Arc<CallState>,
}

impl PendingCall {
    pub(super) fn refused(message_type: &str, error: &ProviderError) -> PendingCall {
        let state = CallState::new(message_type);
        state.finish(Answer::error(error));
        PendingCall { state }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The provider's error.
    ///
    /// # Panics
    /// As [`super::Harness::call`].
    pub fn wait(&self) -> Result<Value, ProviderError> {
        self.wait_answer().value()
    }

    /// Waits for the answer as text, or that of the `ERROR` object.
    ///
    /// # Panics
    /// As [`super::Harness::call`].
    pub fn wait_raw(&self) -> String {
        self.wait_answer().json
    }

    /// Waits for the answer as text and the raw bytes behind it.
    ///
    /// # Errors
    /// The provider's error.
    ///
    /// # Panics
    /// As [`super::Harness::call`].
    pub fn wait_response(&self) -> Result<Response, ProviderError> {
        let answer = self.wait_answer();
        if answer.is_error {
            return Err(ProviderError::from_json(&answer.json));
        }
        Ok(Response { json: answer.json, attachment: answer.attachment })
    }

    /// The answer, if it is there.
    ///
    /// # Panics
    /// As [`super::Harness::call`], but for the wait.
    pub fn try_answer(&self) -> Option<Result<Value, ProviderError>> {
        let progress = self.state.progress.lock();
        self.check(&progress);
        let answer = progress.answer.clone()?;
        drop(progress);
        Some(self.checked(answer).value())
    }

    /// The caller goes away: the provider's cancel hook runs, on this thread, and `is_cancelled` becomes true. Nothing
    /// happens to a call that is answered.
    pub fn cancel(&self) {
        let hook = {
            let mut progress = self.state.progress.lock();
            if progress.answer.is_some() {
                return;
            }
            progress.cancelled = true;
            progress.hook.take()
        };
        if let Some(hook) = hook {
            hook.run();
        }
    }

    fn wait_answer(&self) -> Answer {
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut progress = self.state.progress.lock();
        loop {
            self.check(&progress);
            if let Some(answer) = progress.answer.clone() {
                drop(progress);
                return self.checked(answer);
            }
            let timeout = self.state.answered.wait_until(&mut progress, deadline);
            assert!(!timeout.timed_out(), "{} was not answered within {WAIT_LIMIT:?}", self.state.message_type);
        }
    }

    fn check(&self, progress: &Progress) {
        if let Some(violation) = progress.violation {
            panic!("{}: {violation}", self.state.message_type);
        }
    }

    /// Every answer must be what the wire carries: a JSON object with a `type`.
    fn checked(&self, answer: Answer) -> Answer {
        let has_type = Envelope::scan(&answer.json).is_ok_and(|envelope| !envelope.message_type.is_empty());
        assert!(has_type, "the answer to {} has no type: {}", self.state.message_type, answer.json);
        answer
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.cancel();
    }
}
