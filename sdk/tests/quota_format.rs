//! The text of the messages about quotas, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::Caller;
use potluck_sdk::message::quota::*;
use std::collections::BTreeMap;

fn rules() -> BTreeMap<String, QuotaRule> {
    let tasks = QuotaRule { local: None, member: Some(5), total: Some(9), window_seconds: Some(3600.0) };
    let keys = QuotaRule { member: Some(3), ..QuotaRule::default() };
    BTreeMap::from([(CPU_TASKS.to_owned(), tasks), (MEMORY_KEYS.to_owned(), keys)])
}

const RULES: &str = r#"{"cpu_tasks":{"local":null,"member":5,"total":9,"window_seconds":3600.0},"memory_keys":{"local":null,"member":3,"total":null}}"#;

#[test]
fn asking_for_more() {
    golden(
        &QuotaTake {
            resource: MEMORY_KEYS.into(),
            caller: "member".into(),
            caller_id: "5f0c".into(),
            amount: 1,
            used: Some(2),
            used_total: Some(3),
        },
        r#"{"type":"QUOTA_TAKE","resource":"memory_keys","caller":"member","caller_id":"5f0c","amount":1,"used":2,"used_total":3}"#,
    );
    golden(
        &QuotaTaken { status: "OK", resource: CPU_TASKS.into(), used: 3, remaining: Some(2) },
        r#"{"type":"STATUS","status":"OK","resource":"cpu_tasks","used":3,"remaining":2}"#,
    );
}

#[test]
fn the_rules() {
    golden(&QuotaRules {}, r#"{"type":"QUOTA_RULES"}"#);
    golden(&QuotaRuleList { rules: rules() }, &format!(r#"{{"type":"QUOTA_RULES","rules":{RULES}}}"#));
    let rules = QuotaRuleList { rules: rules() };
    for (resource, caller, expected) in [
        (CPU_TASKS, Caller::Local, false),
        (MEMORY_KEYS, Caller::Local, true),
        (MEMORY_KEYS, Caller::Plugin("cpu"), true),
        (MEMORY_KEYS, Caller::Task("own"), true),
        (MEMORY_KEYS, Caller::Task("other"), false),
        (MEMORY_KEYS, Caller::Member("other"), false),
        (STORAGE_BYTES, Caller::Member("other"), true),
    ] {
        assert_eq!(rules.is_unlimited(resource, &caller, "own"), expected, "{resource} of {caller:?}");
    }
}

#[test]
fn what_there_is() {
    assert_eq!(held_message(MEMORY_KEYS), "HELD_MEMORY_KEYS");
    let callers = BTreeMap::from([(String::new(), 2), ("p".to_owned(), 1)]);
    golden(&Held { used_total: 3, callers }, r#"{"type":"HELD","used_total":3,"callers":{"":2,"p":1}}"#);
}

#[test]
fn what_was_used() {
    golden(&QuotaCheck {}, r#"{"type":"QUOTA_CHECK"}"#);
    let report = QuotaReport {
        status: "OK".to_owned(),
        quota: QuotaStatus {
            cpu_tasks: WindowStatus { used: 2, limit: Some(9), window_seconds: Some(3600.0) },
            memory_keys: GaugeStatus { used: None, limit: Some(3) },
            storage: StorageStatus {
                used_mb: Some(0.5),
                limit_mb: Some(100.0),
                used_bytes: Some(524_288),
                limit_bytes: Some(104_857_600),
            },
            limits: rules(),
        },
        callers: vec![CallerUsage {
            caller: "local".to_owned(),
            resource: CPU_TASKS.to_owned(),
            used: 2,
            limit: None,
            frees_in_seconds: Some(1.5),
        }],
    };
    let text = r#"{"type":"STATUS","status":"OK","quota":{"cpu_tasks":{"used":2,"limit":9,"window_seconds":3600.0},"memory_keys":{"used":null,"limit":3},"storage":{"used_mb":0.5,"limit_mb":100.0,"used_bytes":524288,"limit_bytes":104857600},"limits":RULES},"callers":[{"caller":"local","resource":"cpu_tasks","used":2,"limit":null,"frees_in_seconds":1.5}]}"#;
    golden(&report, &text.replace("RULES", RULES));
}
