//! What a node that runs says of itself.

use super::installation::{check_data_dir, default_data_dir};
use super::report::Report;
use super::{plain, runtimes};
use crate::cli::NodeArgs;
use crate::commands::session::{Session, parse};
use crate::output::activity::Activity;
use crate::output::units;
use anyhow::anyhow;
use potluck_sdk::message::node::{ListPlugins, NodeStatus, PluginList, PluginReport, PluginState};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a node may take to say anything at all.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks a node that ran already. `args` says where its files may be, if it runs on this machine.
pub(super) async fn check(
    session: &Session,
    address: &str,
    args: Option<&NodeArgs>,
    report: &mut Report,
    activity: &Activity,
) {
    let Some(status) = status(session, report).await else { return };
    let Some(ping_seconds) = ping(session, report).await else { return };
    let finding = format!(
        "{address} runs potluck {}, for {}, and answers in {}",
        status.version,
        units::seconds(status.uptime_seconds),
        units::seconds(ping_seconds)
    );
    if status.version == env!("CARGO_PKG_VERSION") {
        report.ok("node", finding);
    } else {
        report.warning("node", finding, "this program has another version; restart the node with `potluck peer`");
    }
    check_tracker(&status, report);
    if let Some(args) = args {
        check_own_data_dir(args, &status, report);
    }
    check_providers(session, report, activity).await;
}

/// Checks a node that was started for that; what belongs to the real one was looked at before.
pub(super) async fn check_private(session: &Session, start_seconds: f64, report: &mut Report, activity: &Activity) {
    if status(session, report).await.is_none() {
        return;
    }
    let Some(ping_seconds) = ping(session, report).await else { return };
    let finding = format!(
        "none runs there; one was started for these checks in {} and answers in {}",
        units::seconds(start_seconds),
        units::seconds(ping_seconds)
    );
    report.ok("node", finding);
    check_providers(session, report, activity).await;
}

async fn status(session: &Session, report: &mut Report) -> Option<NodeStatus> {
    let answer = match tokio::time::timeout(FIRST_ANSWER_TIMEOUT, session.ask_json(r#"{"type":"STATUS"}"#)).await {
        Ok(Ok(reply)) => parse::<NodeStatus>(&reply),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let seconds = FIRST_ANSWER_TIMEOUT.as_secs();
            Err(anyhow!("it takes connections but has not answered within {seconds} s"))
        }
    };
    match answer {
        Ok(status) => Some(status),
        Err(error) => {
            let advice = "the node may hang, or another program have the port; `ss -ltnp` shows who listens there";
            report.problem("node", plain(&error), advice);
            None
        }
    }
}

/// How long a message takes that the node answers by itself, in seconds.
async fn ping(session: &Session, report: &mut Report) -> Option<f64> {
    let start = Instant::now();
    match session.ask_json(r#"{"type":"PING"}"#).await {
        Ok(_) => Some(start.elapsed().as_secs_f64()),
        Err(error) => {
            report.problem("node", plain(&error), "");
            None
        }
    }
}

fn check_tracker(status: &NodeStatus, report: &mut Report) {
    match &status.tracker_address {
        None => report.ok("tracker", "none; the node works alone"),
        Some(address) if status.tracker_connected => report.ok("tracker", format!("{address} answers")),
        Some(address) => report.warning(
            "tracker",
            format!("{address} does not answer the node, which works alone meanwhile"),
            "start one there with `potluck tracker`, or name another with --tracker when you start the node",
        ),
    }
}

/// The node's data directory, where this user can find it.
fn check_own_data_dir(args: &NodeArgs, status: &NodeStatus, report: &mut Report) {
    let folder = args.data_dir.clone().or_else(|| default_data_dir(status.peer_port));
    match folder.filter(|folder| is_of(folder, status)) {
        Some(folder) => check_data_dir(&folder, report),
        None => report.ok("data directory", "not found, so not looked at; --data-dir tells where the node keeps it"),
    }
}

/// Whether that node keeps its data there: it has written down who it is.
fn is_of(folder: &Path, status: &NodeStatus) -> bool {
    let read = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(folder.join("node.json")).ok()?).ok();
    read().is_some_and(|facts| facts.get("peer_id") == serde_json::to_value(status.peer_id).ok().as_ref())
}

async fn check_providers(session: &Session, report: &mut Report, activity: &Activity) {
    let listed = match session.ask(&ListPlugins {}).await {
        Ok(reply) => parse::<PluginList>(&reply),
        Err(error) => Err(error),
    };
    let plugins = match listed {
        Ok(list) => list.plugins,
        Err(error) => return report.problem("plugins", plain(&error), ""),
    };
    if plugins.is_empty() {
        report.warning("plugins", "the node has none, so it does nothing", "name some in plugins.toml");
    }
    for plugin in &plugins {
        check_plugin(plugin, report);
    }
    if plugins.iter().any(|plugin| plugin.messages.iter().any(|message| message == "CPU_TASK")) {
        runtimes::check(session, report, activity).await;
    } else {
        report.ok("runtimes", "no plugin of this node runs tasks");
    }
}

fn check_plugin(plugin: &PluginReport, report: &mut Report) {
    let check = format!("plugin {}", plugin.id);
    let reason = plugin.reason.as_deref().unwrap_or("it does not say why");
    match plugin.state {
        PluginState::Started => report.ok(&check, format!("{}, {}", plugin.state.word(), plugin.version)),
        PluginState::Degraded => report.warning(&check, format!("{}: {reason}", plugin.state.word()), ""),
        PluginState::Failed => {
            let advice = format!("its library is {}; without it, remove its table from plugins.toml", plugin.path);
            report.problem(&check, format!("{}: {reason}", plugin.state.word()), &advice);
        }
        PluginState::Declared | PluginState::Loaded | PluginState::Stopped => {
            report.warning(&check, format!("{}, so it answers nothing now", plugin.state.word()), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;

    fn node_status(tracker: Option<&str>, tracker_connected: bool) -> NodeStatus {
        NodeStatus {
            status: "OK".to_owned(),
            peer_ip: "127.0.0.1".to_owned(),
            peer_port: 9000,
            peer_id: "5f0c0d3e-8c1b-8c55-9a1e-3f6b2f0a9d11".parse().unwrap(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: 1.0,
            tracker_address: tracker.map(str::to_owned),
            tracker_connected,
        }
    }

    #[test]
    fn a_tracker_that_is_away_is_a_warning() {
        let outcome = |tracker, connected| {
            let mut report = Report::new();
            check_tracker(&node_status(tracker, connected), &mut report);
            report.outcome()
        };
        assert_eq!(outcome(None, false), Outcome::Ok);
        assert_eq!(outcome(Some("127.0.0.1:8888"), true), Outcome::Ok);
        assert_eq!(outcome(Some("127.0.0.1:8888"), false), Outcome::Warning);
    }

    #[test]
    fn a_folder_belongs_to_the_node_that_has_written_itself_down_there() {
        let folder = tempfile::tempdir().unwrap();
        let status = node_status(None, false);
        assert!(!is_of(folder.path(), &status));
        let facts = serde_json::json!({ "port": 9000, "peer_id": status.peer_id });
        std::fs::write(folder.path().join("node.json"), facts.to_string()).unwrap();
        assert!(is_of(folder.path(), &status));
        std::fs::write(folder.path().join("node.json"), r#"{"peer_id":null}"#).unwrap();
        assert!(!is_of(folder.path(), &status));
    }
}
