//! `--runtime`: the names that everybody knows are offered, and any other is left to the node, which may have more.

use clap::builder::{NonEmptyStringValueParser, PossibleValue, TypedValueParser};
use std::ffi::OsStr;

/// Parses the name of a runtime.
#[derive(Clone)]
pub(super) struct RuntimeName;

impl TypedValueParser for RuntimeName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        NonEmptyStringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(["python", "sandbox", "wasm"].into_iter().map(PossibleValue::new)))
    }
}
