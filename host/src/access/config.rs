//! The `[access]` table as it stands in the file. Errors name the key.

use super::rate::Limit;
use anyhow::bail;
use potluck_sdk::{LeastCaller, PeerId};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

const RATE_PER_SECOND_MIN: f64 = 0.001;
const RATE_PER_SECOND_MAX: f64 = 1_000_000.0;
/// How much of its rate a peer may save up; also how long a peer that went away is remembered at most.
const BURST_SECONDS_MAX: f64 = 3600.0;
const MESSAGE_TYPE_BYTES_MAX: usize = 64;

/// `[access]`: who may send what. Without it, what the providers declare is all that counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Messages a second that each other node may send, its tasks included; 0 for no limit.
    pub rate_per_second: f64,
    /// How many of them may come at once; 0 for one second's worth.
    pub rate_burst: u32,
    /// `[access.messages]`: the least caller of a message type.
    pub messages: BTreeMap<String, Least>,
    /// `[access.peers."<id>"]`: what counts for one node only.
    pub peers: BTreeMap<String, PeerAccess>,
}

/// The least caller of a message, or nobody at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Least {
    /// Everybody.
    Task,
    /// Members of the pool, and everybody with more rights.
    Member,
    /// This machine's user and the node's providers.
    Local,
    /// The node's providers.
    Plugin,
    /// Not even they.
    Nobody,
}

/// `[access.peers."<id>"]`: the rules for one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerAccess {
    /// Messages that it may send although their least caller is `local`; `*` for all of these.
    pub allow: Vec<String>,
    /// Messages that neither it nor its tasks may send; `*` for all. Wins over `allow`.
    pub deny: Vec<String>,
    /// Instead of the rate for everybody.
    pub rate_per_second: Option<f64>,
    /// Instead of the burst for everybody.
    pub rate_burst: Option<u32>,
}

impl AccessConfig {
    /// Whether everything in it makes sense.
    pub fn check(&self) -> anyhow::Result<()> {
        check_rate("", self.rate_per_second, self.rate_burst)?;
        for name in self.messages.keys() {
            if !is_message_type(name) {
                bail!("key `messages.{name}`: {MESSAGE_TYPE_RULE}");
            }
        }
        let mut ids = HashSet::new();
        for (text, peer) in &self.peers {
            let key = format!("peers.\"{text}\"");
            let id: PeerId = text.parse().map_err(|error| anyhow::anyhow!("key `{key}`: {error}"))?;
            if !ids.insert(id) {
                bail!("key `{key}`: this peer has a table already; put everything into one");
            }
            for (list, names) in [("allow", &peer.allow), ("deny", &peer.deny)] {
                if let Some(name) = names.iter().find(|name| *name != "*" && !is_message_type(name)) {
                    bail!("key `{key}.{list}`: {name:?}: {MESSAGE_TYPE_RULE}, or \"*\"");
                }
            }
            let (rate, burst) = peer.rate(self);
            check_rate(&format!("{key}."), rate, burst)?;
        }
        Ok(())
    }

    /// The limit on everybody who has none of their own.
    pub(super) fn limit(&self) -> Option<Limit> {
        limit(self.rate_per_second, self.rate_burst, "[access]".to_owned())
    }
}

impl PeerAccess {
    /// What counts for this node instead of the limit on everybody: nothing when it has none of its own, and a limit of
    /// nothing when it may send as much as it likes.
    pub(super) fn limit(&self, everybody: &AccessConfig, id: PeerId) -> Option<Option<Limit>> {
        if self.rate_per_second.is_none() && self.rate_burst.is_none() {
            return None;
        }
        let (rate, burst) = self.rate(everybody);
        Some(limit(rate, burst, format!("[access.peers.\"{id}\"]")))
    }

    /// Rate and burst. The burst for everybody belongs to the rate for everybody.
    fn rate(&self, everybody: &AccessConfig) -> (f64, u32) {
        match self.rate_per_second {
            Some(rate) => (rate, self.rate_burst.unwrap_or(0)),
            None => (everybody.rate_per_second, self.rate_burst.unwrap_or(everybody.rate_burst)),
        }
    }
}

impl Least {
    /// As providers declare it; nothing for nobody.
    pub fn caller(self) -> Option<LeastCaller> {
        match self {
            Least::Task => Some(LeastCaller::Task),
            Least::Member => Some(LeastCaller::Member),
            Least::Local => Some(LeastCaller::Local),
            Least::Plugin => Some(LeastCaller::Plugin),
            Least::Nobody => None,
        }
    }

    /// As it stands in the file.
    pub fn word(self) -> &'static str {
        self.caller().map_or("nobody", LeastCaller::word)
    }
}

const MESSAGE_TYPE_RULE: &str = "a message's type has capital letters, digits and underscores, at most 64";

