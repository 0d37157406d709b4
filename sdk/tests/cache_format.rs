//! The text of the messages of the provider `cache`, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cache::*;

#[test]
fn what_the_scheduler_asks() {
    golden(
        &CacheGet { key: "k".into(), wait: true, timeout_seconds: Some(2.5) },
        r#"{"type":"CACHE_GET","key":"k","wait":true,"timeout_seconds":2.5}"#,
    );
    let least: CacheGet<'_> = serde_json::from_str(r#"{"type":"CACHE_GET","key":"k"}"#).unwrap();
    assert!(!least.wait && least.timeout_seconds.is_none());
    let value = RawValue::from_string(r#"{"result": 1.50}"#.to_owned()).unwrap();
    golden(
        &CachePut { key: "k".into(), value: &value, lease: Some(7), ttl_seconds: Some(60.0) },
        r#"{"type":"CACHE_PUT","key":"k","value":{"result": 1.50},"lease":7,"ttl_seconds":60.0}"#,
    );
    let abandon = |for_good| CacheAbandon { key: "k".into(), lease: 7, for_good };
    golden(&abandon(false), r#"{"type":"CACHE_ABANDON","key":"k","lease":7}"#);
    golden(&abandon(true), r#"{"type":"CACHE_ABANDON","key":"k","lease":7,"for_good":true}"#);
    golden(&CacheRules {}, r#"{"type":"CACHE_RULES"}"#);
    golden(
        &CacheEntry { found: true, value: Some(&value), lease: None },
        r#"{"type":"CACHE_ENTRY","found":true,"value":{"result": 1.50}}"#,
    );
    golden(
        &CacheEntry { found: false, value: None, lease: Some(7) },
        r#"{"type":"CACHE_ENTRY","found":false,"lease":7}"#,
    );
    golden(&CacheStored { status: "OK", stored: true }, r#"{"type":"STATUS","status":"OK","stored":true}"#);
    golden(&CacheAbandoned { status: "OK" }, r#"{"type":"STATUS","status":"OK"}"#);
    golden(&CacheRulesReply { assume_pure: true }, r#"{"type":"CACHE_RULES","assume_pure":true}"#);
    golden(&CacheRulesChanged { assume_pure: true }, r#"{"assume_pure":true}"#);
}

#[test]
fn what_the_user_asks() {
    golden(&CacheStatistics {}, r#"{"type":"CACHE_STATISTICS"}"#);
    golden(&CacheClear {}, r#"{"type":"CACHE_CLEAR"}"#);
    golden(&CacheCleared { status: "OK", removed: 3 }, r#"{"type":"STATUS","status":"OK","removed":3}"#);
    let cache = CacheUsage {
        size: 1,
        max_size: 100,
        hits: 3,
        misses: 1,
        hit_rate: 0.75,
        bytes: 20,
        bytes_max: 1000,
        ttl_seconds: 3600.0,
        evictions: 4,
        expirations: 5,
        waiting: 6,
        leases: 7,
        assume_pure: false,
    };
    golden(
        &CacheStatisticsReply { status: "OK".to_owned(), cache },
        r#"{"type":"STATUS","status":"OK","cache":{"size":1,"max_size":100,"hits":3,"misses":1,"hit_rate":0.75,"bytes":20,"bytes_max":1000,"ttl_seconds":3600.0,"evictions":4,"expirations":5,"waiting":6,"leases":7,"assume_pure":false}}"#,
    );
}
