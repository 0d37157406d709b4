//! Who has used how much, and who may use more.

use crate::error::Refusal;
use crate::window::{Window, grain_milliseconds, stamp};
use potluck_sdk::message::quota::{
    CPU_TASKS, CallerUsage, GaugeStatus, Held, MEMORY_KEYS, QuotaRule, QuotaRuleList, QuotaStatus, STORAGE_BYTES,
    StorageStatus, WindowStatus,
};
use std::collections::{BTreeMap, HashMap};

/// Most callers of one resource that are kept apart; those that have used nothing within the window are forgotten first.
const CALLERS_MAX: usize = 10_000;
/// Most lines of a report.
const REPORT_MAX: usize = 1_000;
/// Bytes of a MB, as the limits of storage are written.
const MB: f64 = 1_048_576.0;

/// One use, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) resource: String,
    /// The id of another node; empty for this one's user.
    pub(crate) caller: String,
    /// From when it counts, in milliseconds since 1970.
    pub(crate) stamp: u64,
    pub(crate) amount: u64,
}

/// What somebody asks for.
pub(crate) struct Demand<'a> {
    pub(crate) resource: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) amount: u64,
    pub(crate) used: Option<u64>,
    pub(crate) used_total: Option<u64>,
}

/// What somebody gets.
#[derive(Debug, PartialEq)]
pub(crate) struct Grant {
    pub(crate) used: u64,
    pub(crate) remaining: Option<u64>,
    /// What has to be on disk before it is told.
    pub(crate) record: Option<Use>,
}

/// All resources that have a limit.
pub(crate) struct Ledger {
    accounts: BTreeMap<String, Account>,
}

struct Account {
    rule: QuotaRule,
    /// The rest is empty for resources that their providers count.
    window_milliseconds: Option<u64>,
    grain: u64,
    callers: HashMap<String, Window>,
    total: Window,
    /// What providers said last.
    told_total: Option<u64>,
    told: HashMap<String, u64>,
}

impl Ledger {
    pub(crate) fn new(rules: &QuotaRuleList) -> Ledger {
        let accounts = rules.rules.iter().map(|(resource, rule)| (resource.clone(), Account::new(rule.clone())));
        Ledger { accounts: accounts.collect() }
    }

    pub(crate) fn rules(&self) -> QuotaRuleList {
        let rules = self.accounts.iter().map(|(resource, account)| (resource.clone(), account.rule.clone()));
        QuotaRuleList { rules: rules.collect() }
    }

    /// The resources that are counted over a time, and how long that is, in milliseconds.
    pub(crate) fn windows(&self) -> Vec<(String, u64)> {
        let windows = self
            .accounts
            .iter()
            .filter_map(|(resource, account)| Some((resource.clone(), account.window_milliseconds?)));
        windows.collect()
    }

    /// The resources that their providers count.
    pub(crate) fn stocks(&self) -> Vec<String> {
        let stocks = self.accounts.iter().filter(|(_, account)| account.window_milliseconds.is_none());
        stocks.map(|(resource, _)| resource.clone()).collect()
    }

    /// Takes in what a provider says that there is.
    pub(crate) fn held(&mut self, resource: &str, held: Held) {
        if let Some(account) = self.accounts.get_mut(resource) {
            account.told_total = Some(held.used_total);
            account.told = held.callers.into_iter().filter(|(_, used)| *used > 0).take(CALLERS_MAX).collect();
        }
    }

    /// Takes in what was used before the provider started, in the order of time.
    pub(crate) fn remember(&mut self, uses: &[Use], now: u64) {
        for one in uses {
            let Some(account) = self.accounts.get_mut(&one.resource) else { continue };
            if account.window_milliseconds.is_none() {
                continue;
            }
            // A clock that was wrong must not lock anybody out for years.
            let stamp = one.stamp.min(now.saturating_add(account.grain));
            account.callers.entry(one.caller.clone()).or_default().add(stamp, one.amount);
            account.total.add(stamp, one.amount);
        }
    }

    /// Grants what is asked for, or says why not.
    pub(crate) fn take(&mut self, demand: &Demand<'_>, now: u64) -> Result<Grant, Refusal> {
        let Some(account) = self.accounts.get_mut(demand.resource) else {
            return Ok(Grant { used: demand.used.unwrap_or_default(), remaining: None, record: None });
        };
        let own_limit = if demand.caller.is_empty() { account.rule.local } else { account.rule.member };
        match account.window_milliseconds {
            None => account.take_of_stock(demand, own_limit),
            // Who has no limit is not counted.
            Some(_) if own_limit.is_none() && account.rule.total.is_none() => {
                Ok(Grant { used: 0, remaining: None, record: None })
            }
            Some(window) => account.take_of_window(demand, own_limit, now, window),
        }
    }

    pub(crate) fn status(&mut self, now: u64) -> QuotaStatus {
        let mut status = QuotaStatus { limits: self.rules().rules, ..QuotaStatus::default() };
        if let Some(tasks) = self.accounts.get_mut(CPU_TASKS) {
            if let Some(window) = tasks.window_milliseconds {
                tasks.total.expire(now, window);
            }
            status.cpu_tasks = WindowStatus {
                used: tasks.total.used(),
                limit: tasks.shown_limit(),
                window_seconds: tasks.rule.window_seconds,
            };
        }
        if let Some(keys) = self.accounts.get(MEMORY_KEYS) {
            status.memory_keys = GaugeStatus { used: keys.told_total, limit: keys.shown_limit() };
        }
        if let Some(storage) = self.accounts.get(STORAGE_BYTES) {
            let (used_bytes, limit_bytes) = (storage.told_total, storage.shown_limit());
            status.storage = StorageStatus {
                used_mb: used_bytes.map(|bytes| bytes as f64 / MB),
                limit_mb: limit_bytes.map(|bytes| bytes as f64 / MB),
                used_bytes,
                limit_bytes,
            };
        }
        status
    }

