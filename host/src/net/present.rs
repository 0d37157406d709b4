//! Which members have connections to this node, and how many.

use parking_lot::Mutex;
use potluck_sdk::PeerId;
use std::collections::HashMap;
use std::sync::Arc;

/// Most connections of one member at a time; nodes need one, and another while that is being given up.
const MEMBER_CONNECTIONS_MAX: usize = 64;

/// Which members have connections here, and how many.
#[derive(Default)]
pub struct Present(Arc<Mutex<HashMap<PeerId, usize>>>);

/// One connection of a member, until dropped.
pub struct Presence {
    present: Arc<Mutex<HashMap<PeerId, usize>>>,
    peer_id: PeerId,
}

impl Present {
    /// Counts a connection of a member; nothing when it has as many as it may.
    pub fn enter(&self, peer_id: PeerId) -> Option<Presence> {
        let mut present = self.0.lock();
        let count = present.entry(peer_id).or_default();
        (*count < MEMBER_CONNECTIONS_MAX).then(|| {
            *count += 1;
            Presence { present: Arc::clone(&self.0), peer_id }
        })
    }

    /// Whether a member has a connection.
    pub fn contains(&self, peer_id: &PeerId) -> bool {
        self.0.lock().contains_key(peer_id)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = self.present.lock();
        if let Some(count) = present.get_mut(&self.peer_id) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.peer_id);
            }
        }
    }
}
