//! What a node's STATUS says of the runtimes of its tasks.

use super::session::{Session, parse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One runtime. Everything has a default, since another version may say less.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeStatus {
    /// `ready`, `preparing`, `idle` or `unavailable`.
    pub(super) state: String,
    /// Why it is unavailable.
    pub(super) reason: String,
    /// What runs the programs.
    pub(super) description: String,
    /// Whether its workers give up rights before they run anything; they do not for an owner who trusts their own tasks.
    pub(super) hardened: Option<bool>,
    /// Whether work that comes from other peers is taken, and why not.
    pub(super) others_work: String,
    /// What keeps its workers from doing harm.
    pub(super) protections: Vec<ProtectionStatus>,
    /// What its tasks may use, where the node tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<RuntimeLimits>,
}

/// What the tasks of a runtime may use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeLimits {
    /// Memory, at most and unless a task says less.
    pub(super) memory_limit_bytes: Option<u64>,
    /// Output on each stream, at most and unless a task says less.
    pub(super) output_limit_bytes: Option<u64>,
    /// Wall time of a task that does not say.
    pub(super) timeout_seconds: Option<f64>,
    /// Wall time that a task may ask for.
    pub(super) timeout_seconds_max: Option<f64>,
}

/// One protection of a runtime's workers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ProtectionStatus {
    pub(super) name: String,
    /// `on`, `off` or `unavailable`.
    pub(super) state: String,
    pub(super) reason: String,
}

impl ProtectionStatus {
    pub(super) fn is_on(&self) -> bool {
        self.state == "on"
    }

    /// As people read it: `on`, `off (why)`, `not available (why)`.
    pub(super) fn text(&self) -> String {
        let state = if self.state == "unavailable" { "not available" } else { &self.state };
        if self.reason.is_empty() { state.to_owned() } else { format!("{state} ({})", self.reason) }
    }
}

/// The runtimes of a node by name; none when nobody there runs tasks.
pub(super) async fn ask(session: &Session) -> anyhow::Result<BTreeMap<String, RuntimeStatus>> {
    let reply = session.ask_json(r#"{"type":"STATUS"}"#).await?;
    Ok(parse::<Status>(&reply)?.executor.runtimes)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    executor: Executor,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Executor {
    runtimes: BTreeMap<String, RuntimeStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_says_less_is_read_too() {
        let json = r#"{"executor":{"runtimes":{"wasm":{"state":"ready","new":1,"protections":[{"name":"seccomp","state":"on"}]}}}}"#;
        let status: Status = serde_json::from_str(json).unwrap();
        let wasm = &status.executor.runtimes["wasm"];
        assert_eq!((wasm.state.as_str(), wasm.protections[0].text().as_str(), wasm.hardened), ("ready", "on", None));
        assert!(serde_json::from_str::<Status>(r#"{"peers":[]}"#).unwrap().executor.runtimes.is_empty());
    }

    #[test]
    fn a_protection_says_why_it_is_not_on() {
        let text = |state: &str, reason: &str| {
            ProtectionStatus { name: "landlock".to_owned(), state: state.to_owned(), reason: reason.to_owned() }.text()
        };
        assert_eq!(text("on", ""), "on");
        assert_eq!(text("off", "trusted = true"), "off (trusted = true)");
        assert_eq!(text("unavailable", "the kernel lacks it"), "not available (the kernel lacks it)");
    }
}
