//! Which tasks wait for which of their children, for the search for deadlocks.

use crate::life::unix_milliseconds;
use crate::pool::AttemptId;
use parking_lot::Mutex;
use potluck_sdk::message::resources::{Holder, ResourceState, Waiter};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A parent that waits for a child.
pub(super) struct Join {
    /// The processes, in whose names they hold and wait; empty where a task is none.
    pub(super) parent: Arc<str>,
    pub(super) child: Arc<str>,
    /// Whether it waits with a time-out.
    pub(super) is_bounded: bool,
}

/// All of them. A leaf lock.
#[derive(Default)]
pub(crate) struct Joins {
    /// By the attempt that waits and the number of its call.
    waits: Mutex<BTreeMap<(AttemptId, u64), (Join, u64)>>,
}

impl Joins {
    pub(super) fn begins(&self, attempt: AttemptId, call: u64, join: Join) {
        // What runs no process is in no table of resources.
        if !join.parent.is_empty() && !join.child.is_empty() {
            self.waits.lock().insert((attempt, call), (join, unix_milliseconds()));
        }
    }

    pub(super) fn ends(&self, attempt: AttemptId, call: u64) {
        self.waits.lock().remove(&(attempt, call));
    }

    /// A child's end as a resource of one unit, which the child has and the parent wants.
    pub(crate) fn resources(&self) -> Vec<ResourceState> {
        let waits = self.waits.lock();
        let resource = |(join, since): &(Join, u64)| ResourceState {
            resource_id: format!("child:{}", join.child),
            kind: "child".to_owned(),
            total_units: 1,
            available_units: 0,
            owned: true,
            holders: vec![Holder { pid: join.child.to_string(), units: 1 }],
            waiters: vec![Waiter {
                pid: join.parent.to_string(),
                units: 1,
                since_unix_milliseconds: *since,
                bounded: join.is_bounded,
            }],
        };
        waits.values().map(resource).collect()
    }
}
