//! Keys: which JSON values may be one, and when two of them are the same.

use crate::error::MemoryError;
use potluck_sdk::message::RawValue;
use std::borrow::Cow;

/// The text by which an entry is found: equal keys have equal texts. It is the key's JSON text, so that `1` and `"1"`
/// stay apart; strings are written anew when they hold escapes, so that `"\u0061"` is `"a"`.
///
/// `message_type` is for the error text alone.
pub(crate) fn canonical<'a>(
    key: Option<&'a RawValue>,
    message_type: &'static str,
) -> Result<Cow<'a, str>, MemoryError> {
    let text = key.ok_or(MemoryError::KeyRequired(message_type))?.get();
    match text.as_bytes().first() {
        // Without a backslash the text holds nothing that could be written in another way.
        Some(b'"') if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        Some(b'"') => {
            let plain: String = serde_json::from_str(text).map_err(|_| MemoryError::KeyUnicode)?;
            Ok(Cow::Owned(serde_json::Value::String(plain).to_string()))
        }
        Some(b'[') => Err(MemoryError::KeyType("an array")),
        Some(b'{') => Err(MemoryError::KeyType("an object")),
        Some(b'n') => Err(MemoryError::KeyRequired(message_type)),
        _ => Ok(Cow::Borrowed(text)),
    }
}

/// How the canonical texts begin of all string keys that begin with `prefix`; of all keys when it is empty.
pub(crate) fn canonical_prefix(prefix: &str) -> String {
    if prefix.is_empty() {
        return String::new();
    }
    let mut text = serde_json::Value::from(prefix).to_string();
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, MemoryError> {
        let raw = serde_json::from_str::<&RawValue>(text).unwrap();
        canonical(Some(raw), "GET_MEM").map(Cow::into_owned)
    }

    #[test]
    fn escapes_make_no_difference() {
        assert_eq!(of(r#""\u0061""#), of(r#""a""#));
        assert_eq!(of(r#""\u00e9\/""#), of(r#""é/""#));
        assert_eq!(of(r#""\ud83d\ude00""#), of("\"😀\""));
        assert_eq!(of(r#""\u0022\u005c\n""#), of(r#""\"\\\u000a""#));
        assert_ne!(of(r#""\\u0061""#), of(r#""a""#));
    }

    #[test]
    fn types_stay_apart() {
        let keys = [r#""1""#, "1", "1.0", "true", r#""true""#, "false", r#""""#];
        let texts: std::collections::HashSet<String> = keys.iter().map(|key| of(key).unwrap()).collect();
        assert_eq!(texts.len(), keys.len());
    }

    #[test]
    fn plain_keys_are_not_copied() {
        for text in [r#""plain""#, "123456789012345678901234567890", "true"] {
            let raw = serde_json::from_str::<&RawValue>(text).unwrap();
            assert!(matches!(canonical(Some(raw), "GET_MEM"), Ok(Cow::Borrowed(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(canonical(None, "SET_MEM"), Err(MemoryError::KeyRequired("SET_MEM")));
        assert_eq!(of("null"), Err(MemoryError::KeyRequired("GET_MEM")));
        assert_eq!(of("[1]"), Err(MemoryError::KeyType("an array")));
        assert_eq!(of("{}"), Err(MemoryError::KeyType("an object")));
        assert_eq!(of(r#""\ud800""#), Err(MemoryError::KeyUnicode));
    }

    #[test]
    fn a_prefix_meets_the_keys_that_begin_with_it() {
        assert!(of(r#""a\"b""#).unwrap().starts_with(&canonical_prefix("a\"")));
        assert!(!of("1").unwrap().starts_with(&canonical_prefix("1")));
        assert!(of("1").unwrap().starts_with(&canonical_prefix("")));
    }
}
