//! Answers to a message: at once, or later from any thread.

use crate::ProviderError;
use crate::abi::{Buffer, Call, CallReply, Completion, FileBody, Hook, REPLY_DROPPED, REPLY_ERROR, REPLY_OK};
use crate::error::to_json;
use serde::Serialize;
use std::ffi::c_void;
use std::fs::File;

/// Where the trampoline of `handle` finds out what became of the reply.
pub(crate) struct Slot {
    call: *mut Call,
    answer: CallReply,
    deferred: bool,
}

impl Slot {
    pub(crate) fn new(call: *mut Call) -> Slot {
        Slot { call, answer: CallReply::EMPTY, deferred: false }
    }

    /// The immediate answer, `REPLY_DROPPED` when there was none; nothing when the reply was deferred.
    pub(crate) fn into_answer(self) -> Option<CallReply> {
        (!self.deferred).then_some(self.answer)
    }
}

/// The duty to answer the message that is being handled.
#[must_use = "a reply that is dropped answers with the error provider_dropped"]
pub struct Reply<'a> {
    slot: &'a mut Slot,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(slot: &'a mut Slot) -> Reply<'a> {
        Reply { slot }
    }

    /// Answers with a struct, which must serialize as a JSON object with a `type`.
    pub fn send<T: Serialize + ?Sized>(self, body: &T) {
        self.send_json(to_json(body));
    }

    /// Answers with the text of a JSON object.
    pub fn send_json(self, json: Vec<u8>) {
        self.slot.answer = CallReply { reply: REPLY_OK, json: json.into(), ..CallReply::EMPTY };
    }

    /// Answers with the text of a JSON object and raw bytes behind it.
    pub fn send_with_attachment(self, json: Vec<u8>, attachment: Vec<u8>) {
        self.slot.answer =
            CallReply { reply: REPLY_OK, json: json.into(), attachment: attachment.into(), ..CallReply::EMPTY };
    }

    /// Answers with the text of a JSON object that gets one more member: `length` bytes of a file from `offset` on, as
    /// Base64. The host reads them while they are sent, so that memory does not grow with the file; a file that turns
    /// out to be shorter ends the caller's connection. To another member of the pool or another provider at most 8 MiB.
    pub fn send_file(self, json: Vec<u8>, member: &str, file: File, offset: u64, length: u64) {
        let file = FileBody::new(member, file, offset, length);
        self.slot.answer = CallReply { reply: REPLY_OK, json: json.into(), file, ..CallReply::EMPTY };
    }

    /// Answers with an error.
    pub fn error(self, error: &ProviderError) {
        self.slot.answer = CallReply { reply: REPLY_ERROR, json: error.to_json().into(), ..CallReply::EMPTY };
    }

    /// Answers with what a function returned.
    pub fn result<T: Serialize>(self, result: Result<T, ProviderError>) {
        match result {
            Ok(body) => self.send(&body),
            Err(error) => self.error(&error),
        }
    }

    /// Takes the reply along, to answer later from any thread. Only this allocates.
    pub fn later(self) -> PendingReply {
        self.slot.deferred = true;
        // SAFETY: the call is the host's and valid while `handle` runs, which `'a` does not outlive; `self` is consumed,
        // so `defer` is called once.
        let completion = unsafe { ((*self.slot.call).defer)(self.slot.call) };
        PendingReply { completion: Some(completion) }
    }
}

/// The duty to answer a message whose `handle` has returned. Dropped unanswered, it answers `provider_dropped`.
pub struct PendingReply {
    completion: Option<Completion>,
}

impl PendingReply {
    /// Answers with a struct, which must serialize as a JSON object with a `type`. Never blocks.
    pub fn send<T: Serialize + ?Sized>(self, body: &T) {
        self.send_json(to_json(body));
    }

    /// Answers with the text of a JSON object. Never blocks.
    pub fn send_json(mut self, json: Vec<u8>) {
        self.complete(REPLY_OK, json.into(), Buffer::EMPTY);
    }

    /// Answers with the text of a JSON object and raw bytes behind it. Never blocks.
    pub fn send_with_attachment(mut self, json: Vec<u8>, attachment: Vec<u8>) {
        self.complete(REPLY_OK, json.into(), attachment.into());
    }

    /// Answers with a part of a file, as [`Reply::send_file`]. Never blocks.
    pub fn send_file(mut self, json: Vec<u8>, member: &str, file: File, offset: u64, length: u64) {
        if let Some(done) = self.completion.take() {
            let file = FileBody::new(member, file, offset, length);
            // SAFETY: `take` makes this the only call.
            unsafe { (done.done_file)(done.context, json.into(), file) }
        }
    }

    /// Answers with an error. Never blocks.
    pub fn error(mut self, error: &ProviderError) {
        self.complete(REPLY_ERROR, error.to_json().into(), Buffer::EMPTY);
    }

    /// Whether the caller has gone away, so that nobody waits for the answer.
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: the completion is valid until `done`, which takes it out.
        self.completion.as_ref().is_some_and(|done| unsafe { (done.is_cancelled)(done.context) } != 0)
    }

    /// Asks for a notification when the caller goes away; at once if that has happened. The function runs on a thread
    /// of the host and must not block; it must not own this reply. One per reply: a second one is ignored.
    pub fn on_cancel<F: FnOnce() + Send + 'static>(&self, notify: F) {
        if let Some(done) = &self.completion {
            // SAFETY: as above.
            unsafe { (done.on_cancel)(done.context, hook(notify)) }
        }
    }

    fn complete(&mut self, reply: u32, json: Buffer, attachment: Buffer) {
        if let Some(done) = self.completion.take() {
            // SAFETY: `take` makes this the only call.
            unsafe { (done.done)(done.context, reply, json, attachment) }
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.complete(REPLY_DROPPED, Buffer::EMPTY, Buffer::EMPTY);
    }
}

/// A closure as a C hook. A panic inside it is swallowed: it must not unwind into the other side.
pub(crate) fn hook<F: FnOnce() + Send + 'static>(work: F) -> Hook {
    unsafe extern "C" fn run<F: FnOnce()>(context: *mut c_void) {
        // SAFETY: `context` is the box made below, and only one of `run` and `release` is called.
        let work = unsafe { Box::from_raw(context.cast::<F>()) };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    }
    unsafe extern "C" fn release<F>(context: *mut c_void) {
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(context.cast::<F>()) });
    }
    Hook { context: Box::into_raw(Box::new(work)).cast(), run: run::<F>, release: release::<F> }
}
