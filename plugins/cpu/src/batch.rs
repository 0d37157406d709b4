//! BATCH_TASK: many tasks, one reply, results in the order of the request.

use parking_lot::Mutex;
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, FRAME_BYTES_MAX};
use potluck_sdk::{PendingReply, ProviderError};

/// Most tasks in one batch; more go in several, or each as a message of its own on the same connection.
pub(crate) const TASKS_MAX: usize = 10_000;
/// What stands around the results in a reply.
const MARGIN_BYTES: usize = 1024;

/// A batch whose results come in.
pub(crate) struct Batch {
    /// A leaf lock.
    state: Mutex<State>,
    /// Called, without the lock, before a reply that does not wait for all results: nobody needs the others.
    on_given_up: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// Each with the bytes of the files that it names.
    results: Vec<Option<(String, Vec<u8>)>>,
    missing: usize,
    bytes: usize,
    attachment_bytes: usize,
    reply: Option<PendingReply>,
}

impl Batch {
    /// A batch of `count` tasks, more than none.
    pub(crate) fn new(count: usize, reply: PendingReply, on_given_up: Box<dyn Fn() + Send + Sync>) -> Batch {
        Batch {
            on_given_up,
            state: Mutex::new(State {
                results: vec![None; count],
                missing: count,
                bytes: 0,
                attachment_bytes: 0,
                reply: Some(reply),
            }),
        }
    }

    /// Whether nobody waits for the reply any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().reply.as_ref().is_none_or(PendingReply::is_cancelled)
    }

    /// Puts one result in its place; the last one sends the reply.
    pub(crate) fn add(&self, index: usize, json: String, attachment: Vec<u8>) {
        let mut state = self.state.lock();
        if state.reply.is_none() {
            return;
        }
        state.bytes += json.len() + 1;
        state.attachment_bytes += attachment.len();
        let too_large = if state.bytes > FRAME_BYTES_MAX - MARGIN_BYTES {
            Some(format!("the results of the batch have more than {FRAME_BYTES_MAX} bytes; send smaller batches"))
        } else if state.attachment_bytes as u64 > ATTACHMENT_BYTES_MAX {
            Some(format!("the files of the batch have more than {ATTACHMENT_BYTES_MAX} bytes; send smaller batches"))
        } else {
            None
        };
        if let Some(text) = too_large {
            // The results would be thrown away anyway.
            state.results.clear();
            if let Some(reply) = state.reply.take() {
                drop(state);
                (self.on_given_up)();
                reply.error(&ProviderError::new("reply_too_large", text));
            }
            return;
        }
        if let Some(place) = state.results.get_mut(index)
            && place.replace((json, attachment)).is_none()
        {
            state.missing -= 1;
        }
        if state.missing > 0 {
            return;
        }
        let results: Vec<(String, Vec<u8>)> = std::mem::take(&mut state.results).into_iter().flatten().collect();
        if let Some(reply) = state.reply.take() {
            drop(state);
            let mut json = String::from(r#"{"type":"BATCH_RESULT","results":["#);
            let mut attachment = Vec::new();
            for (index, (result, files)) in results.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                json.push_str(&result);
                attachment.extend(files);
            }
            json.push_str("]}");
            reply.send_with_attachment(json.into_bytes(), attachment);
        }
    }
}
