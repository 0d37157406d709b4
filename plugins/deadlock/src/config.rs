//! The table `[plugins.deadlock]` of plugins.toml.

use crate::bank::{Bank, BankLimits};
use crate::facts;
use potluck_sdk::{Config, NodeFacts, ProviderError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The kinds of the protocol; a resource of another name is `OTHER`.
pub(crate) const KINDS: [&str; 5] = ["CPU", "MEMORY", "DISK", "NETWORK", "OTHER"];
/// The original system's resources.
const CLASSROOM: [(&str, u64); 3] = [("CPU", 4), ("MEMORY", 1000), ("DISK", 10)];
/// Longest time between two searches.
const CHECK_SECONDS_MAX: f64 = 3600.0;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeadlockConfig {
    /// Where the default resources come from: `node` (its real facts) or `classroom`.
    preset: String,
    /// Further resources, or other numbers for those of the preset; 0 leaves one out.
    resources: BTreeMap<String, u64>,
    /// How often deadlocks are looked for while somebody waits; 0 for never.
    check_seconds: f64,
    /// Most resources.
    resources_max: usize,
    /// Most processes.
    processes_max: usize,
    /// Most entries of `max_need`, of all processes together.
    needs_max: usize,
    /// Most requests that wait.
    waits_max: usize,
}

impl Default for DeadlockConfig {
    fn default() -> DeadlockConfig {
        DeadlockConfig {
            preset: "node".to_owned(),
            resources: BTreeMap::new(),
            check_seconds: 1.0,
            resources_max: 256,
            processes_max: 1000,
            // The safety test takes a third of a millisecond then, and a release tests each request that waits.
            needs_max: 4096,
            waits_max: 256,
        }
    }
}

pub(crate) struct Settings {
    pub(crate) bank: Bank,
    /// Nothing for never.
    pub(crate) check_every: Option<Duration>,
}

impl Settings {
    pub(crate) fn read(config: Config<'_>, node: &NodeFacts) -> Result<Settings, ProviderError> {
        let config: DeadlockConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        let mut resources: BTreeMap<String, u64> = match config.preset.as_str() {
            "node" => facts::resources(node),
            "classroom" => CLASSROOM.iter().map(|(name, total)| ((*name).to_owned(), *total)).collect(),
            other => return refuse(format!("key `preset`: {other} is neither \"node\" nor \"classroom\"")),
        };
        if !(0.0..=CHECK_SECONDS_MAX).contains(&config.check_seconds) {
            return refuse(format!("key `check_seconds`: it must be from 0 to {CHECK_SECONDS_MAX}"));
        }
        let limits = [
            ("resources_max", config.resources_max),
            ("processes_max", config.processes_max),
            ("needs_max", config.needs_max),
        ];
        for (key, value) in limits {
            if value == 0 {
                return refuse(format!("key `{key}`: it must be at least 1"));
            }
        }
        resources.extend(config.resources);
        let mut bank = Bank::new(BankLimits {
            resources_max: config.resources_max,
            processes_max: config.processes_max,
            needs_max: config.needs_max,
            waits_max: config.waits_max,
        });
        for (name, total) in resources.into_iter().filter(|(_, total)| *total > 0) {
            let kind = KINDS.into_iter().find(|kind| *kind == name);
            if let Err(error) = bank.set_resource(&name, kind, total) {
                return refuse(format!("key `resources`: {error}"));
            }
        }
        let check_every = (config.check_seconds > 0.0).then(|| Duration::from_secs_f64(config.check_seconds));
        Ok(Settings { bank, check_every })
    }
}
