//! The token that `potluck join` takes: where a pool's tracker is, how to know it, and the secret that lets a node in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use potluck_sdk::PeerId;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::net::SocketAddrV6;
use std::str::FromStr;

const PREFIX: &str = "potluck-";
const VERSION: u8 = 1;
const TEXT_BYTES_MAX: usize = 2048;
const ADDRESSES_MAX: usize = 8;
const ADDRESS_BYTES_MAX: usize = 255;
const CHECKSUM_BYTES: usize = 4;

/// What a node needs in order to join a pool. Whoever has it can join.
///
/// Its text is `potluck-` and the base64url of: version (1 byte), pool id (16), hash of the tracker's key (32), token
/// id (8), secret (32), end (8, big endian), the number of addresses (1), each address behind its length (1), and the
/// first bytes of SHA-256 over all of this (4). Every version begins with its number and ends with such a checksum.
#[derive(Clone)]
pub struct JoinToken {
    /// The pool.
    pub pool_id: PeerId,
    /// SHA-256 over the tracker's key: the joining node talks to no other.
    pub tracker_key_sha256: [u8; 32],
    /// Names the token, without its secret.
    pub token_id: [u8; 8],
    /// What the joining node proves to know.
    pub secret: [u8; 32],
    /// When it ends.
    pub expires_unix_seconds: u64,
    addresses: Vec<String>,
}

/// Why something is no token, or cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like a token.
    #[error(
        "this is not a join token; a token begins with {PREFIX} and comes from `potluck pool token` on the tracker"
    )]
    NotAToken,
    /// A part is missing or changed.
    #[error("the join token is damaged; copy all of it, from {PREFIX} to its end, without spaces or line breaks")]
    Damaged,
    /// A later Potluck made it.
    #[error("the join token is of version {0} and this node knows version {VERSION}; update Potluck on this machine")]
    NewerVersion(u8),
    /// An address that nobody could use.
    #[error(
        "{0:?} is not an address; write host:port, such as 192.168.1.10:8000, pool.example.org:8000 or [fd00::1]:8000"
    )]
    InvalidAddress(String),
    /// The addresses do not fit.
    #[error("too many addresses for one token, or too long ones; give at most {ADDRESSES_MAX}")]
    TooManyAddresses,
    /// No secret could be made.
    #[error("the system gave no random numbers for a new token")]
    NoRandomNumbers,
}

impl JoinToken {
    /// A new token with a secret of its own. The addresses are those of the tracker, `host:port`.
    pub fn generate(
        pool_id: PeerId,
        tracker_key_sha256: [u8; 32],
        expires_unix_seconds: u64,
        addresses: Vec<String>,
    ) -> Result<JoinToken, TokenError> {
        if let Some(invalid) = addresses.iter().find(|address| !is_address(address)) {
            return Err(TokenError::InvalidAddress(invalid.chars().take(ADDRESS_BYTES_MAX).collect()));
        }
        let random = SystemRandom::new();
        let (mut token_id, mut secret) = ([0; 8], [0; 32]);
        random.fill(&mut token_id).map_err(|_| TokenError::NoRandomNumbers)?;
        random.fill(&mut secret).map_err(|_| TokenError::NoRandomNumbers)?;
        let token = JoinToken { pool_id, tracker_key_sha256, token_id, secret, expires_unix_seconds, addresses };
        if token.addresses.len() > ADDRESSES_MAX || token.to_string().len() > TEXT_BYTES_MAX {
            return Err(TokenError::TooManyAddresses);
        }
        Ok(token)
    }

    /// `host:port` of the tracker; each is well formed, and there may be none.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The token's name, as people and messages write it.
    pub fn token_id_text(&self) -> String {
        self.token_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(uuid_of(&self.pool_id).as_bytes());
        bytes.extend_from_slice(&self.tracker_key_sha256);
        bytes.extend_from_slice(&self.token_id);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.expires_unix_seconds.to_be_bytes());
        // Neither is cut off: `generate` and `from_bytes` keep the bounds.
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            bytes.push(address.len() as u8);
            bytes.extend_from_slice(address.as_bytes());
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<JoinToken, TokenError> {
        let (content, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Damaged)?;
        if *found != checksum(content) {
            return Err(TokenError::Damaged);
        }
        match content.first() {
            Some(&VERSION) => {}
            Some(&version) if version > VERSION => return Err(TokenError::NewerVersion(version)),
            _ => return Err(TokenError::NotAToken),
        }
        JoinToken::from_content(&content[1..]).ok_or(TokenError::Damaged)
    }

