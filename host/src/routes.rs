//! Which provider answers which message.

use crate::plugin::{Declared, Plugin};
use arc_swap::{ArcSwap, Guard};
use potluck_sdk::LeastCaller;
use potluck_sdk::envelope::has_member;
use potluck_sdk::message::node::host_message;
use std::collections::HashMap;
use std::sync::Arc;

/// Who answers a message, and who may send it.
#[derive(Clone)]
pub struct Route {
    /// The provider.
    pub plugin: Arc<Plugin>,
    /// The least caller that may send the message.
    pub least_caller: LeastCaller,
    /// Whether its member `data` may come in a file.
    pub is_spooled: bool,
    /// Outermost members of which a message must have one, while there is another provider for the rest.
    when: Vec<&'static str>,
    /// Another provider, which answers the messages that have one of its members.
    conditional: Option<Box<Route>>,
}

impl Route {
    fn new(plugin: &Arc<Plugin>, message: Declared) -> Route {
        let Declared { least_caller, is_spooled, when, .. } = message;
        Route { plugin: Arc::clone(plugin), least_caller, is_spooled, when, conditional: None }
    }

    /// The one of the two providers that answers this message; without a second one the message is not looked at.
    pub fn of_message(&self, json: &str) -> &Route {
        match &self.conditional {
            Some(conditional) if has_member(json, &conditional.when) => conditional,
            _ => self,
        }
    }

    /// Whether one of the providers takes the message's `data` in a file.
    pub fn may_be_spooled(&self) -> bool {
        self.is_spooled || self.conditional.as_ref().is_some_and(|conditional| conditional.is_spooled)
    }

    /// Both providers, when one answers what the other does not.
    fn joined(self, other: Route) -> Result<Route, (Route, Route)> {
        if self.conditional.is_some() || self.when.is_empty() == other.when.is_empty() {
            return Err((self, other));
        }
        let (mut default, conditional) = if self.when.is_empty() { (self, other) } else { (other, self) };
        default.conditional = Some(Box::new(conditional));
        Ok(default)
    }
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

    /// Whether any provider takes messages that are larger than a frame.
    pub fn take_spooled(&self) -> bool {
        self.table.load().values().any(Route::may_be_spooled)
    }

    /// Routes a provider's messages to it. None are when one of them has an answer already.
    pub fn add(&self, plugin: &Arc<Plugin>) -> Result<(), String> {
        let mut routes = Table::clone(&self.table.load());
        for message in plugin.declared() {
            let name = message.name;
            if name.is_empty() || host_message(name).is_some() {
                return Err(format!("it wants to answer {name:?}, which the host answers itself"));
            }
            let route = Route::new(plugin, message);
            let route = match routes.remove(name) {
                None => route,
                Some(known) => known.joined(route).map_err(|(known, refused)| {
                    let other = known.conditional.filter(|other| other.when.is_empty() == refused.when.is_empty());
                    let id = other.map_or_else(|| known.plugin.id.clone(), |other| other.plugin.id.clone());
                    format!("{name} is answered by the provider {id} already")
                })?,
            };
            routes.insert(name, route);
        }
        self.table.store(Arc::new(routes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PluginConfig;

    fn route(id: &str, when: &[&'static str], is_spooled: bool) -> Route {
        let config = PluginConfig { id: id.to_owned(), path: None, settings_json: "{}".to_owned() };
        // There is no such library, which does not matter here.
        let (plugin, _) = Plugin::start(&config, "/nonexistent".into(), &|_| anyhow::bail!("not asked for"));
        let least_caller = LeastCaller::Member;
        Route::new(&plugin, Declared { name: "GET", least_caller, is_spooled, when: when.to_vec() })
    }

    fn asked(route: &Route, json: &str) -> String {
        route.of_message(json).plugin.id.clone()
    }

    #[test]
    fn of_two_providers_the_conditional_one_gets_the_messages_with_its_members() {
        let members = ["owner_port", "owner_id"];
        let orders = [
            route("disk", &[], false).joined(route("owned", &members, true)),
            route("owned", &members, true).joined(route("disk", &[], false)),
        ];
        for joined in orders {
            let route = joined.ok().unwrap();
            assert_eq!(asked(&route, r#"{"type":"GET","owner_id":"x"}"#), "owned");
            assert_eq!(asked(&route, r#"{"type":"GET","owner_port":1}"#), "owned");
            assert_eq!(asked(&route, r#"{"type":"GET","owner_id":null}"#), "disk");
            assert_eq!(asked(&route, r#"{"type":"GET","value":{"owner_id":1}}"#), "disk");
            assert!(route.may_be_spooled());
        }
    }

    #[test]
    fn a_single_provider_gets_all_messages() {
        assert_eq!(asked(&route("owned", &["owner_id"], false), "{}"), "owned");
    }

    #[test]
    fn a_second_provider_of_the_same_kind_is_refused() {
        assert!(route("a", &[], false).joined(route("b", &[], false)).is_err());
        assert!(route("a", &["x"], false).joined(route("b", &["y"], false)).is_err());
        let two = route("a", &[], false).joined(route("b", &["x"], false)).ok().unwrap();
        assert!(two.clone().joined(route("c", &[], false)).is_err() && two.joined(route("c", &["y"], false)).is_err());
    }
}
