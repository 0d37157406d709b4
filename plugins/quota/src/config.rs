//! The table `[plugins.quota]` of plugins.toml.

use potluck_sdk::message::quota::{CPU_TASKS, MEMORY_KEYS, QuotaRule, QuotaRuleList, STORAGE_BYTES};
use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest window, in seconds: a month. What is older is forgotten.
pub(crate) const WINDOW_SECONDS_MAX: f64 = 31.0 * 86_400.0;
/// Most resources with a limit.
const RESOURCES_MAX: usize = 64;
/// Longest name of a resource.
const NAME_BYTES_MAX: usize = 64;
/// Seconds over which tasks are counted, when nothing else is said.
const CPU_WINDOW_SECONDS: f64 = 3600.0;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    preset: Preset,
    limits: BTreeMap<String, Limits>,
}

/// The limits that hold where the table says nothing.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    /// Enough for any honest use.
    #[default]
    Generous,
    /// Those of the original system, for everybody together.
    Classroom,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    local: Option<Limit>,
    member: Option<Limit>,
    total: Option<Limit>,
    window_seconds: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "a whole number, or \"unlimited\"")]
enum Limit {
    Number(u64),
    Word(Word),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Unlimited,
}

/// The rules that plugins.toml gives.
pub(crate) fn read(config: Config<'_>) -> Result<QuotaRuleList, ProviderError> {
    let table: Table = config.parse()?;
    let mut rules = table.preset.rules();
    for (resource, limits) in table.limits {
        let rule = rules.entry(resource.clone()).or_default();
        for (place, limit) in
            [(&mut rule.local, limits.local), (&mut rule.member, limits.member), (&mut rule.total, limits.total)]
        {
            match limit {
                Some(Limit::Number(number)) => *place = Some(number),
                Some(Limit::Word(Word::Unlimited)) => *place = None,
                None => {}
            }
        }
        if limits.window_seconds.is_some() {
            rule.window_seconds = limits.window_seconds;
        }
        check(&resource, rule)?;
    }
    if rules.len() > RESOURCES_MAX {
        return Err(refused(format!("key `limits`: {} resources are too many, at most {RESOURCES_MAX}", rules.len())));
    }
    Ok(QuotaRuleList { rules })
}

fn check(resource: &str, rule: &QuotaRule) -> Result<(), ProviderError> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=NAME_BYTES_MAX).contains(&resource.len()) || !resource.bytes().all(is_word) {
        return Err(refused(format!("key `limits`: {resource:?} is no resource, such as {CPU_TASKS}")));
    }
    if let Some(meant) = misspelt(resource) {
        let key = format!("key `limits.{resource}`");
        return Err(refused(format!("{key}: nothing has that name; did you mean `{meant}`?")));
    }
    let key = format!("key `limits.{resource}.window_seconds`");
    match rule.window_seconds {
        Some(_) if matches!(resource, MEMORY_KEYS | STORAGE_BYTES) => {
            Err(refused(format!("{key}: the limit is on what there is, not on a time; leave it out")))
        }
        Some(seconds) if !(0.001..=WINDOW_SECONDS_MAX).contains(&seconds) => {
            Err(refused(format!("{key}: it must be 0.001 to {WINDOW_SECONDS_MAX}")))
        }
        _ => Ok(()),
    }
}

/// The resources that are handed out by the providers of this program.
const OWN: [&str; 3] = [CPU_TASKS, MEMORY_KEYS, STORAGE_BYTES];
/// So few letters make it a slip, and not a name of somebody else's.
const SLIP_LETTERS: usize = 2;

/// What a name was meant to be that limits nothing; nothing for one that stands for itself.
fn misspelt(resource: &str) -> Option<&'static str> {
    OWN.into_iter().find(|own| (1..=SLIP_LETTERS).contains(&distance(own, resource)))
}

/// How many letters have to be put in, left out or changed to make one name of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (place, with) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != with);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

/// A line for each limit that only holds when a provider from elsewhere asks about it: what does, is not known here.
pub(crate) fn doubts(rules: &QuotaRuleList) -> Vec<String> {
    let others = rules.rules.keys().filter(|resource| !OWN.contains(&resource.as_str()));
    let line = |resource: &String| {
        format!(
            "the limits of `{resource}` hold only if a plugin asks about them; those that come with potluck ask about {}",
            OWN.join(", ")
        )
    };
    others.map(line).collect()
}

fn refused(text: String) -> ProviderError {
    ProviderError::new(ProviderError::INVALID_CONFIG, text)
}

impl Preset {
    fn rules(self) -> BTreeMap<String, QuotaRule> {
        let member = |limit| QuotaRule { member: Some(limit), ..QuotaRule::default() };
        let total = |limit| QuotaRule { total: Some(limit), ..QuotaRule::default() };
        let rules = match self {
            Preset::Generous => {
                [(CPU_TASKS, member(100_000)), (MEMORY_KEYS, member(100_000)), (STORAGE_BYTES, member(10 << 30))]
            }
            Preset::Classroom => {
                [(CPU_TASKS, total(100)), (MEMORY_KEYS, total(1_000)), (STORAGE_BYTES, total(100 << 20))]
            }
        };
        let mut rules: BTreeMap<String, QuotaRule> =
            rules.into_iter().map(|(resource, rule)| (resource.to_owned(), rule)).collect();
        if let Some(tasks) = rules.get_mut(CPU_TASKS) {
            tasks.window_seconds = Some(CPU_WINDOW_SECONDS);
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_a_name() {
        for (resource, meant) in [
            ("cpu_taks", Some(CPU_TASKS)),
            ("cpu_task", Some(CPU_TASKS)),
            ("cputasks", Some(CPU_TASKS)),
            ("memory_key", Some(MEMORY_KEYS)),
            ("storage_byte", Some(STORAGE_BYTES)),
            ("cpu_tasks", None),
            ("gpu_minutes", None),
            ("renders", None),
        ] {
            assert_eq!(misspelt(resource), meant, "{resource}");
        }
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")), (3, 3, 3));
    }
}
