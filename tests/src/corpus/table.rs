//! The table of outcomes.

use super::{Expectation, Outcome};
use crate::dist;
use std::fs;

/// Longest text of a column, in characters.
const TRIES_MAX: usize = 60;
const OUTCOME_MAX: usize = 48;

/// What became of one program.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub program: String,
    /// What it tries.
    pub tries: String,
    /// How it may end.
    pub expected: Vec<Expectation>,
    /// How it ended; the reason when it was not run.
    pub outcome: Result<Outcome, String>,
    /// Seconds until it was answered.
    pub seconds: f64,
    /// What else was wrong: with the node, with others' tasks.
    pub complaints: Vec<String>,
}

impl Row {
    /// Whether the file's promise was broken.
    pub fn is_wrong(&self) -> bool {
        let unexpected = |outcome: &Outcome| !self.expected.iter().any(|expected| expected.matches(outcome));
        self.outcome.as_ref().is_ok_and(unexpected) || !self.complaints.is_empty()
    }

    /// In a few lines, for whoever must find out why.
    pub fn explained(&self) -> String {
        let outcome = match &self.outcome {
            Ok(outcome) => shown(&outcome.to_string(), 2000),
            Err(reason) => reason.clone(),
        };
        let complaints: String = self.complaints.iter().map(|complaint| format!("\n    {complaint}")).collect();
        let expected = self.expected();
        format!("{} (it {})\n    expected {expected}\n    found    {outcome}{complaints}", self.program, self.tries)
    }

    fn expected(&self) -> String {
        self.expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
    }
}

/// The rows of one run.
pub struct Table {
    /// Names the run, and its file.
    pub title: String,
    /// What runs the programs.
    pub runtime: String,
    /// By name.
    pub rows: Vec<Row>,
}

impl Table {
    /// The table as text.
    pub fn text(&self) -> String {
        let wrong = self.rows.iter().filter(|row| row.is_wrong()).count();
        let skipped = self.rows.iter().filter(|row| row.outcome.is_err()).count();
        let mut text = format!(
            "Hostile programs, {}: {} programs, {wrong} wrong, {skipped} not run\n",
            self.title,
            self.rows.len()
        );
        let name_width = self.rows.iter().map(|row| row.program.len()).max().unwrap_or(0);
        let mut line = |[program, tries, expected, found, seconds, verdict]: [&str; 6]| {
            let (tries, expected) = (padded(tries, TRIES_MAX), padded(expected, OUTCOME_MAX));
            let (runtime, found) = (&self.runtime, padded(found, OUTCOME_MAX));
            text += &format!("{program:<name_width$} {runtime:<7} {tries} {expected} {found} {seconds:>6} {verdict}\n");
        };
        line(["program", "it ...", "must end", "ended", "s", ""]);
        for row in &self.rows {
            let seconds = format!("{:.2}", row.seconds);
            let (found, seconds) = match &row.outcome {
                Ok(outcome) => (outcome.to_string(), seconds.as_str()),
                Err(reason) => (reason.clone(), ""),
            };
            let verdict = match row.outcome {
                _ if row.is_wrong() => "WRONG",
                Ok(_) => "ok",
                Err(_) => "not run",
            };
            line([&row.program, &row.tries, &row.expected(), &found, seconds, verdict]);
        }
        text
    }

    /// Prints the table, and keeps it beside the built tree, where `cargo xtask test` finds it.
    pub fn publish(&self) {
        let text = self.text();
        println!("{text}");
        let dist = dist();
        let folder = dist.parent().expect("the tree is in a target folder").join("hostile");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{}.txt", self.title.replace(' ', "-"))), text).unwrap();
    }
}

/// A text in one line, exactly so long.
fn padded(text: &str, width: usize) -> String {
    format!("{:<width$}", shown(text, width))
}

/// A text in one line, and not too long.
fn shown(text: &str, most: usize) -> String {
    let plain: String =
        text.chars().take(most + 1).flat_map(|one| one.escape_debug()).filter(|one| one.is_ascii()).collect();
    let plain = plain.replace("\\\"", "\"").replace("\\'", "'");
    if plain.len() <= most { plain } else { format!("{}...", &plain[..most - 3]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_shown_and_what_was_not_run_is_none() {
        let row = |program: &str, outcome: Result<Outcome, String>, complaints: &[&str]| Row {
            program: program.to_owned(),
            tries: "prints \u{1b}[2J".to_owned(),
            expected: vec![Expectation::parse("ok []")],
            outcome,
            seconds: 1.5,
            complaints: complaints.iter().map(|text| (*text).to_owned()).collect(),
        };
        let rows = vec![
            row("good", Ok(Outcome::new("ok", "[]")), &[]),
            row("bad", Ok(Outcome::new("ok", "[\"shadow\"]")), &[]),
            row("noisy", Ok(Outcome::new("ok", "[]")), &["the node has ended"]),
            row("elsewhere", Err("this kernel has no landlock".to_owned()), &[]),
        ];
        let text = Table { title: "all".to_owned(), runtime: "python".to_owned(), rows }.text();
        assert!(text.starts_with("Hostile programs, all: 4 programs, 2 wrong, 1 not run\n"), "{text}");
        let verdicts: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(verdicts, ["ok", "WRONG", "WRONG", "run"], "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
