//! The proof with which a joining node shows that it has a token's secret, without ever sending the secret.

use crate::key::PublicKey;
use potluck_sdk::PeerId;
use ring::digest::{SHA256, digest};
use ring::hmac;

const JOIN_KEY_LABEL: &[u8] = b"potluck join key 1\0";
const PROOF_LABEL: &[u8] = b"potluck join proof 1\0";

/// The key of the proof. The tracker stores this one, so that nobody reads a token out of its registry.
pub fn join_key(secret: &[u8; 32]) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &[JOIN_KEY_LABEL, secret].concat()).as_ref());
    key
}

/// The proof for one connection, one joining node and one pool. On another connection it is worth nothing.
pub fn prove(join_key: &[u8; 32], channel_binding: &[u8; 32], joiner: &PublicKey, pool_id: PeerId) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, join_key);
    let mut proof = [0; 32];
    proof.copy_from_slice(hmac::sign(&key, &message(channel_binding, joiner, pool_id)).as_ref());
    proof
}

/// Whether a proof is the right one; takes as long for a wrong one.
pub fn verify(
    join_key: &[u8; 32],
    channel_binding: &[u8; 32],
    joiner: &PublicKey,
    pool_id: PeerId,
    proof: &[u8],
) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, join_key);
    hmac::verify(&key, &message(channel_binding, joiner, pool_id), proof).is_ok()
}

/// Every part has a fixed length, so no two sets of parts make the same message.
fn message(channel_binding: &[u8; 32], joiner: &PublicKey, pool_id: PeerId) -> Vec<u8> {
    [PROOF_LABEL, pool_id.to_string().as_bytes(), channel_binding, &joiner.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_secret_connection_joiner_and_pool_only() {
        let (key, binding, joiner) = (join_key(&[1; 32]), [2; 32], PublicKey([3; 32]));
        let pool = PeerId::from_hash([4; 16]);
        let proof = prove(&key, &binding, &joiner, pool);
        assert!(verify(&key, &binding, &joiner, pool, &proof));
        assert!(!verify(&join_key(&[9; 32]), &binding, &joiner, pool, &proof));
        assert!(!verify(&key, &[9; 32], &joiner, pool, &proof));
        assert!(!verify(&key, &binding, &PublicKey([9; 32]), pool, &proof));
        assert!(!verify(&key, &binding, &joiner, PeerId::from_hash([9; 16]), &proof));
    }

    #[test]
    fn no_other_proof_is_accepted() {
        let (key, binding, joiner) = (join_key(&[1; 32]), [2; 32], PublicKey([3; 32]));
        let pool = PeerId::from_hash([4; 16]);
        let proof = prove(&key, &binding, &joiner, pool);
        for bit in 0..256 {
            let mut other = proof;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&key, &binding, &joiner, pool, &other), "bit {bit}");
        }
        for length in 0..proof.len() {
            assert!(!verify(&key, &binding, &joiner, pool, &proof[..length]), "{length} bytes");
        }
        assert!(!verify(&key, &binding, &joiner, pool, &[&proof[..], &[0]].concat()));
    }

    #[test]
    fn the_join_key_does_not_show_the_secret() {
        assert_ne!(join_key(&[1; 32]), [1; 32]);
        assert_ne!(join_key(&[1; 32]), join_key(&[2; 32]));
    }
}
