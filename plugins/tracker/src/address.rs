//! Where a node can be reached.

use crate::error::TrackerError;
use std::fmt;
use std::net::IpAddr;

/// Longest host name that DNS allows.
const HOST_BYTES_MAX: usize = 253;

/// An IP address or host name, in the one way in which it is written here, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) ip: String,
    pub(crate) port: u16,
}

impl Address {
    /// Checks an address that a message names; loopback when it names none.
    pub(crate) fn new(ip: Option<&str>, port: u16) -> Result<Address, TrackerError> {
        let ip = match ip {
            None | Some("") => "127.0.0.1".to_owned(),
            Some(text) => match text.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().to_string(),
                Err(_) if is_host_name(text) => text.to_ascii_lowercase(),
                Err(_) => return Err(TrackerError::Address),
            },
        };
        Ok(Address { ip, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As `PeerEntry::address` writes it: watchers compare the texts.
        write!(formatter, "{}:{}", self.ip, self.port)
    }
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_one_way() {
        let ip = |text| Address::new(Some(text), 1).map(|address| address.ip);
        assert_eq!(ip("").as_deref(), Ok("127.0.0.1"));
        assert_eq!(ip("::ffff:10.0.0.7").as_deref(), Ok("10.0.0.7"));
        assert_eq!(ip("0:0::1").as_deref(), Ok("::1"));
        assert_eq!(ip("Lab-3.Example").as_deref(), Ok("lab-3.example"));
        for text in ["a b", "http://a", "a..b", ".", "a/b", "10.0.0.7:9000", &"a".repeat(254), "ä"] {
            assert_eq!(ip(text), Err(TrackerError::Address), "{text}");
        }
    }
}
