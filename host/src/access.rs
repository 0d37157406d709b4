//! `[access]` of plugins.toml: which caller may send which message, beside what the providers declare themselves.

mod config;
mod rate;

pub use config::AccessConfig;
pub use rate::PeerRate;

use config::{Least, PeerAccess};
use potluck_sdk::{Caller, LeastCaller, PeerId, ProviderError};
use rate::PeerRates;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// How much of a message's type an error text shows.
const TYPE_CHARACTERS_SHOWN_MAX: usize = 64;

/// The decisions that follow from `[access]`.
pub struct Access {
    messages: HashMap<String, Least>,
    /// Never this node's own id: what works for its own user is not another node's.
    peers: HashMap<PeerId, PeerRules>,
    rates: PeerRates,
    /// Said once, when the node starts.
    has_own_peer: bool,
}

/// What `[access.peers."<id>"]` says about one node.
struct PeerRules {
    allow: MessageSet,
    deny: MessageSet,
}

struct MessageSet {
    all: bool,
    named: HashSet<String>,
}

/// Why a message was not let through, as a sentence that names the rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Access {
    /// The decisions for a node with the id `own`. Fails as [`AccessConfig::check`] does.
    pub fn new(config: &AccessConfig, own: PeerId) -> anyhow::Result<Access> {
        config.check()?;
        let mut peers = HashMap::new();
        let mut limits = HashMap::new();
        let mut has_own_peer = false;
        for (id, table) in &config.peers {
            let id: PeerId = id.parse()?;
            if id == own {
                has_own_peer = true;
                continue;
            }
            if let Some(limit) = table.limit(config, id) {
                limits.insert(id, limit);
            }
            if !table.allow.is_empty() || !table.deny.is_empty() {
                peers.insert(id, PeerRules::new(table));
            }
        }
        let messages = config.messages.clone().into_iter().collect();
        Ok(Access { messages, peers, rates: PeerRates::new(config.limit(), limits), has_own_peer })
    }

    /// Whether `caller` may send a message for which its provider declares `declared`.
    pub fn check(&self, message_type: &str, declared: LeastCaller, caller: &Caller<'_>) -> Result<(), Refusal> {
        // The usual node has no rules of its own and pays nothing for those that it could have.
        if self.messages.is_empty() && self.peers.is_empty() {
            return if declared.admits(caller) {
                Ok(())
            } else {
                Err(Refusal::level(message_type, declared, "", caller))
            };
        }
        let rules = self.rules(caller);
        if let Some((id, rules)) = rules
            && rules.deny.contains(message_type)
        {
            let shown = shown(message_type);
            let text = format!("{shown} is denied to this peer by [access.peers.\"{id}\"] deny in plugins.toml");
            return Err(Refusal(text));
        }
        let (least, source) = match self.messages.get(message_type) {
            Some(Least::Nobody) => {
                let shown = shown(message_type);
                return Err(Refusal(format!("{shown} may be sent by nobody ([access.messages] in plugins.toml)")));
            }
            // What one provider says to another carries claims that nobody else may make, so no rule opens it.
            Some(over) if declared != LeastCaller::Plugin => {
                (over.caller().unwrap_or(declared), " ([access.messages] in plugins.toml)")
            }
            _ => (declared, ""),
        };
        // A task is never allowed more than any task: its program need not be its peer's own.
        let lifted = least == LeastCaller::Local
            && matches!(caller, Caller::Member(_))
            && rules.is_some_and(|(_, rules)| rules.allow.contains(message_type));
        if lifted || least.admits(caller) { Ok(()) } else { Err(Refusal::level(message_type, least, source, caller)) }
    }

    /// How many messages a second another node may send; nothing when there is no limit. Each connection of that node
    /// keeps what it gets here, and all of them share it.
    pub fn rate(&self, peer: PeerId) -> Option<Arc<PeerRate>> {
        self.rates.get(peer)
    }

    /// Sentences about rules that have no effect, given all messages that this node answers.
    pub fn ineffective(&self, declared: &[(&str, LeastCaller)]) -> Vec<String> {
        let declared: HashMap<&str, LeastCaller> = declared.iter().copied().collect();
        let mut warnings = Vec::new();
        for (name, least) in &self.messages {
            match declared.get(name.as_str()) {
                None => warnings.push(format!("[access.messages] {name}: nobody on this node answers it")),
                Some(LeastCaller::Plugin) if !matches!(least, Least::Plugin | Least::Nobody) => warnings.push(format!(
                    "[access.messages] {name}: it is for providers only, which {:?} cannot change",
                    least.word()
                )),
                Some(_) => {}
            }
        }
        for (id, rules) in &self.peers {
            for (key, set) in [("allow", &rules.allow), ("deny", &rules.deny)] {
                for name in &set.named {
                    match declared.get(name.as_str()) {
                        None => {
                            warnings.push(format!("[access.peers.\"{id}\"] {key}: nobody on this node answers {name}"))
                        }
                        Some(LeastCaller::Plugin) if key == "allow" => warnings.push(format!(
                            "[access.peers.\"{id}\"] allow: {name} is for providers only, which this cannot change"
                        )),
                        Some(_) => {}
                    }
                }
            }
        }
        if self.has_own_peer {
            warnings.push("[access.peers] names this node itself, for which its rules do not count".to_owned());
        }
        warnings.sort();
        warnings
    }

    /// The rules for the node that a caller is, or works for.
    fn rules(&self, caller: &Caller<'_>) -> Option<(PeerId, &PeerRules)> {
        let (Caller::Member(id) | Caller::Task(id)) = caller else { return None };
        if self.peers.is_empty() {
            return None;
        }
        let id: PeerId = id.parse().ok()?;
        self.peers.get(&id).map(|rules| (id, rules))
    }
}

