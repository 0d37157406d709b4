//! BATCH_TASK: many tasks, one reply, results in the order of the request.

use parking_lot::Mutex;
use potluck_sdk::message::FRAME_BYTES_MAX;
use potluck_sdk::{PendingReply, ProviderError};

/// Most tasks in one batch; more go in several, or each as a message of its own on the same connection.
pub(crate) const TASKS_MAX: usize = 10_000;
/// What stands around the results in a reply.
const MARGIN_BYTES: usize = 1024;

/// A batch whose results come in.
pub(crate) struct Batch {
    /// A leaf lock.
    state: Mutex<State>,
}

struct State {
    results: Vec<Option<String>>,
    missing: usize,
    bytes: usize,
    reply: Option<PendingReply>,
}

impl Batch {
    /// A batch of `count` tasks, more than none.
    pub(crate) fn new(count: usize, reply: PendingReply) -> Batch {
        Batch { state: Mutex::new(State { results: vec![None; count], missing: count, bytes: 0, reply: Some(reply) }) }
    }

    /// Puts one result in its place; the last one sends the reply.
    pub(crate) fn add(&self, index: usize, json: String) {
        let mut state = self.state.lock();
        state.bytes += json.len() + 1;
        if state.bytes > FRAME_BYTES_MAX - MARGIN_BYTES {
            let text = format!("the results of the batch have more than {FRAME_BYTES_MAX} bytes; send smaller batches");
            // The results would be thrown away anyway.
            state.results.clear();
            if let Some(reply) = state.reply.take() {
                drop(state);
                reply.error(&ProviderError::new("reply_too_large", text));
            }
            return;
        }
        if let Some(place) = state.results.get_mut(index)
            && place.replace(json).is_none()
        {
            state.missing -= 1;
        }
        if state.missing > 0 {
            return;
        }
        let results: Vec<String> = std::mem::take(&mut state.results).into_iter().flatten().collect();
        if let Some(reply) = state.reply.take() {
            drop(state);
            let mut json = String::from(r#"{"type":"BATCH_RESULT","results":["#);
            json.push_str(&results.join(","));
            json.push_str("]}");
            reply.send_json(json.into_bytes());
        }
    }
}
