//! The outermost members of a message, read without parsing the rest.
//!
//! The host needs `type`, `id`, `to`, `attachment` and `behalf` to route a message, and nothing else. One pass over the text finds
//! them and steps over every other value, however deep, without recursion and without memory. What is inside those
//! values is checked by whoever reads them.

use memchr::memchr2;
use std::borrow::Cow;

/// Longest `id` and `to`, in bytes: they are kept for every request in flight.
const ROUTING_TEXT_BYTES_MAX: usize = 256;
/// Longest name of a process, and of the peer behind it, in `behalf`.
const PROCESS_BYTES_MAX: usize = 64;

/// What the host reads of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    json: &'a str,
    /// The `type`; empty when there is none.
    pub message_type: &'a str,
    /// The `id` as JSON text: a number or a string.
    pub id: Option<&'a str>,
    /// The peer id or `host:port` that the message is for.
    pub to: Option<Cow<'a, str>>,
    /// Number of raw bytes that follow the frame.
    pub attachment_length: u64,
    /// Whether the sender says that a task stands behind it (`"behalf":"task"`). It can only lose rights by that.
    pub for_task: bool,
    /// The process that the task is, when the sender says so (`"behalf":"task:P7"`); else empty.
    pub process: &'a str,
    /// The peer that the task works for, when it is not the sender (`"behalf":"task:P7@<peer id>"`). Only a provider of
    /// this node can know that of a task.
    pub works_for: Option<&'a str>,
    /// Where `id`, `to`, `attachment` and `behalf` stand: first byte of the name to the byte after the value, in order.
    routing: [Option<(usize, usize)>; 4],
}

/// Why a text is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is not a JSON object.
    #[error("Invalid message format: {0} at byte {1}")]
    Malformed(&'static str, usize),
    /// `type`, `id`, `to`, `attachment` or `behalf` has a value that cannot be used.
    #[error("Invalid message format: {0}")]
    Member(&'static str),
}

impl<'a> Envelope<'a> {
    /// Finds the routing members of a message.
    ///
    /// # Errors
    /// When the outline of the text is not that of a JSON object, or a routing member is of the wrong type or twice there.
    pub fn scan(json: &'a str) -> Result<Envelope<'a>, EnvelopeError> {
        let mut envelope = Envelope {
            json,
            message_type: "",
            id: None,
            to: None,
            attachment_length: 0,
            for_task: false,
            process: "",
            works_for: None,
            routing: [None; 4],
        };
        let mut scanner = Scanner { bytes: json.as_bytes(), at: 0 };
        let mut seen = [false; 5];
        scanner.expect(b'{', "expected an object")?;
        if scanner.peek() == Some(b'}') {
            scanner.at += 1;
            scanner.end()?;
            return Ok(envelope);
        }
        let mut routing_count = 0;
        loop {
            scanner.skip_space();
            let start = scanner.at;
            let name = scanner.string()?;
            scanner.expect(b':', "expected a colon")?;
            scanner.skip_space();
            let value_start = scanner.at;
            scanner.value()?;
            let value = &json[value_start..scanner.at];
            let member = match name {
                "type" => Some(0),
                "id" => Some(1),
                "to" => Some(2),
                "attachment" => Some(3),
                "behalf" => Some(4),
                _ => None,
            };
            if let Some(member) = member {
                if std::mem::replace(&mut seen[member], true) {
                    return Err(EnvelopeError::Member(
                        "type, id, to, attachment and behalf may stand in a message once",
                    ));
                }
                match member {
                    0 => {
                        envelope.message_type =
                            plain_string(value).ok_or(EnvelopeError::Member("type must be a plain string"))?
                    }
                    1 => envelope.id = read_id(value)?,
                    2 => envelope.to = read_to(value)?,
                    4 => {
                        if let Some(behalf) = read_behalf(value)? {
                            envelope.for_task = true;
                            (envelope.process, envelope.works_for) = behalf;
                        }
                    }
                    _ => {
                        envelope.attachment_length =
                            value.parse().map_err(|_| EnvelopeError::Member("attachment must be a number of bytes"))?;
                    }
                }
                if member > 0 {
                    envelope.routing[routing_count] = Some((start, scanner.at));
                    routing_count += 1;
                }
            }
            scanner.skip_space();
            match scanner.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(scanner.error("expected a comma or the end of the object")),
            }
        }
        scanner.end()?;
        Ok(envelope)
    }

    /// The message without `id`, `to`, `attachment` and `behalf`, and with `first` (members without braces, or nothing) in front.
    pub fn rewrite(&self, first: &str) -> String {
        let bytes = self.json.as_bytes();
        let open = self.json.find('{').map_or(0, |at| at + 1);
        let close = self.json.rfind('}').unwrap_or(self.json.len());
        let mut out = String::with_capacity(self.json.len() + first.len() + 2);
        out.push('{');
        out.push_str(first);
        let mut from = open;
        let keep = |out: &mut String, piece: &str| {
            let piece = piece.trim_matches(|c: char| c == ',' || c.is_ascii_whitespace());
            if !piece.is_empty() {
                if !out.ends_with('{') {
                    out.push(',');
                }
                out.push_str(piece);
            }
        };
        for (start, end) in self.routing.iter().flatten() {
            debug_assert!(bytes[*start] == b'"');
            keep(&mut out, &self.json[from..*start]);
            from = *end;
        }
        keep(&mut out, &self.json[from..close]);
        out.push('}');
        out
    }

    /// Whether the message carries nothing that only the wire needs, so that its text can be used as it is.
    pub fn is_bare(&self) -> bool {
        self.routing[0].is_none()
    }
}

/// Whether a message has one of these outermost members, and not null. Text that is no message has none.
pub fn has_member(json: &str, names: &[&str]) -> bool {
    let mut scanner = Scanner { bytes: json.as_bytes(), at: 0 };
    find_member(json, &mut scanner, names).unwrap_or(false)
}

fn find_member(json: &str, scanner: &mut Scanner<'_>, names: &[&str]) -> Result<bool, EnvelopeError> {
    scanner.expect(b'{', "expected an object")?;
    loop {
        scanner.skip_space();
        let name = scanner.string()?;
        let is_wanted = names.contains(&name);
        scanner.expect(b':', "expected a colon")?;
        scanner.skip_space();
        let start = scanner.at;
        scanner.value()?;
        if is_wanted && &json[start..scanner.at] != "null" {
            return Ok(true);
        }
        scanner.expect(b',', "expected a comma")?;
    }
}

fn plain_string(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

fn read_id(value: &str) -> Result<Option<&str>, EnvelopeError> {
    match value.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"' | b'-' | b'0'..=b'9') if value.len() <= ROUTING_TEXT_BYTES_MAX => {
            // It is written back into the reply, so it must be a whole JSON value.
            serde_json::from_str::<serde::de::IgnoredAny>(value)
                .map(|_| Some(value))
                .map_err(|_| EnvelopeError::Member("id must be a number or a string"))
        }
        _ => Err(EnvelopeError::Member("id must be a number or a string of at most 256 bytes")),
    }
}

