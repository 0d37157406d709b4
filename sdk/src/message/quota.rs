//! Messages of the provider `quota`: who may use how much.

use crate::Caller;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The topic on which the rules are told when the provider starts: a [`QuotaRuleList`].
pub const RULES_TOPIC: &str = "quota.rules";
/// Code of the error with which QUOTA_TAKE refuses.
pub const QUOTA_EXCEEDED: &str = "quota_exceeded";
/// Tasks, counted over a sliding window by quota itself.
pub const CPU_TASKS: &str = "cpu_tasks";
/// Entries of the shared memory that there are, counted by memory.
pub const MEMORY_KEYS: &str = "memory_keys";
/// Bytes of the shared files that there are, counted by disk.
pub const STORAGE_BYTES: &str = "storage_bytes";

/// QUOTA_TAKE, from another provider: may this caller have so much more? Answered with [`QuotaTaken`] once that is on disk,
/// or with the error [`QUOTA_EXCEEDED`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "QUOTA_TAKE")]
pub struct QuotaTake<'a> {
    /// Of what, such as [`CPU_TASKS`].
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
    /// Who asks: [`Caller::word`].
    #[serde(borrow, default)]
    pub caller: Cow<'a, str>,
    /// Who asks: [`Caller::id`].
    #[serde(borrow, default)]
    pub caller_id: Cow<'a, str>,
    /// How much more.
    pub amount: u64,
    /// What the caller has already, of a resource that the asker counts. Two that ask at once must each count the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What all callers have already, of a resource that the asker counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_total: Option<u64>,
}

/// Reply to QUOTA_TAKE.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct QuotaTaken<'a> {
    /// `OK`.
    pub status: &'a str,
    /// Of what.
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
    /// What the caller has now.
    pub used: u64,
    /// What is left for it now; missing when it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

/// HELD_MEMORY_KEYS, HELD_STORAGE_BYTES and the like, from quota to whoever counts that resource: how much is there now?
/// Asked when somebody wants to see it. A provider of another resource may answer one too; see [`held_message`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "HELD")]
pub struct Held {
    /// What all callers have.
    pub used_total: u64,
    /// What each has, by the id of its node; empty for this one's. Those that have nothing are left out.
    #[serde(default)]
    pub callers: BTreeMap<String, u64>,
}

/// The type of the message that asks how much of a resource there is; it is answered with [`Held`].
pub fn held_message(resource: &str) -> String {
    format!("HELD_{}", resource.to_ascii_uppercase())
}

/// QUOTA_RULES, from another provider: who has a limit at all, so that nobody asks in vain.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "QUOTA_RULES")]
pub struct QuotaRules {}

/// Reply to QUOTA_RULES, and body of an event on [`RULES_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "QUOTA_RULES")]
pub struct QuotaRuleList {
    /// By resource; one that is not here has no limit.
    #[serde(default)]
    pub rules: BTreeMap<String, QuotaRule>,
}

impl QuotaRuleList {
    /// Whether `caller` may have as much as it likes, so that QUOTA_TAKE need not be sent. `own_id` is this node's id.
    pub fn is_unlimited(&self, resource: &str, caller: &Caller<'_>, own_id: &str) -> bool {
        self.rules.get(resource).is_none_or(|rule| rule.is_unlimited(caller, own_id))
    }
}

/// The limits of one resource; null is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaRule {
    /// For this machine's user, and the tasks that work for it.
    pub local: Option<u64>,
    /// For each other member of the pool, and the tasks that work for it.
    pub member: Option<u64>,
    /// For all callers together.
    pub total: Option<u64>,
    /// Over which time; missing when the limit is on what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
}

impl QuotaRule {
    /// Whether `caller` may have as much as it likes.
    pub fn is_unlimited(&self, caller: &Caller<'_>, own_id: &str) -> bool {
        self.total.is_none() && self.limit_of(caller, own_id).is_none()
    }

    /// The limit of `caller` itself.
    pub fn limit_of(&self, caller: &Caller<'_>, own_id: &str) -> Option<u64> {
        if works_for(caller, own_id).is_empty() { self.local } else { self.member }
    }
}

/// Whose account `caller` is counted on: the id of another node; empty for this one's.
pub fn works_for<'a>(caller: &Caller<'a>, own_id: &str) -> &'a str {
    match caller {
        Caller::Member(peer) | Caller::Task(peer) if *peer != own_id => peer,
        _ => "",
    }
}

/// QUOTA_CHECK: what the caller may use and what it has used.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "QUOTA_CHECK")]
pub struct QuotaCheck {}

/// Reply to QUOTA_CHECK.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct QuotaReport {
    /// `OK`.
    pub status: String,
    /// The member `quota` of STATUS.
    pub quota: QuotaStatus,
    /// What each caller has used: for this machine's user all of them, the first thousand; for others themselves.
    #[serde(default)]
    pub callers: Vec<CallerUsage>,
}

/// The member `quota` of STATUS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// Tasks.
    pub cpu_tasks: WindowStatus,
    /// Entries of the shared memory.
    pub memory_keys: GaugeStatus,
    /// Bytes of the shared files.
    pub storage: StorageStatus,
    /// The limits of every resource.
    pub limits: BTreeMap<String, QuotaRule>,
}

/// A resource that is counted over a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowStatus {
    /// What was counted of all callers; those that have no limit are not counted.
    pub used: u64,
    /// The limit for all callers together, else that of a member; null when there is none.
    pub limit: Option<u64>,
    /// Over which time; null when there is no limit.
    pub window_seconds: Option<f64>,
}

/// A resource of which there is some.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GaugeStatus {
    /// How much there is; null when nobody counts it.
    pub used: Option<u64>,
    /// The limit for all callers together, else that of a member; null when there is none.
    pub limit: Option<u64>,
}

/// The shared files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageStatus {
    /// How much there is, in MB of 1,048,576 bytes; null when nobody counts it.
    pub used_mb: Option<f64>,
    /// The limit for all callers together, else that of a member; null when there is none.
    pub limit_mb: Option<f64>,
    /// `used_mb` in bytes.
    pub used_bytes: Option<u64>,
    /// `limit_mb` in bytes.
    pub limit_bytes: Option<u64>,
}

/// What one caller has used of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallerUsage {
    /// `local`, or the id of a peer.
    pub caller: String,
    /// Of what.
    pub resource: String,
    /// How much.
    pub used: u64,
    /// Its limit; null when it has none of its own.
    pub limit: Option<u64>,
    /// Seconds until some of it is no longer counted; missing when that is not a matter of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees_in_seconds: Option<f64>,
}
