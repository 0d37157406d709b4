//! Word and identifier frequencies: counted here, and added up from the results of tasks.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashMap;

pub(super) type Frequencies = HashMap<String, u64>;

/// How often each word (letters only, in lower case) and each identifier occurs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) words: Frequencies,
    pub(super) identifiers: Frequencies,
}

impl Count {
    /// Counts without regular expressions and without tasks, so that it can tell whether those are right.
    pub(super) fn of(text: &str) -> Count {
        let mut count = Count::default();
        let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        // Between two characters that belong to no identifier there is at most one, after any digits in front.
        for run in text.as_bytes().split(|byte| !is_inside(byte)) {
            let digits = run.iter().take_while(|byte| byte.is_ascii_digit()).count();
            add(&mut count.identifiers, &run[digits..], false);
            for word in run.split(|byte| !byte.is_ascii_alphabetic()) {
                add(&mut count.words, word, true);
            }
        }
        count
    }

    /// Adds what a task has counted: `{"words": {...}, "identifiers": {...}}`.
    pub(super) fn add_result(&mut self, result: &Value) -> Result<()> {
        add_map(&mut self.words, &result["words"]).context("`words`")?;
        add_map(&mut self.identifiers, &result["identifiers"]).context("`identifiers`")
    }

    /// An error that shows where two counts differ.
    pub(super) fn check_against(&self, expected: &Count) -> Result<()> {
        check(&self.words, &expected.words).context("the words are wrong")?;
        check(&self.identifiers, &expected.identifiers).context("the identifiers are wrong")
    }
}

fn add(frequencies: &mut Frequencies, bytes: &[u8], lower_case: bool) {
    // ASCII only, as chosen by the caller.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.is_empty() {
        return;
    }
    let folded = (lower_case && bytes.iter().any(u8::is_ascii_uppercase)).then(|| text.to_ascii_lowercase());
    let key = folded.as_deref().unwrap_or(text);
    match frequencies.get_mut(key) {
        Some(number) => *number += 1,
        None => {
            frequencies.insert(key.to_owned(), 1);
        }
    }
}

fn add_map(frequencies: &mut Frequencies, map: &Value) -> Result<()> {
    for (key, number) in map.as_object().context("is no object")? {
        let number = number.as_u64().with_context(|| format!("{key}: {number} is no count"))?;
        *frequencies.entry(key.clone()).or_default() += number;
    }
    Ok(())
}

fn check(found: &Frequencies, expected: &Frequencies) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let mut wrong: Vec<String> = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        let (found, expected) = (found.get(key).unwrap_or(&0), expected.get(key).unwrap_or(&0));
        if found != expected {
            wrong.push(format!("{key}: {found} instead of {expected}"));
        }
    }
    wrong.sort();
    let first = wrong.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    bail!("{} of {} differ: {first}", wrong.len(), expected.len())
}

/// The most frequent, equal ones in alphabetical order.
pub(super) fn top(frequencies: &Frequencies, length: usize) -> Vec<(&str, u64)> {
    let mut all: Vec<(&str, u64)> = frequencies.iter().map(|(key, number)| (key.as_str(), *number)).collect();
    all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
    all.truncate(length);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn frequencies(pairs: &[(&str, u64)]) -> Frequencies {
        pairs.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect()
    }

    #[test]
    fn words_are_letters_and_identifiers_are_what_python_calls_so_in_ascii() {
        let count = Count::of("self.x2 = Self_3(9lives, été, __init__)");
        assert_eq!(count.words, frequencies(&[("self", 2), ("x", 1), ("lives", 1), ("t", 1), ("init", 1)]));
        assert_eq!(
            count.identifiers,
            frequencies(&[("self", 1), ("x2", 1), ("Self_3", 1), ("lives", 1), ("t", 1), ("__init__", 1)])
        );
        assert_eq!(Count::of(""), Count::default());
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut count = Count::default();
        count.add_result(&json!({"words": {"a": 2, "b": 1}, "identifiers": {"A": 1}})).unwrap();
        count.add_result(&json!({"words": {"a": 1}, "identifiers": {}})).unwrap();
        let expected = Count { words: frequencies(&[("a", 3), ("b", 1)]), identifiers: frequencies(&[("A", 1)]) };
        count.check_against(&expected).unwrap();
        assert!(count.add_result(&json!({"words": {"a": -1}, "identifiers": {}})).is_err());
        assert!(count.add_result(&json!(null)).is_err());
    }

    #[test]
    fn a_difference_is_shown() {
        let found = Count { words: frequencies(&[("a", 3), ("extra", 1)]), ..Count::default() };
        let expected = Count { words: frequencies(&[("a", 2)]), ..Count::default() };
        let error = format!("{:#}", found.check_against(&expected).unwrap_err());
        assert!(error.contains("a: 3 instead of 2") && error.contains("extra: 1 instead of 0"), "{error}");
    }

    #[test]
    fn the_most_frequent_come_first() {
        assert_eq!(top(&frequencies(&[("b", 2), ("a", 2), ("c", 5), ("d", 1)]), 3), [("c", 5), ("a", 2), ("b", 2)]);
    }
}