    fn from_content(mut rest: &[u8]) -> Option<JoinToken> {
        let pool_id = uuid::Uuid::from_bytes(take(&mut rest)?).to_string().parse().ok()?;
        let tracker_key_sha256 = take(&mut rest)?;
        let token_id = take(&mut rest)?;
        let secret = take(&mut rest)?;
        let expires_unix_seconds = u64::from_be_bytes(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        if usize::from(count) > ADDRESSES_MAX {
            return None;
        }
        let mut addresses = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let [length] = take(&mut rest)?;
            let (address, behind) = rest.split_at_checked(usize::from(length))?;
            rest = behind;
            let address = std::str::from_utf8(address).ok().filter(|address| is_address(address))?;
            addresses.push(address.to_owned());
        }
        let token = JoinToken { pool_id, tracker_key_sha256, token_id, secret, expires_unix_seconds, addresses };
        rest.is_empty().then_some(token)
    }
}

/// Whether a text is `host:port` with a host name, an IPv4 address, or an IPv6 address in brackets, and a port above 0.
pub fn is_address(text: &str) -> bool {
    if text.len() > ADDRESS_BYTES_MAX {
        return false;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    // `parse` alone would take a sign.
    let port_is_valid =
        port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_is_valid = if host.starts_with('[') {
        text.parse::<SocketAddrV6>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    port_is_valid && host_is_valid
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut first = [0; CHECKSUM_BYTES];
    first.copy_from_slice(&digest(&SHA256, content).as_ref()[..CHECKSUM_BYTES]);
    first
}

fn uuid_of(id: &PeerId) -> uuid::Uuid {
    // The text of a peer id is always that of a UUID.
    uuid::Uuid::try_parse(&id.to_string()).unwrap_or_default()
}

impl fmt::Display for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinToken")
            .field("pool_id", &self.pool_id)
            .field("token_id", &self.token_id_text())
            .field("expires_unix_seconds", &self.expires_unix_seconds)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if PREFIX.len() + encoded.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        JoinToken::from_bytes(&URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Damaged)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let addresses = ["192.168.1.10:8000", "[fd00::1]:8000", "pool.example.org:65535"].map(str::to_owned).to_vec();
        JoinToken::generate(PeerId::from_hash([7; 16]), [8; 32], 1_900_000_000, addresses).unwrap()
    }

    fn text_of(content: &[u8]) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([content, &checksum(content)].concat()))
    }

    #[test]
    fn a_token_survives_its_text() {
        let token = token();
        let text = token.to_string();
        let read: JoinToken = format!(" {text}\n").parse().unwrap();
        assert_eq!(read.pool_id, token.pool_id);
        assert_eq!(read.tracker_key_sha256, token.tracker_key_sha256);
        assert_eq!(read.token_id, token.token_id);
        assert_eq!(read.secret, token.secret);
        assert_eq!(read.expires_unix_seconds, token.expires_unix_seconds);
        assert_eq!(read.addresses(), token.addresses());
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn a_token_without_addresses_and_with_an_old_pool_id_survives_its_text() {
        // An id that was not derived from a key has other version bits.
        let pool_id = "5f0c6b1e-1111-4222-8333-444444444444".parse().unwrap();
        let text = JoinToken::generate(pool_id, [0; 32], u64::MAX, Vec::new()).unwrap().to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap().pool_id, pool_id);
        assert_eq!(text.parse::<JoinToken>().unwrap().to_string(), text);
    }

    #[test]
    fn two_tokens_have_different_ids_and_secrets() {
        assert_ne!(token().token_id, token().token_id);
        assert_ne!(token().secret, token().secret);
        assert_eq!(token().token_id_text().len(), 16);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let text = token().to_string();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is not UTF-8 never gets as far as the parser.
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            let expected = if bit / 8 < PREFIX.len() { TokenError::NotAToken } else { TokenError::Damaged };
            assert_eq!(flipped.parse::<JoinToken>().err(), Some(expected), "{flipped}");
        }
    }

    #[test]
    fn a_token_that_was_copied_in_part_is_damaged() {
        let text = token().to_string();
        for length in 0..text.len() {
            let expected = if length < PREFIX.len() { TokenError::NotAToken } else { TokenError::Damaged };
            assert_eq!(text[..length].parse::<JoinToken>().err(), Some(expected));
        }
        assert_eq!(format!("{text}A").parse::<JoinToken>().err(), Some(TokenError::Damaged));
        let broken = format!("{}\n{}", &text[..40], &text[40..]);
        assert_eq!(broken.parse::<JoinToken>().err(), Some(TokenError::Damaged));
    }

    #[test]
    fn a_token_of_a_later_version_says_so() {
        assert_eq!(text_of(&[2, 1, 2, 3]).parse::<JoinToken>().err(), Some(TokenError::NewerVersion(2)));
        assert_eq!(text_of(&[0, 1, 2, 3]).parse::<JoinToken>().err(), Some(TokenError::NotAToken));
        assert_eq!(text_of(&[]).parse::<JoinToken>().err(), Some(TokenError::NotAToken));
    }

    #[test]
    fn a_right_checksum_does_not_excuse_wrong_content() {
        let bytes = token().to_bytes();
        let content = &bytes[..bytes.len() - CHECKSUM_BYTES];
        for length in 1..content.len() {
            assert_eq!(text_of(&content[..length]).parse::<JoinToken>().err(), Some(TokenError::Damaged));
        }
        assert_eq!(text_of(&[content, &[0]].concat()).parse::<JoinToken>().err(), Some(TokenError::Damaged));
        for byte in 0..content.len() {
            let mut other = content.to_vec();
            other[byte] = 0xff;
            // Other ids and secrets are other tokens; the point is that nothing panics.
            let _ = text_of(&other).parse::<JoinToken>();
        }
    }

    #[test]
    fn a_token_keeps_its_bounds() {
        let new = |addresses| JoinToken::generate(PeerId::from_hash([7; 16]), [8; 32], 0, addresses);
        let name = |length: usize| format!("{}:1", "a".repeat(length - 2));
        assert!(new(vec!["a:1".to_owned(); 8]).is_ok());
        assert_eq!(new(vec!["a:1".to_owned(); 9]).err(), Some(TokenError::TooManyAddresses));
        assert_eq!(new(vec![name(255); 8]).err(), Some(TokenError::TooManyAddresses));
        assert!(matches!(new(vec![name(256)]).err(), Some(TokenError::InvalidAddress(_))));
        let longest = new(vec![name(255); 5]).unwrap().to_string();
        assert!(longest.parse::<JoinToken>().is_ok());
        let long = format!("{PREFIX}{}", "A".repeat(TEXT_BYTES_MAX));
        assert_eq!(long.parse::<JoinToken>().err(), Some(TokenError::Damaged));
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in ["a:1", "10.0.0.1:8000", "[::1]:8000", "my_host-2.local:65535"] {
            assert!(is_address(address), "{address}");
        }
        for address in [
            "", ":", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "a b:1", "é:1", "::1:80", "[::1]", "[x]:1", "[::1]:0",
            "a\n:1",
        ] {
            assert!(!is_address(address), "{address}");
        }
    }

    #[test]
    fn a_token_in_a_log_does_not_show_its_secret() {
        let mut token = token();
        (token.token_id, token.secret) = ([0xcd; 8], [0xab; 32]);
        let shown = format!("{token:?}");
        assert!(shown.contains(&token.token_id_text()), "{shown}");
        assert!(
            !shown.contains("171") && !shown.contains("abab") && !shown.contains("secret") && !shown.contains(PREFIX),
            "{shown}"
        );
    }
}
