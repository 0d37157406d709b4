//! Values on the command line of the operating system.

use potluck_sdk::PeerId;

/// A resource and a number of its units, as `CPU=2`; one unit without a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) resource: String,
    pub(crate) units: i64,
}

pub(super) fn units(text: &str) -> Result<Units, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A resource that is called so can still be named, with its units.
        return Err(format!("write a resource and its units as one word, such as CPU={text}"));
    }
    let (resource, units) = text.split_once('=').unwrap_or((text, "1"));
    match units.parse() {
        Ok(units) if !resource.is_empty() => Ok(Units { resource: resource.to_owned(), units }),
        _ => Err("write RESOURCE=UNITS, such as CPU=2, or RESOURCE for one unit".to_owned()),
    }
}

/// A number, also a hexadecimal one.
pub(super) fn address(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "write an address, such as 4096 or 0x1000".to_owned())
}

/// The name of a process, as nodes call it: behind an @ stands the id of its node. Nobody has another name with an @, so
/// what was taken in it would belong to nobody.
pub(super) fn process_name(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some((process, peer)) if process.is_empty() || process.contains('@') || !is_peer_id(peer) => {
            Err("write a name without @, or PROCESS@PEER with the id of a peer; `potluck peers` shows the ids"
                .to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Names are compared as texts, so an id in capitals is nobody's.
fn is_peer_id(text: &str) -> bool {
    text.parse::<PeerId>().is_ok_and(|id| id.to_string() == text)
}

/// A number that cannot be negative.
pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number, 0 or above".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_an_at_sign_stands_a_peer() {
        let id = PeerId::from_hash([1; 16]);
        for name in ["P7", "client-1", "", &format!("P7@{id}")] {
            assert_eq!(process_name(name).as_deref(), Ok(name));
        }
        for name in ["a@b", "P7@127.0.0.1:9000", "P7@", "@", &format!("@{id}"), &format!("a@b@{id}")] {
            assert!(process_name(name).is_err_and(|hint| hint.contains("PROCESS@PEER")), "{name}");
        }
    }

    #[test]
    fn units_have_a_name_and_a_number() {
        assert_eq!(units("CPU=2"), Ok(Units { resource: "CPU".to_owned(), units: 2 }));
        assert_eq!(units("CPU"), Ok(Units { resource: "CPU".to_owned(), units: 1 }));
        assert_eq!(units("CPU=-2").map(|units| units.units), Ok(-2), "the node refuses it, with its reason");
        for text in ["", "=2", "CPU=", "CPU=x", "2"] {
            assert!(units(text).is_err(), "{text}");
        }
        assert!(units("2").is_err_and(|hint| hint.contains("CPU=2")), "`CPU 2` is a slip of the pen");
        assert_eq!(units("2=3").map(|units| units.resource).as_deref(), Ok("2"));
        assert_eq!((address("0x10"), address("16")), (Ok(16), Ok(16)));
        assert!(address("ten").is_err());
        assert_eq!((number("0"), number("-1").is_err(), number("many").is_err()), (Ok(0), true, true));
    }
}