impl PeerRules {
    fn new(table: &PeerAccess) -> PeerRules {
        PeerRules { allow: MessageSet::new(&table.allow), deny: MessageSet::new(&table.deny) }
    }
}

impl MessageSet {
    fn new(names: &[String]) -> MessageSet {
        let named = names.iter().filter(|name| *name != "*").cloned().collect();
        MessageSet { all: names.iter().any(|name| name == "*"), named }
    }

    fn contains(&self, message_type: &str) -> bool {
        self.all || self.named.contains(message_type)
    }
}

impl Refusal {
    fn level(message_type: &str, least: LeastCaller, source: &str, caller: &Caller<'_>) -> Refusal {
        let who = match caller {
            // The id of a web session may be all that its browser proves itself with.
            Caller::Local | Caller::Web(_) => format!("`{}`", caller.word()),
            _ if caller.id().is_empty() => format!("`{}`", caller.word()),
            Caller::Task(id) => format!("`task` of {id}"),
            Caller::Member(id) | Caller::Plugin(id) => format!("`{}` {id}", caller.word()),
        };
        let shown = shown(message_type);
        Refusal(format!("{shown} may be sent by callers from `{}` up{source}; this one is {who}", least.word()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> ProviderError {
        ProviderError::new(ProviderError::FORBIDDEN, refusal.0)
    }
}

fn shown(message_type: &str) -> String {
    message_type.chars().take(TYPE_CHARACTERS_SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use LeastCaller::{Local, Member, Plugin, Task};

    const OWN: &str = "00000000-0000-8000-8000-00000000000a";
    const FRIEND: &str = "5f0c6b1e-0000-8000-8000-000000000001";
    const RASCAL: &str = "5f0c6b1e-0000-8000-8000-000000000002";
    const STRANGER: &str = "5f0c6b1e-0000-8000-8000-000000000003";

    fn access(text: &str) -> Access {
        Access::new(&toml::from_str(text).unwrap(), OWN.parse().unwrap()).unwrap()
    }

    fn with_peers() -> Access {
        access(&format!(
            "[messages]\nGET_MEM = \"member\"\nPING = \"nobody\"\nSTOP = \"plugin\"\nSET_SCHEDULER = \"task\"\n\
             CACHE_PUT = \"task\"\nSTATUS = \"local\"\n\
             [peers.\"{FRIEND}\"]\nallow = [\"SET_LIMIT\", \"STATUS\", \"STOP\", \"CACHE_PUT\", \"PING\"]\n\
             [peers.\"{RASCAL}\"]\nallow = [\"*\"]\ndeny = [\"CPU_TASK\"]\n\
             [peers.\"{STRANGER}\"]\nallow = [\"GET_MEM\"]\ndeny = [\"*\"]\n\
             [peers.\"{OWN}\"]\ndeny = [\"*\"]\n"
        ))
    }

    fn callers() -> [Caller<'static>; 5] {
        [Caller::Task(FRIEND), Caller::Member(FRIEND), Caller::Local, Caller::Web("w"), Caller::Plugin("cpu")]
    }

    #[test]
    fn without_rules_the_declared_level_decides() {
        let access = access("");
        for least in [Task, Member, Local, Plugin] {
            for caller in callers() {
                assert_eq!(access.check("X", least, &caller).is_ok(), least.admits(&caller), "{least:?} {caller:?}");
            }
        }
        let refusal = access.check("SET_SCHEDULER", Local, &Caller::Member(FRIEND)).unwrap_err();
        let text = format!("SET_SCHEDULER may be sent by callers from `local` up; this one is `member` {FRIEND}");
        assert_eq!(refusal.to_string(), text);
        let error = ProviderError::from(refusal);
        assert_eq!((error.code.as_ref(), error.message), (ProviderError::FORBIDDEN, text));
    }

    #[test]
    fn a_message_can_ask_for_more_and_for_less() {
        let access = with_peers();
        let refusal = access.check("GET_MEM", Task, &Caller::Task("")).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "GET_MEM may be sent by callers from `member` up ([access.messages] in plugins.toml); this one is `task`"
        );
        assert!(access.check("GET_MEM", Task, &Caller::Member(FRIEND)).is_ok());
        assert!(access.check("SET_SCHEDULER", Local, &Caller::Task(FRIEND)).is_ok());
        assert!(access.check("STOP", Task, &Caller::Local).is_err());
        assert!(access.check("STOP", Task, &Caller::Plugin("cpu")).is_ok());
    }

    #[test]
    fn nobody_means_everybody() {
        let access = with_peers();
        for least in [Task, Plugin] {
            for caller in callers() {
                let refusal = access.check("PING", least, &caller).unwrap_err().to_string();
                assert_eq!(refusal, "PING may be sent by nobody ([access.messages] in plugins.toml)");
            }
        }
    }

    #[test]
    fn what_is_for_providers_only_stays_so() {
        let access = with_peers();
        for caller in [Caller::Member(FRIEND), Caller::Member(RASCAL), Caller::Local, Caller::Web("w")] {
            assert!(access.check("CACHE_PUT", Plugin, &caller).is_err(), "{caller:?}");
            assert!(access.check("STOP", Task, &caller).is_err(), "{caller:?}");
        }
        assert!(access.check("CACHE_PUT", Plugin, &Caller::Plugin("cpu")).is_ok());
    }

    #[test]
    fn an_allowed_message_lifts_the_peer_but_none_of_its_tasks() {
        let access = with_peers();
        assert!(access.check("SET_LIMIT", Local, &Caller::Member(FRIEND)).is_ok());
        assert!(access.check("STATUS", Task, &Caller::Member(FRIEND)).is_ok());
        assert!(access.check("SET_OTHER", Local, &Caller::Member(RASCAL)).is_ok());
        assert!(access.check("SET_OTHER", Local, &Caller::Member(FRIEND)).is_err());
        for least in [Member, Local] {
            let refusal = access.check("SET_LIMIT", least, &Caller::Task(FRIEND)).unwrap_err().to_string();
            assert!(refusal.ends_with(&format!("this one is `task` of {FRIEND}")), "{refusal}");
            assert!(access.check("SET_LIMIT", least, &Caller::Task(RASCAL)).is_err());
        }
    }

    #[test]
    fn a_denied_message_is_denied_to_the_peer_and_its_tasks_whatever_else_is_said() {
        let access = with_peers();
        for caller in [Caller::Member(RASCAL), Caller::Task(RASCAL)] {
            let refusal = access.check("CPU_TASK", Task, &caller).unwrap_err().to_string();
            let rule = format!("CPU_TASK is denied to this peer by [access.peers.\"{RASCAL}\"] deny in plugins.toml");
            assert_eq!(refusal, rule);
            assert!(access.check("GET_MEM2", Task, &caller).is_ok());
        }
        for caller in [Caller::Member(STRANGER), Caller::Task(STRANGER)] {
            assert!(access.check("GET_MEM", Task, &caller).is_err());
        }
        // An id is the same one in capitals.
        assert!(access.check("GET_MEM", Task, &Caller::Member(&STRANGER.to_uppercase())).is_err());
    }

    #[test]
    fn tasks_of_this_node_and_callers_without_a_peer_have_no_peer_rules() {
        let access = with_peers();
        for caller in [Caller::Task(OWN), Caller::Local, Caller::Web(RASCAL), Caller::Plugin(RASCAL), Caller::Task("")]
        {
            assert!(access.check("CPU_TASK", Task, &caller).is_ok(), "{caller:?}");
        }
    }

    #[test]
    fn a_long_type_is_cut_and_a_session_stays_secret() {
        let access = access("");
        let long = "\u{e9}".repeat(100_000);
        assert!(access.check(&long, Plugin, &Caller::Local).unwrap_err().to_string().len() < 300);
        assert!(!access.check("X", Plugin, &Caller::Web("secret")).unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn rules_without_effect_are_named() {
        let declared = [
            ("GET_MEM", Task),
            ("PING", Task),
            ("STOP", Task),
            ("CACHE_PUT", Plugin),
            ("STATUS", Task),
            ("SET_LIMIT", Local),
            ("CPU_TASK", Member),
        ];
        assert_eq!(
            with_peers().ineffective(&declared),
            [
                "[access.messages] CACHE_PUT: it is for providers only, which \"task\" cannot change".to_owned(),
                "[access.messages] SET_SCHEDULER: nobody on this node answers it".to_owned(),
                format!("[access.peers.\"{FRIEND}\"] allow: CACHE_PUT is for providers only, which this cannot change"),
                "[access.peers] names this node itself, for which its rules do not count".to_owned(),
            ]
        );
        assert!(access("").ineffective(&[]).is_empty());
    }
}
