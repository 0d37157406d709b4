//! Questions to several holders from a thread that waits for the answers.

use super::Registry;
use potluck_sdk::{ProviderError, Response};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Questions that wait for their answer at a time.
const IN_FLIGHT_MAX: usize = 4;
/// How often the thread sees whether the node stops, while it waits.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Sends messages, a few at a time, and hands over each answer as it comes. One that has not come in time is an error.
/// Ends early when the node stops.
pub(super) fn ask_each<K>(
    registry: &Registry,
    timeout: Duration,
    messages: impl IntoIterator<Item = (K, String)>,
    mut answered: impl FnMut(K, Result<Response, ProviderError>),
) {
    let (sender, answers) = mpsc::channel();
    let mut messages = messages.into_iter().fuse();
    let mut waiting: HashMap<u64, (K, Instant)> = HashMap::new();
    let mut last = 0;
    loop {
        if registry.stopped.load(Ordering::Relaxed) {
            return;
        }
        while waiting.len() < IN_FLIGHT_MAX
            && let Some((key, json)) = messages.next()
        {
            last += 1;
            waiting.insert(last, (key, Instant::now() + timeout));
            let (sender, number) = (sender.clone(), last);
            registry.host.call_with(&json, &[], move |answer| drop(sender.send((number, answer))));
        }
        if waiting.is_empty() {
            return;
        }
        match answers.recv_timeout(LOOK_PAUSE) {
            Ok((number, answer)) => {
                if let Some((key, _)) = waiting.remove(&number) {
                    answered(key, answer);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let now = Instant::now();
                for (_, (key, _)) in waiting.extract_if(|_, (_, deadline)| *deadline <= now) {
                    let text = format!("the holder does not answer within {} s", timeout.as_secs());
                    answered(key, Err(ProviderError::new(ProviderError::PEER_LOST, text)));
                }
            }
        }
    }
}

/// Sends one message and waits.
pub(super) fn ask(registry: &Registry, timeout: Duration, json: String) -> Result<Response, ProviderError> {
    let mut result = None;
    ask_each(registry, timeout, [((), json)], |(), answer| result = Some(answer));
    result.unwrap_or_else(|| Err(ProviderError::new(ProviderError::NODE_STOPPING, "the tracker is stopping")))
}
