//! JSON as text: outlines without parsing the values, so that integers of any size keep their digits.

use potluck_sdk::message::RawValue;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The members of a JSON object in their order, with the text of each value.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object; nothing when the text is no JSON object.
    pub(crate) fn of(json: &'a str) -> Option<Members<'a>> {
        serde_json::from_str(json).ok()
    }

    /// The text of a member's value.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value.get())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A member's name; a newtype, since serde borrows into a `Cow` only where a field says so.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of the elements of an array; nothing when the text is no JSON array.
pub(crate) fn elements(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

/// The value of a JSON string; nothing when the text is none.
pub(crate) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// The same JSON with two spaces a level, one member or element a line. It works on the text and without recursion, so
/// neither a long integer nor deep nesting does harm. The control characters that JSON allows unescaped are escaped,
/// since the text is for a terminal.
pub(crate) fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 4);
    let mut depth = 0_usize;
    let mut rest = json.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            ' ' | '\n' | '\r' | '\t' => {}
            '"' => {
                out.push('"');
                let mut escaped = false;
                for (_, inner) in rest.by_ref() {
                    if inner.is_control() {
                        out.push_str(&format!("\\u{:04x}", u32::from(inner)));
                    } else {
                        out.push(inner);
                    }
                    if inner == '"' && !escaped {
                        break;
                    }
                    escaped = inner == '\\' && !escaped;
                }
            }
            '{' | '[' => {
                out.push(character);
                let inside = json[at + 1..].trim_start();
                if inside.starts_with(['}', ']']) {
                    // An empty object or array stays on its line.
                    for (_, next) in rest.by_ref() {
                        if !next.is_whitespace() {
                            out.push(next);
                            break;
                        }
                    }
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(character),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    // Beyond this the indentation would be larger than the text; deeper levels stay in one column.
    const DEPTH_MAX: usize = 40;
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth.min(DEPTH_MAX)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_digits() {
        let members = Members::of(r#"{"z": 1.00, "a": [ 1 ], "x\n": 123456789012345678901234567890}"#).unwrap();
        let seen: Vec<(&str, &str)> = members.0.iter().map(|(name, value)| (name.as_ref(), value.get())).collect();
        assert_eq!(seen, [("z", "1.00"), ("a", "[ 1 ]"), ("x\n", "123456789012345678901234567890")]);
        assert_eq!(members.get("a"), Some("[ 1 ]"));
        assert!(Members::of("[1]").is_none());
        assert!(Members::of("{").is_none());
    }

    #[test]
    fn indented_json_has_one_member_a_line() {
        let json = r#"{"a":[1,{"b":"x, {y}: \"z\\"}],"c":{},"d": [ ],"e":1234567890123456789012345678901234567890}"#;
        let expected = r#"{
  "a": [
    1,
    {
      "b": "x, {y}: \"z\\"
    }
  ],
  "c": {},
  "d": [],
  "e": 1234567890123456789012345678901234567890
}"#;
        assert_eq!(indent(json), expected);
        assert_eq!(indent(expected), expected);
        assert_eq!(indent("5"), "5");
    }

    #[test]
    fn a_string_cannot_command_the_terminal() {
        assert_eq!(indent("\"a\u{9b}2J\u{7f}\""), r#""a\u009b2J\u007f""#);
    }

    #[test]
    fn no_text_panics_or_overflows() {
        for text in ["", "{", "}", "]]]", "\"", "\"\\", "[ ", "{\"a\"", "é", "[é"] {
            indent(text);
        }
        indent(&"[".repeat(1 << 16));
    }
}
