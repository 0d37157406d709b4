//! What there is, asked of those who have it when somebody wants to see it: they tell how much that is when they want more,
//! and much may have been deleted since.

use crate::ledger::Ledger;
use parking_lot::Mutex;
use potluck_sdk::Host;
use potluck_sdk::message::quota::{Held, held_message};
use std::sync::Arc;

/// Asks about each resource that others count, and does something when all have answered, possibly before this returns.
/// Where nobody answers it stays with what was told last.
pub(crate) fn count(host: Host, ledger: &Arc<Mutex<Ledger>>, then: impl FnOnce() + Send + 'static) {
    let resources = ledger.lock().stocks();
    ask(host, Arc::clone(ledger), resources, Box::new(then));
}

/// One after the other: there are few, and they answer at once.
fn ask(host: Host, ledger: Arc<Mutex<Ledger>>, mut rest: Vec<String>, then: Box<dyn FnOnce() + Send>) {
    let Some(resource) = rest.pop() else { return then() };
    let message = format!("{{\"type\":\"{}\"}}", held_message(&resource));
    host.call_with(&message, b"", move |answer| {
        if let Some(held) = answer.ok().and_then(|answer| serde_json::from_str::<Held>(&answer.json).ok()) {
            ledger.lock().held(&resource, held);
        }
        ask(host, ledger, rest, then);
    });
}
