//! The pre-parser of messages, compared with serde_json on every text that the latter takes for an object.

use potluck_sdk::envelope::{Envelope, EnvelopeError};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

pub(super) const OUTCOMES: &[&str] = &["no object", "wrong member", "a loose object", "a message"];

/// Members that are for the wire alone, as JSON text.
const ROUTING: [&str; 4] = [r#""id""#, r#""to""#, r#""attachment""#, r#""behalf""#];
/// Longest `id` and `to`, as the protocol has it.
const ROUTING_TEXT_BYTES_MAX: usize = 256;
/// What the host puts in front of a message: nothing, for a provider; an id, or more, for another node.
const FIRST: [&str; 3] = ["", r#""id":7"#, r#""behalf":"task","id":"x","to":"127.0.0.1:8000""#];

/// Scans and rewrites a text.
pub fn envelope(data: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(data) else { return "no text" };
    let members = serde_json::from_str::<Members<'_>>(text).ok();
    let scanned = Envelope::scan(text);
    if let Some(Members(members)) = &members {
        compare(members, &scanned);
    }
    match scanned {
        Err(EnvelopeError::Malformed(..)) => "no object",
        Err(EnvelopeError::Member(_)) => "wrong member",
        Ok(envelope) => {
            for first in FIRST {
                rewrite(&envelope, first, members.as_ref());
            }
            // What is wrong within the values is left to whoever reads them.
            if members.is_some() { "a message" } else { "a loose object" }
        }
    }
}

/// The members of an object in their order, each as it is written.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// What the routing members of an object say; nothing when one of them is wrong.
#[derive(Debug, Default, PartialEq)]
struct Expected<'a> {
    message_type: &'a str,
    id: Option<&'a str>,
    to: Option<String>,
    attachment_length: u64,
    for_task: bool,
}

impl<'a> Expected<'a> {
    fn of(members: &[(&'a str, &'a str)]) -> Option<Expected<'a>> {
        let mut expected = Expected::default();
        let mut seen: Vec<&str> = Vec::new();
        for &(name, value) in members {
            match name {
                r#""type""# => expected.message_type = plain(value)?,
                r#""id""# => expected.id = (value != "null").then_some(short(value)?),
                r#""to""# if value == "null" => {}
                r#""to""# => expected.to = Some(serde_json::from_str(short(value)?).ok()?),
                r#""attachment""# => expected.attachment_length = value.parse().ok()?,
                r#""behalf""# if value == "null" => {}
                r#""behalf""# => expected.for_task = (plain(value)? == "task").then_some(true)?,
                _ => continue,
            }
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            if name == r#""id""# && value.starts_with(['{', '[', 't', 'f']) {
                return None;
            }
        }
        Some(expected)
    }
}

/// The content of a string without escapes.
fn plain(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

fn short(value: &str) -> Option<&str> {
    (value.len() <= ROUTING_TEXT_BYTES_MAX).then_some(value)
}

fn compare(members: &[(&str, &str)], scanned: &Result<Envelope<'_>, EnvelopeError>) {
    let found = scanned.as_ref().ok().map(|envelope| Expected {
        message_type: envelope.message_type,
        id: envelope.id,
        to: envelope.to.as_deref().map(str::to_owned),
        attachment_length: envelope.attachment_length,
        for_task: envelope.for_task,
    });
    assert_eq!(found, Expected::of(members), "{scanned:?}");
    assert!(!matches!(scanned, Err(EnvelopeError::Malformed(..))), "{scanned:?}, but it is an object");
}

fn rewrite(envelope: &Envelope<'_>, first: &str, members: Option<&Members<'_>>) {
    let rewritten = envelope.rewrite(first);
    let again = Envelope::scan(&rewritten).unwrap_or_else(|error| panic!("{rewritten}: {error}"));
    assert_eq!(again.message_type, envelope.message_type, "{rewritten}");
    assert_eq!(again.attachment_length, 0, "{rewritten}");
    // Nothing in the text can make it look like more, or like less, than what the host has put in front.
    assert_eq!(again.for_task, first.contains("behalf"), "{rewritten}");
    assert_eq!(again.to.is_some(), first.contains("\"to\""), "{rewritten}");
    assert_eq!(again.id.is_some(), first.contains("\"id\""), "{rewritten}");
    assert_eq!(again.is_bare(), first.is_empty(), "{rewritten}");
    if let Some(Members(members)) = members {
        let kept = members.iter().filter(|(name, _)| !ROUTING.contains(name));
        let front = format!("{{{first}}}");
        let Members(mut expected) = serde_json::from_str(&front).unwrap();
        expected.extend(kept);
        let Members(found) = serde_json::from_str(&rewritten).unwrap_or_else(|error| panic!("{rewritten}: {error}"));
        assert_eq!(found, expected, "{rewritten}");
    }
}
