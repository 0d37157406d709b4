//! Which provider answers which message.

use crate::plugin::Plugin;
use arc_swap::{ArcSwap, Guard};
use potluck_sdk::LeastCaller;
use potluck_sdk::message::node::host_message;
use std::collections::HashMap;
use std::sync::Arc;

/// Who answers a message, and who may send it.
pub struct Route {
    /// The provider.
    pub plugin: Arc<Plugin>,
    /// The least caller that may send the message.
    pub least_caller: LeastCaller,
}

/// All routes, by message type.
pub type Table = HashMap<&'static str, Route>;

/// The routes of a node.
#[derive(Default)]
pub struct Routes {
    /// Replaced as a whole, so that a message never waits for a change.
    table: ArcSwap<Table>,
}

impl Routes {
    /// The routes as they are now.
    pub fn load(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Routes a provider's messages to it. None are when one of them has an answer already.
    pub fn add(&self, plugin: &Arc<Plugin>) -> Result<(), String> {
        let mut routes = Table::default();
        for (name, route) in self.table.load().iter() {
            routes.insert(name, Route { plugin: Arc::clone(&route.plugin), least_caller: route.least_caller });
        }
        for (name, least_caller) in plugin.messages() {
            if name.is_empty() || host_message(name).is_some() {
                return Err(format!("it wants to answer {name:?}, which the host answers itself"));
            }
            let route = Route { plugin: Arc::clone(plugin), least_caller };
            if let Some(other) = routes.insert(name, route) {
                return Err(format!("{name} is answered by the provider {} already", other.plugin.id));
            }
        }
        self.table.store(Arc::new(routes));
        Ok(())
    }
}
