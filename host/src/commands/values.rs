//! Values on the command line that are more than text or a number.

use potluck_sdk::message::RawValue;

/// A field of a message, as `potluck send` takes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) value: Box<RawValue>,
}

/// `key=value`, where the value is JSON, else a text.
pub(crate) fn member(text: &str) -> Result<Member, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Member { name: name.to_owned(), value: json_or_text(value)? }),
        _ => Err("write KEY=VALUE, such as key=5 or key=text".to_owned()),
    }
}

/// The text itself when it is one JSON value, digit for digit; else a JSON string with the text.
pub(crate) fn json_or_text(text: &str) -> Result<Box<RawValue>, String> {
    match RawValue::from_string(text.trim().to_owned()) {
        Ok(value) => Ok(value),
        Err(_) => text_value(text),
    }
}

/// A JSON string with the text.
pub(crate) fn text_value(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(text).map_err(|error| error.to_string())
}

/// The arguments of a task: a JSON array as it is, anything else as the only argument.
pub(crate) fn arguments(text: &str) -> Result<Box<RawValue>, String> {
    let value = json_or_text(text)?;
    if value.get().starts_with('[') {
        return Ok(value);
    }
    RawValue::from_string(format!("[{value}]")).map_err(|error| error.to_string())
}

/// A duration in seconds: finite and not negative, since JSON has no other numbers.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("write a number of seconds, such as 10 or 0.5".to_owned()),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn host_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            if host.contains(':') && !bracketed {
                return Err("write an IPv6 address in brackets, such as [::1]:8888".to_owned());
            }
            Ok(text.to_owned())
        }
        _ => Err("write HOST:PORT, such as 127.0.0.1:8888".to_owned()),
    }
}

/// An address to connect to; an IPv6 address gets its brackets.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A number of bytes with the suffixes of the GNU tools: K and KiB are 1024, KB is 1000, and so on up to T.
pub(crate) fn byte_size(text: &str) -> Result<u64, String> {
    let mistake = || format!("{text:?} is no size; write a number of bytes, or a size such as 512M, 1.5GiB or 64KB");
    let text_trimmed = text.trim();
    let digits_end = text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text_trimmed.len());
    let (number, suffix) = text_trimmed.split_at(digits_end);
    let unit = unit_bytes(suffix.trim()).ok_or_else(mistake)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 12 {
        return Err(mistake());
    }
    let whole: u128 = whole.parse().map_err(|_| mistake())?;
    let fraction_value: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| mistake())? };
    let scale = (0..fraction.len()).fold(1_u128, |scale, _| scale * 10);
    whole
        .checked_mul(unit)
        .and_then(|bytes| bytes.checked_add(fraction_value * unit / scale))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(mistake)
}

fn unit_bytes(suffix: &str) -> Option<u128> {
    let suffix = suffix.to_ascii_lowercase();
    if suffix.is_empty() || suffix == "b" {
        return Some(1);
    }
    let power = ["k", "m", "g", "t"].iter().position(|letter| suffix.starts_with(letter))?;
    let base: u128 = match &suffix[1..] {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    Some((0..=power).fold(1, |unit, _| unit * base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_suffixes_of_the_gnu_tools() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100B", 100),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1GiB", 1 << 30),
            ("1 GiB", 1 << 30),
            ("1.5G", 3 << 29),
            ("64KB", 64_000),
            ("2tib", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.2.3", "5X", "5MiBs", ".5G", "1e3", "18446744073709551616", "99999999999T", "１"]
        {
            assert!(byte_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_are_an_array_or_one_argument() {
        let big = format!("[1{}]", "0".repeat(300));
        for (text, json) in [
            ("[5, \"a\"]", "[5, \"a\"]"),
            (" [5] ", "[5]"),
            ("5", "[5]"),
            ("{\"a\":1}", "[{\"a\":1}]"),
            ("null", "[null]"),
            ("\"quoted\"", "[\"quoted\"]"),
            ("to be", "[\"to be\"]"),
            ("[1,", "[\"[1,\"]"),
            ("", "[\"\"]"),
            (big.as_str(), big.as_str()),
        ] {
            assert_eq!(arguments(text).unwrap().get(), json, "{text}");
        }
    }

    #[test]
    fn a_member_is_json_or_a_text() {
        for (text, name, json) in [
            ("key=5", "key", "5"),
            ("key=five", "key", "\"five\""),
            ("key=\"5\"", "key", "\"5\""),
            ("key=", "key", "\"\""),
            ("key=a=b", "key", "\"a=b\""),
            ("key= spaced text ", "key", "\" spaced text \""),
            ("key=[1, 2]", "key", "[1, 2]"),
            ("key=1.0000000000000000000001", "key", "1.0000000000000000000001"),
        ] {
            let member = member(text).unwrap();
            assert_eq!((member.name.as_str(), member.value.get()), (name, json), "{text}");
        }
        assert!(member("key").is_err());
        assert!(member("=5").is_err());
    }

    #[test]
    fn addresses_name_host_and_port() {
        for text in ["127.0.0.1:8888", "tracker.example:1", "[::1]:8888"] {
            assert_eq!(host_port(text).as_deref(), Ok(text));
        }
        for text in ["", "host", ":8888", "host:", "host:70000", "::1:8888", "host:x"] {
            assert!(host_port(text).is_err(), "{text}");
        }
        assert_eq!(join_host_port("::1", 5), "[::1]:5");
        assert_eq!(join_host_port("[::1]", 5), "[::1]:5");
        assert_eq!(join_host_port("localhost", 5), "localhost:5");
    }
}
