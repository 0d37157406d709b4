//! Everything about a pool that is read from a text: memberships, revocations, tokens, and the file `pool.json`.
//!
//! The first byte of an input says what the rest is. Signed texts come in two kinds: whole, as they arrive over the
//! network, and as the content that is signed here, because nobody guesses a signature. So do tokens, for the checksum.

use super::keys::{OWN, POOL, key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use potluck_host::key::KeyPair;
use potluck_host::pool::Standing;
use potluck_host::pool::membership::{Membership, clean_name, pool_id};
use potluck_host::pool::revocations::Revocations;
use potluck_host::pool::token::{JoinToken, TokenError, is_address};
use potluck_sdk::PeerId;
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use std::sync::OnceLock;

pub(super) const OUTCOMES: &[&str] = &[
    "refused",
    "a membership",
    "a signed membership",
    "revocations",
    "signed revocations",
    "a token",
    "the content of a token",
    "a new token",
    "no new token",
    "a standing",
];

const MEMBERSHIP_LABEL: &[u8] = b"potluck membership 1\0";
const REVOCATIONS_LABEL: &[u8] = b"potluck revocations 1\0";
const NOW_UNIX_SECONDS: u64 = 2_000_000_000;

struct Keys {
    pool: KeyPair,
    own: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys { pool: key(POOL), own: key(OWN) })
}

/// Reads a text, and what can be made of it once more.
pub fn membership(data: &[u8]) -> &'static str {
    let Some((kind, rest)) = data.split_first() else { return "refused" };
    // These are bytes, all else is text.
    match kind {
        b's' => return standing(rest),
        b'C' => return read_token(&with_checksum(rest)).map_or("refused", |()| "the content of a token"),
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(rest) else { return "no text" };
    let outcome = match kind {
        b'm' => read_membership(text).map(|()| "a membership"),
        b'M' => read_membership(&signed(MEMBERSHIP_LABEL, text)).map(|()| "a signed membership"),
        b'r' => read_revocations(text).map(|()| "revocations"),
        b'R' => read_revocations(&signed(REVOCATIONS_LABEL, text)).map(|()| "signed revocations"),
        b't' => read_token(text).map(|()| "a token"),
        b'T' => return new_token(text),
        _ => None,
    };
    outcome.unwrap_or("refused")
}

/// As `sign_text` in the host does it.
fn signed(label: &[u8], payload: &str) -> String {
    let signature = keys().pool.sign(label, payload.as_bytes());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(signature))
}

fn read_membership(text: &str) -> Option<()> {
    let pool = keys().pool.public();
    let membership = Membership::verify(text, &pool).ok()?;
    assert_eq!(membership.pool_id, pool_id(&pool));
    assert_eq!(membership.peer_id, membership.key.peer_id());
    assert_eq!(clean_name(&membership.name), membership.name);
    assert_eq!(membership.check_time(NOW_UNIX_SECONDS).is_ok(), NOW_UNIX_SECONDS < membership.expires_unix_seconds);
    assert!(membership.check_time(u64::MAX).is_err());
    let Some(lifetime) = membership.expires_unix_seconds.checked_sub(membership.issued_unix_seconds) else {
        return Some(());
    };
    let (name, issued) = (&membership.name, membership.issued_unix_seconds);
    let again = Membership::issue(&keys().pool, &membership.key, name, issued, lifetime);
    assert_eq!(Membership::verify(&again, &pool), Ok(membership));
    Some(())
}

fn read_revocations(text: &str) -> Option<()> {
    let pool = keys().pool.public();
    let revocations = Revocations::verify(text, &pool).ok()?;
    let ids: Vec<PeerId> = revocations.revoked.iter().copied().collect();
    assert!(ids.iter().all(|id| revocations.contains(id)));
    let again = Revocations::issue(&keys().pool, revocations.version, &ids);
    assert_eq!(Revocations::verify(&again, &pool), Ok(revocations));
    Some(())
}

fn read_token(text: &str) -> Option<()> {
    let token: JoinToken = text.parse().ok()?;
    assert!(token.addresses().iter().all(|address| is_address(address)));
    // There is one text for each token, apart from the space around it.
    assert_eq!(token.to_string(), text.trim());
    Some(())
}

fn with_checksum(content: &[u8]) -> String {
    // SHA-256, of which rustls has one.
    let hash = TLS13_CHACHA20_POLY1305_SHA256.tls13().unwrap().common.hash_provider.hash(content);
    format!("potluck-{}", URL_SAFE_NO_PAD.encode([content, &hash.as_ref()[..4]].concat()))
}

/// A token for the addresses in a text, one a line.
fn new_token(text: &str) -> &'static str {
    let addresses: Vec<String> = text.lines().map(str::to_owned).collect();
    let made = JoinToken::generate(pool_id(&keys().pool.public()), [3; 32], text.len() as u64, addresses.clone());
    match made {
        Ok(token) => {
            let read: JoinToken = token.to_string().parse().unwrap();
            assert_eq!(read.addresses(), addresses);
            assert_eq!((read.pool_id, read.token_id, read.secret), (token.pool_id, token.token_id, token.secret));
            "a new token"
        }
        Err(TokenError::InvalidAddress(_)) => {
            assert!(!addresses.iter().all(|address| is_address(address)));
            "no new token"
        }
        Err(error) => {
            assert_eq!(error, TokenError::TooManyAddresses);
            assert!(addresses.len() > 5, "{} addresses fit, however long", addresses.len());
            "no new token"
        }
    }
}

fn standing(file: &[u8]) -> &'static str {
    let own = keys().own.public();
    let Ok(standing) = Standing::parse(file, &own) else { return "refused" };
    assert_eq!(standing.pool_id, pool_id(&standing.pool_key));
    assert_eq!(standing.membership.key, own);
    assert!(Revocations::verify(standing.revocations_text(), &standing.pool_key).is_ok());
    // Who believes the file believes its own membership too, while it lasts.
    let admitted = standing.admit(&standing.hello(), &own, NOW_UNIX_SECONDS);
    let is_member = standing.membership.check_time(NOW_UNIX_SECONDS).is_ok() && !standing.is_revoked(&own.peer_id());
    assert_eq!(admitted.is_ok(), is_member, "{admitted:?}");
    "a standing"
}
