//! Results of earlier runs: CACHE_GET, CACHE_PUT, CACHE_ABANDON, CACHE_RULES, CACHE_STATISTICS, CACHE_CLEAR.

use super::RawValue;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest key, in bytes.
pub const CACHE_KEY_BYTES_MAX: usize = 256;
/// The topic on which changed rules are told, with the body [`CacheRulesChanged`].
pub const CACHE_RULES_TOPIC: &str = "cache.rules";

/// CACHE_GET: looks up a result.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_GET")]
pub struct CacheGet<'a> {
    /// What names the run, such as the SHA-256 of all that it depends on.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Single flight: when nothing is there, the first who asks gets a lease and is to compute the value; whoever asks
    /// meanwhile is answered when it is there, or gets the lease when the first gives it up, or is told that there will
    /// be no value.
    #[serde(default)]
    pub wait: bool,
    /// With `wait`: how long, in seconds; then the answer is that nothing was found, without a lease. Until there is a
    /// value or a lease when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
}

/// Reply to CACHE_GET.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_ENTRY")]
pub struct CacheEntry<'a> {
    /// Whether there is a value.
    pub found: bool,
    /// The value.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub value: Option<&'a RawValue>,
    /// With `wait`, and when nothing was found: the right to put the value, to be ended by CACHE_PUT or CACHE_ABANDON.
    /// Missing too when too many wait already, or the wait took too long: compute it, and leave the cache alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

/// CACHE_PUT: stores a value, and ends a lease.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_PUT")]
pub struct CachePut<'a> {
    /// As in CACHE_GET.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Any JSON value.
    #[serde(borrow)]
    pub value: &'a RawValue,
    /// The lease that CACHE_GET gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Seconds until the value is forgotten; those of the configuration when missing, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<f64>,
}

/// Reply to CACHE_PUT.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct CacheStored<'a> {
    /// `OK`.
    pub status: &'a str,
    /// False when the value is larger than the cache takes, or its lease has ended meanwhile. Those who waited for the
    /// value have got it all the same.
    pub stored: bool,
}

/// CACHE_ABANDON: gives a lease back without a value.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_ABANDON")]
pub struct CacheAbandon<'a> {
    /// As in CACHE_GET.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The lease that CACHE_GET gave.
    pub lease: u64,
    /// Whether there will be no value, whoever computes it: then nobody waits for the next one's, and all who do are told
    /// at once that nothing was found, without a lease. Else the next who waits gets the lease.
    #[serde(default, skip_serializing_if = "is_false")]
    pub for_good: bool,
}

/// Reply to CACHE_ABANDON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct CacheAbandoned<'a> {
    /// `OK`.
    pub status: &'a str,
}

/// CACHE_RULES: which runs are worth asking the cache about.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_RULES")]
pub struct CacheRules {}

/// Reply to CACHE_RULES.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_RULES")]
pub struct CacheRulesReply {
    /// Whether every run that does not say otherwise counts as depending on its program and arguments alone.
    pub assume_pure: bool,
}

/// An event of [`CACHE_RULES_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRulesChanged {
    /// As in [`CacheRulesReply`].
    pub assume_pure: bool,
}

/// CACHE_STATISTICS: how much the cache holds, and how well it serves.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_STATISTICS")]
pub struct CacheStatistics {}

/// Reply to CACHE_STATISTICS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct CacheStatisticsReply {
    /// `OK`.
    pub status: String,
    /// The numbers.
    pub cache: CacheUsage,
}

/// The member `cache` of the node's STATUS reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheUsage {
    /// Values that are kept.
    pub size: usize,
    /// Most values that are kept.
    pub max_size: usize,
    /// Lookups that found a value, at once or after waiting for it.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Hits among all lookups, from 0 to 1.
    pub hit_rate: f64,
    /// Bytes of keys and values.
    pub bytes: usize,
    /// Most of them.
    pub bytes_max: usize,
    /// Seconds that a value is kept.
    pub ttl_seconds: f64,
    /// Values dropped to make room.
    pub evictions: u64,
    /// Values dropped since they were too old.
    pub expirations: u64,
    /// Lookups that wait for somebody else's run now.
    pub waiting: usize,
    /// Runs under way that others may wait for.
    pub leases: usize,
    /// As in [`CacheRulesReply`].
    pub assume_pure: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// CACHE_CLEAR: forgets all values.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CACHE_CLEAR")]
pub struct CacheClear {}

/// Reply to CACHE_CLEAR.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct CacheCleared<'a> {
    /// `OK`.
    pub status: &'a str,
    /// How many there were.
    pub removed: usize,
}
