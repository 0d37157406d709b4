//! What the node's STATUS says of the runtimes.

use crate::config::Config;
use crate::images::STANDARD;
use crate::pool::{LaneReport, Phase, missing_protections};
use crate::runtime::RuntimeKey;
use serde_json::{Map, Value, json};

/// One entry for each runtime; for the sandbox, that of its standard image unless only others have been used, and all
/// that have been by name.
pub(crate) fn runtimes(lanes: &[LaneReport], config: &Config) -> Value {
    let mut runtimes = Map::new();
    for name in ["python", "sandbox", "wasm"] {
        let usual = |lane: &&LaneReport| match &lane.key {
            RuntimeKey::Python { trusted } => !trusted,
            RuntimeKey::Sandbox(image) => **image == *STANDARD,
            RuntimeKey::Wasm => true,
        };
        let mut of_name = lanes.iter().filter(|lane| lane.key.name() == name);
        let lane = of_name.clone().find(usual).or_else(|| of_name.next());
        let mut entry = lane.map_or_else(unused, |lane| describe(lane, config));
        if name == "sandbox" {
            entry["images"] = images(lanes);
        }
        entry["limits"] = json!({
            "memory_limit_bytes": config.memory_limit_bytes,
            "output_limit_bytes": config.output_limit_bytes,
            "timeout_seconds": config.timeout_seconds,
            "timeout_seconds_max": config.timeout_seconds_max,
        });
        runtimes.insert(name.to_owned(), entry);
    }
    Value::Object(runtimes)
}

fn unused() -> Value {
    json!({ "state": "idle", "reason": "", "description": "", "processes": 0, "protections": [] })
}

/// The images of the sandbox that have been used: each has workers of its own.
fn images(lanes: &[LaneReport]) -> Value {
    let used = lanes.iter().filter_map(|lane| match &lane.key {
        RuntimeKey::Sandbox(image) => {
            let (state, reason) = state(&lane.phase);
            Some((image.to_string(), json!({ "state": state, "reason": reason, "processes": lane.processes })))
        }
        RuntimeKey::Python { .. } | RuntimeKey::Wasm => None,
    });
    Value::Object(used.collect())
}

fn state(phase: &Phase) -> (&'static str, &str) {
    match phase {
        Phase::Asleep => ("idle", ""),
        Phase::Preparing => ("preparing", ""),
        Phase::Ready => ("ready", ""),
        Phase::Unavailable(reason, _) => ("unavailable", reason.as_str()),
    }
}

fn describe(lane: &LaneReport, config: &Config) -> Value {
    let (state, reason) = state(&lane.phase);
    let missing = if lane.protections.is_empty() { None } else { missing_protections(&lane.protections) };
    let others_work = match &missing {
        _ if !lane.is_hardened => "accepted, in workers with protections".to_owned(),
        None if lane.protections.is_empty() => "not known before its first worker has started".to_owned(),
        None => "accepted".to_owned(),
        Some(missing) if config.remote_unprotected => format!("accepted without {missing} (remote_unprotected = true)"),
        Some(missing) => format!("refused: the workers lack {missing}"),
    };
    json!({
        "state": state,
        "reason": reason,
        "description": lane.description,
        "processes": lane.processes,
        "hardened": lane.is_hardened,
        "others_work": others_work,
        "protections": lane.protections,
    })
}