    /// What each caller has used; only one of them when it is named.
    pub(crate) fn report(&mut self, only: Option<&str>, now: u64) -> Vec<CallerUsage> {
        let mut lines = Vec::new();
        for (resource, account) in &mut self.accounts {
            let mut names: Vec<String> = account.callers.keys().chain(account.told.keys()).cloned().collect();
            names.retain(|name| only.is_none_or(|only| only == name));
            names.sort();
            names.dedup();
            for caller in names {
                if lines.len() >= REPORT_MAX {
                    return lines;
                }
                let (mut used, mut frees_in) = (account.told.get(&caller).copied().unwrap_or_default(), None);
                if let (Some(window), Some(uses)) = (account.window_milliseconds, account.callers.get_mut(&caller)) {
                    uses.expire(now, window);
                    used = uses.used();
                    frees_in = uses.frees_in(1, now, window).map(|milliseconds| milliseconds as f64 / 1e3);
                }
                let limit = if caller.is_empty() { account.rule.local } else { account.rule.member };
                let caller = if caller.is_empty() { "local".to_owned() } else { caller };
                lines.push(CallerUsage { caller, resource: resource.clone(), used, limit, frees_in_seconds: frees_in });
            }
        }
        lines
    }
}

impl Account {
    fn new(rule: QuotaRule) -> Account {
        let window_milliseconds = rule.window_seconds.map(|seconds| ((seconds * 1e3).round() as u64).max(1));
        let largest = [rule.local, rule.member, rule.total].into_iter().flatten().max().unwrap_or_default();
        let grain = window_milliseconds.map_or(1, |window| grain_milliseconds(largest, window));
        Account {
            rule,
            window_milliseconds,
            grain,
            callers: HashMap::new(),
            total: Window::default(),
            told_total: None,
            told: HashMap::new(),
        }
    }

    /// The limit that is shown first.
    fn shown_limit(&self) -> Option<u64> {
        self.rule.total.or(self.rule.member)
    }

    fn take_of_stock(&mut self, demand: &Demand<'_>, own_limit: Option<u64>) -> Result<Grant, Refusal> {
        let used = demand.used.unwrap_or_default();
        let used_total = demand.used_total.unwrap_or(used);
        let limits = [(own_limit, used, false), (self.rule.total, used_total, true)];
        for (limit, used, is_total) in limits {
            if let Some(limit) = limit.filter(|limit| used.saturating_add(demand.amount) > *limit) {
                self.tell(demand.caller, used, used_total);
                return Err(self.refusal(demand, limit, used, is_total, None));
            }
        }
        let used = used.saturating_add(demand.amount);
        let used_total = used_total.saturating_add(demand.amount);
        self.tell(demand.caller, used, used_total);
        Ok(Grant { used, remaining: left([(own_limit, used), (self.rule.total, used_total)]), record: None })
    }

    fn tell(&mut self, caller: &str, used: u64, used_total: u64) {
        self.told_total = Some(used_total);
        if self.told.len() < CALLERS_MAX || self.told.contains_key(caller) {
            self.told.insert(caller.to_owned(), used);
        }
    }

    fn take_of_window(
        &mut self,
        demand: &Demand<'_>,
        own_limit: Option<u64>,
        now: u64,
        window: u64,
    ) -> Result<Grant, Refusal> {
        self.total.expire(now, window);
        if !self.callers.contains_key(demand.caller) && self.callers.len() >= CALLERS_MAX {
            self.callers.retain(|_, uses| {
                uses.expire(now, window);
                !uses.is_empty()
            });
            if self.callers.len() >= CALLERS_MAX {
                return Err(Refusal::Callers(CALLERS_MAX));
            }
        }
        let own = self.callers.entry(demand.caller.to_owned()).or_default();
        own.expire(now, window);
        let limits = [(own_limit, own.used(), false), (self.rule.total, self.total.used(), true)];
        for (limit, used, is_total) in limits {
            let Some(limit) = limit.filter(|limit| used.saturating_add(demand.amount) > *limit) else { continue };
            let uses = if is_total { &self.total } else { &*own };
            // What is more than the whole limit is never granted.
            let wait = (demand.amount <= limit)
                .then(|| uses.frees_in(used.saturating_add(demand.amount) - limit, now, window))
                .flatten();
            return Err(self.refusal(demand, limit, used, is_total, wait));
        }
        let stamp = stamp(now, self.grain);
        own.add(stamp, demand.amount);
        self.total.add(stamp, demand.amount);
        let used = own.used();
        let remaining = left([(own_limit, used), (self.rule.total, self.total.used())]);
        let record = (demand.amount > 0).then(|| Use {
            resource: demand.resource.to_owned(),
            caller: demand.caller.to_owned(),
            stamp,
            amount: demand.amount,
        });
        Ok(Grant { used, remaining, record })
    }

    fn refusal(&self, demand: &Demand<'_>, limit: u64, used: u64, is_total: bool, wait: Option<u64>) -> Refusal {
        Refusal::Exceeded {
            resource: demand.resource.to_owned(),
            limit,
            window_seconds: self.rule.window_seconds,
            used,
            is_total,
            amount: demand.amount,
            retry_after_milliseconds: wait,
        }
    }
}

/// What is left under the tighter limit.
fn left(limits: [(Option<u64>, u64); 2]) -> Option<u64> {
    limits.into_iter().filter_map(|(limit, used)| Some(limit?.saturating_sub(used))).min()
}
