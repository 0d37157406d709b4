//! Tasks that try what must be refused to them.

use crate::{TestNode, task, with};
use serde_json::{Value, json};

/// Runs each piece of code, and tells of each what it left in `got`, or the exception that it ended in.
const PROGRAM: &str = "
def main(pieces):
    outcomes = []
    for code in pieces:
        names = {}
        try:
            exec(code, names)
        except BaseException as error:
            outcomes.append({'refused': f'{type(error).__name__}: {error}'})
        else:
            outcomes.append({'got': repr(names.get('got'))})
    return outcomes
";
/// Exceptions of code that was written badly, by which nothing is shown.
const MISTAKES: [&str; 4] = ["SyntaxError", "IndentationError", "NameError", "UnboundLocalError"];

/// Runs pieces of code in one task, and returns what became of each: `{"got": ...}` or `{"refused": ...}`.
///
/// # Panics
/// When the task itself fails.
pub fn outcomes(node: &TestNode, members: Value, pieces: &[impl AsRef<str>]) -> Vec<Value> {
    let pieces: Vec<&str> = pieces.iter().map(AsRef::as_ref).collect();
    let mut reply = node.call(with(task(PROGRAM, json!([pieces])), members));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    let Value::Array(outcomes) = reply["result"].take() else { panic!("{reply:#}") };
    assert_eq!(outcomes.len(), pieces.len());
    outcomes
}

/// Runs pieces of code in one task and expects each to end in an exception; returns these.
///
/// # Panics
/// When something is allowed, or the task itself fails. The message lists all that was allowed.
pub fn refused(node: &TestNode, members: Value, pieces: &[impl AsRef<str>]) -> Vec<String> {
    let outcomes = outcomes(node, members, pieces);
    let (mut errors, mut allowed) = (Vec::new(), Vec::new());
    for (piece, outcome) in pieces.iter().zip(&outcomes) {
        match outcome["refused"].as_str() {
            Some(error) => {
                let is_mistake = MISTAKES.iter().any(|mistake| error.starts_with(mistake));
                assert!(!is_mistake, "{error} in:\n{}", piece.as_ref());
                errors.push(error.to_owned());
            }
            None => allowed.push(format!("{}  ->  {outcome}", piece.as_ref())),
        }
    }
    assert!(allowed.is_empty(), "this was allowed:\n{}", allowed.join("\n"));
    errors
}
