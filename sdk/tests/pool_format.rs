//! The text of the messages about pools, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::PeerId;
use potluck_sdk::message::pool::*;
use potluck_sdk::message::to_json;

const ID: &str = "abababab-abab-8bab-abab-abababababab";

fn id() -> PeerId {
    PeerId::from_hash([0xab; 16])
}

#[test]
fn the_first_words_between_nodes() {
    golden(
        &Hello { pool_id: id(), membership: "m.s".into() },
        &format!(r#"{{"type":"HELLO","pool_id":"{ID}","membership":"m.s"}}"#),
    );
    golden(
        &Join { pool_id: id(), token_id: "0011".into(), proof: "p".into(), name: "desk".into() },
        &format!(r#"{{"type":"JOIN","pool_id":"{ID}","token_id":"0011","proof":"p","name":"desk"}}"#),
    );
    golden(
        &MembershipReply {
            membership: "m.s".to_owned(),
            pool_key: "k".to_owned(),
            pool_name: "lab".to_owned(),
            revocations: "r.s".to_owned(),
        },
        r#"{"type":"MEMBERSHIP","membership":"m.s","pool_key":"k","pool_name":"lab","revocations":"r.s"}"#,
    );
    golden(&RenewMembership {}, r#"{"type":"RENEW_MEMBERSHIP"}"#);
    golden(&WatchRevocations { version: 3 }, r#"{"type":"WATCH_REVOCATIONS","version":3}"#);
    golden(&RevocationsReply { revocations: "r.s".to_owned() }, r#"{"type":"REVOCATIONS","revocations":"r.s"}"#);
    golden(&Authenticate { token: "t".into() }, r#"{"type":"AUTHENTICATE","token":"t"}"#);
}

#[test]
fn what_the_user_asks_of_a_node() {
    golden(&Identity {}, r#"{"type":"IDENTITY"}"#);
    golden(
        &PoolJoin { token: "t".to_owned(), name: Some("desk".to_owned()), address: None },
        r#"{"type":"POOL_JOIN","token":"t","name":"desk"}"#,
    );
    golden(&PoolLeave {}, r#"{"type":"POOL_LEAVE"}"#);
    golden(&PoolTokens {}, r#"{"type":"POOL_TOKENS"}"#);
    golden(&PoolMembers {}, r#"{"type":"POOL_MEMBERS"}"#);
    golden(&PoolRevoke { peer: "bert".to_owned() }, r#"{"type":"POOL_REVOKE","peer":"bert"}"#);
    golden(&PoolReadmit { peer: "bert".to_owned() }, r#"{"type":"POOL_READMIT","peer":"bert"}"#);
    golden(&PoolCancelToken { token_id: "0011".to_owned() }, r#"{"type":"POOL_CANCEL_TOKEN","token_id":"0011"}"#);
    golden(&PoolDiscover {}, r#"{"type":"POOL_DISCOVER"}"#);
    let create: PoolCreate = serde_json::from_str(r#"{"type":"POOL_CREATE","reusable":true}"#).unwrap();
    assert!(create.terms.reusable && create.pool_name.is_none());
    assert_eq!(to_json(&create), r#"{"type":"POOL_CREATE","reusable":true}"#);
    let token: PoolToken =
        serde_json::from_str(r#"{"type":"POOL_TOKEN","valid_seconds":60,"addresses":["a:1"]}"#).unwrap();
    assert_eq!(token.terms.valid_seconds, Some(60));
    assert_eq!(to_json(&token), r#"{"type":"POOL_TOKEN","reusable":false,"valid_seconds":60,"addresses":["a:1"]}"#);
}

#[test]
fn what_a_node_answers() {
    golden(
        &PoolTokenReply {
            pool_id: id(),
            token: "potluck-x".to_owned(),
            token_id: "0011".to_owned(),
            reusable: false,
            expires_unix_seconds: 9,
            addresses: vec!["192.0.2.7:8888".to_owned()],
            note: None,
        },
        &format!(
            r#"{{"type":"POOL_TOKEN","pool_id":"{ID}","token":"potluck-x","token_id":"0011","reusable":false,"expires_unix_seconds":9,"addresses":["192.0.2.7:8888"]}}"#
        ),
    );
    golden(
        &PoolTokenList {
            tokens: vec![TokenEntry {
                token_id: "0011".to_owned(),
                reusable: true,
                created_unix_seconds: 1,
                expires_unix_seconds: 9,
                uses: 2,
                state: "valid".into(),
            }],
        },
        r#"{"type":"POOL_TOKEN_LIST","tokens":[{"token_id":"0011","reusable":true,"created_unix_seconds":1,"expires_unix_seconds":9,"uses":2,"state":"valid"}]}"#,
    );
    golden(
        &PoolMemberList {
            pool_id: id(),
            members: vec![MemberEntry {
                peer_id: id(),
                name: "desk".to_owned(),
                fingerprint: "SHA256:x".to_owned(),
                joined_unix_seconds: 1,
                token_id: None,
                revoked_unix_seconds: Some(2),
                connected: false,
            }],
        },
        &format!(
            r#"{{"type":"POOL_MEMBER_LIST","pool_id":"{ID}","members":[{{"peer_id":"{ID}","name":"desk","fingerprint":"SHA256:x","joined_unix_seconds":1,"token_id":null,"revoked_unix_seconds":2,"connected":false}}]}}"#
        ),
    );
    golden(
        &PoolDone { status: "REVOKED".into(), pool_id: id(), peer_id: Some(id()), note: None },
        &format!(r#"{{"type":"STATUS","status":"REVOKED","pool_id":"{ID}","peer_id":"{ID}"}}"#),
    );
    golden(
        &PoolDiscovered {
            trackers: vec![DiscoveredTracker {
                pool_id: id(),
                addresses: vec!["192.0.2.7:8888".to_owned()],
                own_pool: true,
            }],
        },
        &format!(
            r#"{{"type":"POOL_DISCOVERED","trackers":[{{"pool_id":"{ID}","addresses":["192.0.2.7:8888"],"own_pool":true}}]}}"#
        ),
    );
    golden(
        &IdentityReply {
            peer_id: id(),
            alias: None,
            fingerprint: "SHA256:x".to_owned(),
            addresses: vec!["127.0.0.1:9000".to_owned()],
            pool: Some(PoolFacts {
                pool_id: id(),
                pool_name: "lab".to_owned(),
                name: "desk".to_owned(),
                is_authority: false,
                tracker_id: id(),
                tracker_addresses: vec!["192.0.2.7:8888".to_owned()],
                expires_unix_seconds: 9,
            }),
        },
        &format!(
            r#"{{"type":"IDENTITY","peer_id":"{ID}","fingerprint":"SHA256:x","addresses":["127.0.0.1:9000"],"pool":{{"pool_id":"{ID}","pool_name":"lab","name":"desk","is_authority":false,"tracker_id":"{ID}","tracker_addresses":["192.0.2.7:8888"],"expires_unix_seconds":9}}}}"#
        ),
    );
}