/// The process and the peer of `task`, `task:P7` or `task:P7@<peer id>`.
fn read_behalf(value: &str) -> Result<Option<(&str, Option<&str>)>, EnvelopeError> {
    // Whatever a later version means by another word, it must not be taken for less.
    let refusal = || EnvelopeError::Member("behalf must be \"task\" or \"task:<process>\", or be left out");
    let Some(text) = plain_string(value) else {
        return if value == "null" { Ok(None) } else { Err(refusal()) };
    };
    if text == "task" {
        return Ok(Some(("", None)));
    }
    let name = text.strip_prefix("task:").ok_or_else(refusal)?;
    let (process, peer) = name.split_once('@').map_or((name, None), |(process, peer)| (process, Some(peer)));
    let is_word = |word: &str| {
        (1..=PROCESS_BYTES_MAX).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // An empty process stands for a task that is no process.
    if !(process.is_empty() && peer.is_some() || is_word(process)) || !peer.is_none_or(is_word) {
        return Err(refusal());
    }
    Ok(Some((process, peer)))
}

fn read_to(value: &str) -> Result<Option<Cow<'_, str>>, EnvelopeError> {
    if value == "null" {
        return Ok(None);
    }
    if value.len() > ROUTING_TEXT_BYTES_MAX {
        return Err(EnvelopeError::Member("to must have at most 256 bytes"));
    }
    if let Some(plain) = plain_string(value) {
        return Ok(Some(Cow::Borrowed(plain)));
    }
    serde_json::from_str(value)
        .map(|text| Some(Cow::Owned(text)))
        .map_err(|_| EnvelopeError::Member("to must be a peer id, host:port or id@host:port"))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn error(&self, what: &'static str) -> EnvelopeError {
        EnvelopeError::Malformed(what, self.at)
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space, which stays.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), EnvelopeError> {
        if self.peek() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), EnvelopeError> {
        if self.peek().is_some() {
            return Err(self.error("expected the end of the message"));
        }
        Ok(())
    }

    /// Steps over a string and returns what is between the quotes, escapes and all.
    fn string(&mut self) -> Result<&'a str, EnvelopeError> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(self.error("the text ends inside a string"));
            };
            self.at += found;
            if self.bytes[self.at] == b'"' {
                let text = &self.bytes[start..self.at];
                self.at += 1;
                // The input is UTF-8 and both ends are ASCII, so this cannot fail.
                return std::str::from_utf8(text).map_err(|_| self.error("expected UTF-8"));
            }
            self.at += 2;
        }
    }

    /// Steps over one value.
    fn value(&mut self) -> Result<(), EnvelopeError> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                    while matches!(
                        self.bytes.get(self.at),
                        Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
                    ) {
                        self.at += 1;
                    }
                }
                _ => return Err(self.error("expected a value")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_routing_members_are_found_wherever_they_stand() {
        let json = r#" {"args":[{"type":"no"},"}\""], "to" : "127.0.0.1:9001","type":"CPU_TASK","id":"a\"b", "attachment":12 } "#;
        let envelope = Envelope::scan(json).unwrap();
        assert_eq!(envelope.message_type, "CPU_TASK");
        assert_eq!(envelope.id, Some(r#""a\"b""#));
        assert_eq!(envelope.to.as_deref(), Some("127.0.0.1:9001"));
        assert_eq!(envelope.attachment_length, 12);
        assert_eq!(envelope.rewrite(r#""id":7"#), r#"{"id":7,"args":[{"type":"no"},"}\""],"type":"CPU_TASK"}"#);
        assert_eq!(envelope.rewrite(""), r#"{"args":[{"type":"no"},"}\""],"type":"CPU_TASK"}"#);
    }

    #[test]
    fn an_object_of_routing_members_alone_can_be_rewritten() {
        let envelope = Envelope::scan(r#"{"id":1}"#).unwrap();
        assert_eq!(envelope.rewrite(""), "{}");
        assert_eq!(envelope.rewrite(r#""id":2"#), r#"{"id":2}"#);
        assert!(Envelope::scan("{}").unwrap().is_bare());
    }

    #[test]
    fn a_message_on_behalf_of_a_task_says_so_to_the_host_alone() {
        let envelope = Envelope::scan(r#"{"type":"GET_MEM","behalf":"task","key":"k"}"#).unwrap();
        assert!(envelope.for_task);
        assert_eq!(envelope.rewrite(""), r#"{"type":"GET_MEM","key":"k"}"#);
        assert!(!Envelope::scan(r#"{"behalf":null}"#).unwrap().for_task);
        let of = |json| Envelope::scan(json).map(|envelope| (envelope.process, envelope.works_for)).unwrap();
        assert_eq!(of(r#"{"behalf":"task:P7"}"#), ("P7", None));
        assert_eq!(of(r#"{"behalf":"task:P7@5f0c-1"}"#), ("P7", Some("5f0c-1")));
        assert_eq!(of(r#"{"behalf":"task:@5f0c-1"}"#), ("", Some("5f0c-1")));
    }

    #[test]
    fn only_outermost_members_that_are_not_null_count() {
        let json = r#"{"a":{"owner_id":"x"},"owner_port":null,"b":"\"owner_id\":1", "owner" : 0 }"#;
        assert!(!has_member(json, &["owner_port", "owner_id"]));
        assert!(has_member(json, &["owner_port", "owner"]));
        assert!(!has_member("{}", &["a"]) && !has_member("", &["a"]) && !has_member(json, &[]));
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = format!(r#"{{"type":"X","value":{}{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(Envelope::scan(&deep).unwrap().message_type, "X");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "1",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1}x",
            "{\"a\":1 2}",
            "{\"a\":\"",
            "{'a':1}",
            "{\"a\":\\",
        ] {
            assert!(Envelope::scan(text).is_err(), "{text}");
        }
    }

    #[test]
    fn routing_members_of_a_wrong_type_are_refused() {
        for text in [
            r#"{"type":5}"#,
            r#"{"type":"A\u0042"}"#,
            r#"{"id":[1]}"#,
            r#"{"id":-}"#,
            r#"{"id":tru}"#,
            r#"{"to":5}"#,
            r#"{"behalf":"local"}"#,
            r#"{"behalf":true}"#,
            r#"{"behalf":"task:"}"#,
            r#"{"behalf":"task:P 7"}"#,
            r#"{"behalf":"task:P7@"}"#,
            r#"{"attachment":-1}"#,
            r#"{"attachment":"5"}"#,
            r#"{"attachment":1e3}"#,
            r#"{"type":"A","type":"B"}"#,
            r#"{"to":"a","to":"b"}"#,
        ] {
            assert!(matches!(Envelope::scan(text), Err(EnvelopeError::Member(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Envelope::scan(&text);
        }

        #[test]
        fn a_rewritten_object_keeps_its_other_members(
            members in proptest::collection::btree_map("[a-z_]{1,12}", ".*", 0..6), position in 0_usize..6,
        ) {
            let mut parts: Vec<String> = members
                .iter()
                .filter(|(name, _)| !["id", "to", "type", "attachment", "behalf"].contains(&name.as_str()))
                .map(|(name, value)| format!("{}: {}", serde_json::json!(name), serde_json::json!(value)))
                .collect();
            let plain: serde_json::Value = serde_json::from_str(&format!("{{{}}}", parts.join(","))).unwrap();
            parts.insert(position.min(parts.len()), r#""to":"x""#.to_owned());
            parts.insert(position.min(parts.len()), r#""id": 5"#.to_owned());
            let text = format!("{{{}}}", parts.join(" ,"));
            let rewritten = Envelope::scan(&text).unwrap().rewrite("");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&rewritten).unwrap(), plain);
        }
    }
}