fn is_message_type(name: &str) -> bool {
    (1..=MESSAGE_TYPE_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn check_rate(prefix: &str, rate_per_second: f64, burst: u32) -> anyhow::Result<()> {
    if rate_per_second != 0.0 && !(RATE_PER_SECOND_MIN..=RATE_PER_SECOND_MAX).contains(&rate_per_second) {
        bail!(
            "key `{prefix}rate_per_second`: expected messages a second from {RATE_PER_SECOND_MIN} to \
             {RATE_PER_SECOND_MAX}, or 0 for no limit, found {rate_per_second}"
        );
    }
    // Without a limit there is no burst; a single message is always within one.
    if rate_per_second != 0.0 && burst > 1 && f64::from(burst) > rate_per_second * BURST_SECONDS_MAX {
        bail!(
            "key `{prefix}rate_burst`: expected at most {}, an hour's worth, found {burst}",
            (rate_per_second * BURST_SECONDS_MAX).max(1.0).floor()
        );
    }
    Ok(())
}

fn limit(rate_per_second: f64, burst: u32, table: String) -> Option<Limit> {
    if rate_per_second == 0.0 {
        return None;
    }
    // A rate that has been checked gives a small whole number here.
    let one_second = rate_per_second.ceil() as u32;
    let burst = NonZeroU32::new(burst).or(NonZeroU32::new(one_second)).unwrap_or(NonZeroU32::MIN);
    let period = Duration::from_secs_f64(1.0 / rate_per_second);
    Some(Limit { rate_per_second, period, burst, table })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5f0c6b1e-0000-8000-8000-00000000000a";

    fn parse(text: &str) -> anyhow::Result<AccessConfig> {
        let config: AccessConfig = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn the_documented_table_is_understood() {
        let config = parse(&format!(
            "rate_per_second = 5\nrate_burst = 0\n[messages]\nGET_MEM = \"member\"\nPING = \"nobody\"\n\
             [peers.\"{ID}\"]\nallow = [\"SET_SCHEDULER\"]\ndeny = [\"CPU_TASK\", \"*\"]\nrate_per_second = 0.5\n"
        ))
        .unwrap();
        assert_eq!(config.messages["GET_MEM"], Least::Member);
        assert_eq!(config.messages["PING"].word(), "nobody");
        assert_eq!(config.limit().unwrap().burst.get(), 5);
        let own = config.peers[ID].limit(&config, ID.parse().unwrap()).unwrap().unwrap();
        assert_eq!((own.burst.get(), own.period), (1, Duration::from_secs(2)));
        assert!(parse("").unwrap().limit().is_none());
    }

    #[test]
    fn a_peer_can_have_a_burst_of_its_own_or_no_limit() {
        let config = parse(&format!("rate_per_second = 5\n[peers.\"{ID}\"]\nrate_burst = 50\n")).unwrap();
        let limit = config.peers[ID].limit(&config, ID.parse().unwrap()).unwrap().unwrap();
        assert_eq!((limit.burst.get(), limit.rate_per_second), (50, 5.0));
        let config = parse(&format!("rate_per_second = 5\n[peers.\"{ID}\"]\nrate_per_second = 0\n")).unwrap();
        assert!(config.peers[ID].limit(&config, ID.parse().unwrap()).unwrap().is_none());
        let config = parse(&format!("rate_per_second = 5\n[peers.\"{ID}\"]\n")).unwrap();
        assert!(config.peers[ID].limit(&config, ID.parse().unwrap()).is_none());
    }

    #[test]
    fn errors_name_the_key() {
        let upper = ID.to_uppercase();
        for (text, words) in [
            ("rates = 3".to_owned(), ["rates", "rate_per_second"]),
            ("rate_per_second = -1".to_owned(), ["`rate_per_second`", "-1"]),
            ("rate_per_second = nan".to_owned(), ["`rate_per_second`", "NaN"]),
            ("rate_per_second = inf".to_owned(), ["`rate_per_second`", "inf"]),
            ("rate_per_second = 1e-300".to_owned(), ["`rate_per_second`", "0.001"]),
            ("rate_per_second = 2\nrate_burst = 7201".to_owned(), ["`rate_burst`", "7200"]),
            ("rate_burst = -1".to_owned(), ["rate_burst", "-1"]),
            ("[messages]\nget_mem = \"member\"".to_owned(), ["`messages.get_mem`", "capital"]),
            ("[messages]\n\"\" = \"member\"".to_owned(), ["`messages.`", "capital"]),
            (format!("[messages]\n{} = \"task\"", "A".repeat(65)), ["`messages.AAA", "64"]),
            ("[messages]\nGET_MEM = \"members\"".to_owned(), ["GET_MEM", "`nobody`"]),
            ("[peers.\"5f0c\"]".to_owned(), ["`peers.\"5f0c\"`", "not a peer id"]),
            (format!("[peers.\"{ID}\"]\n[peers.\"{upper}\"]"), [ID, "already"]),
            (format!("[peers.\"{ID}\"]\nallow = [\"*\", \"GET*\"]"), ["allow`", "GET*"]),
            (format!("[peers.\"{ID}\"]\ndeny = [\"\"]"), ["deny`", "capital"]),
            (format!("[peers.\"{ID}\"]\nalow = []"), ["alow", "allow"]),
            (format!("[peers.\"{ID}\"]\nrate_per_second = -2"), [".rate_per_second`", "-2"]),
            (format!("rate_per_second = 1\n[peers.\"{ID}\"]\nrate_burst = 4000"), [".rate_burst`", "3600"]),
        ] {
            let error = format!("{:#}", parse(&text).err().unwrap_or_else(|| panic!("{text} was accepted")));
            for word in words {
                assert!(error.contains(word), "{word:?} is missing in {error}");
            }
        }
    }
}
