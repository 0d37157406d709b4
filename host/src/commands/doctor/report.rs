//! What the checks have found: a table for people, one object for programs.

use crate::commands::runtime_status::RuntimeStatus;
use crate::output::table::{Table, state_cell, text_cell};
use crate::output::{self, printable};
use comfy_table::{Cell, Color};
use potluck_sdk::message::cpu::SandboxImage;
use potluck_sdk::message::to_json;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a check has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but something could be better.
    Warning,
    /// It does not work.
    Problem,
}

/// Which node was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// None could be.
    None,
    /// One that was running already.
    Running,
    /// One that was started for the checks.
    Private,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What was looked at, such as `runtime python`.
    pub(super) check: String,
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) finding: String,
    /// What to do about it; empty when there is nothing to do, or the finding says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) advice: String,
}

/// A runtime of the node.
#[derive(Debug, Serialize)]
pub(super) struct RuntimeReport {
    /// Whether a trivial task was run in it, with the right result.
    pub(super) works: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// How long the task ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task_seconds: Option<f64>,
    /// What the node says of it.
    #[serde(flatten)]
    pub(super) status: RuntimeStatus,
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Which node was looked at.
    pub(super) node: Subject,
    pub(super) checks: Vec<Check>,
    pub(super) runtimes: BTreeMap<String, RuntimeReport>,
    /// The images of the sandbox.
    pub(super) images: Vec<SandboxImage>,
}

impl Report {
    pub(super) fn new() -> Report {
        Report { node: Subject::None, checks: Vec::new(), runtimes: BTreeMap::new(), images: Vec::new() }
    }

    pub(super) fn ok(&mut self, check: &str, finding: impl Into<String>) {
        self.add(check, Outcome::Ok, finding.into(), "");
    }

    pub(super) fn warning(&mut self, check: &str, finding: impl Into<String>, advice: &str) {
        self.add(check, Outcome::Warning, finding.into(), advice);
    }

    pub(super) fn problem(&mut self, check: &str, finding: impl Into<String>, advice: &str) {
        self.add(check, Outcome::Problem, finding.into(), advice);
    }

    fn add(&mut self, check: &str, outcome: Outcome, finding: String, advice: &str) {
        self.checks.push(Check { check: check.to_owned(), outcome, finding, advice: advice.to_owned() });
    }

    /// The worst of the outcomes.
    pub(super) fn outcome(&self) -> Outcome {
        self.checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Ok)
    }

    /// Prints everything on standard output.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            #[derive(Serialize)]
            struct Whole<'a> {
                outcome: Outcome,
                #[serde(flatten)]
                report: &'a Report,
            }
            output::print_json(&to_json(&Whole { outcome: self.outcome(), report: self }))?;
            return Ok(());
        }
        let mut table = Table::new(&["CHECK", "STATE", "FINDING"]);
        for check in &self.checks {
            table.cells(check.cells());
        }
        table.print("")?;
        if let Some(table) = self.protections() {
            output::print_line("")?;
            table.print("")?;
        }
        output::print_line(&format!("\n{}", self.summary()))?;
        Ok(())
    }

    /// A column for each runtime and a row for each protection; nothing when no worker has told of any.
    fn protections(&self) -> Option<Table> {
        let mut names: Vec<&str> = Vec::new();
        for protection in self.runtimes.values().flat_map(|runtime| &runtime.status.protections) {
            if !names.contains(&protection.name.as_str()) {
                names.push(&protection.name);
            }
        }
        if names.is_empty() {
            return None;
        }
        let mut headings = vec!["PROTECTION".to_owned()];
        headings.extend(self.runtimes.keys().map(|name| name.to_uppercase()));
        let mut table = Table::new(&headings);
        for name in names {
            let mut row = vec![text_cell(name)];
            row.extend(self.runtimes.values().map(|runtime| protection_cell(&runtime.status, name)));
            table.cells(row);
        }
        Some(table)
    }

    fn summary(&self) -> String {
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let many = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (warnings, problems) = (count(Outcome::Warning), count(Outcome::Problem));
        format!("{} ok, {}, {}", count(Outcome::Ok), many(warnings, "warning"), many(problems, "problem"))
    }
}

impl Check {
    fn cells(&self) -> [Cell; 3] {
        let (word, color) = match self.outcome {
            Outcome::Ok => ("ok", Color::Green),
            Outcome::Warning => ("warning", Color::Yellow),
            Outcome::Problem => ("problem", Color::Red),
        };
        // The parser of plugins.toml shows lines of the file.
        let mut lines: Vec<_> = self.finding.trim_end().lines().map(|line| printable(line).into_owned()).collect();
        if !self.advice.is_empty() {
            lines.push(format!("→ {}", printable(&self.advice)));
        }
        [text_cell(&self.check), state_cell(word, Some(color)), Cell::new(lines.join("\n"))]
    }
}

fn protection_cell(status: &RuntimeStatus, name: &str) -> Cell {
    match status.protections.iter().find(|protection| protection.name == name) {
        Some(protection) => {
            let color = if protection.is_on() { Color::Green } else { Color::Yellow };
            state_cell(&protection.text(), Some(color))
        }
        None => text_cell("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::runtime_status::ProtectionStatus;

    fn report() -> Report {
        let mut report = Report::new();
        report.ok("program", "potluck");
        report.warning("tracker", "it does not answer", "start one with `potluck tracker`");
        let protection = |state: &str, reason: &str| ProtectionStatus {
            name: "landlock".to_owned(),
            state: state.to_owned(),
            reason: reason.to_owned(),
        };
        for (name, protections) in [("python", vec![protection("unavailable", "an old kernel")]), ("wasm", Vec::new())]
        {
            let status = RuntimeStatus { protections, ..RuntimeStatus::default() };
            report
                .runtimes
                .insert(name.to_owned(), RuntimeReport { works: true, error: None, task_seconds: Some(0.001), status });
        }
        report
    }

    #[test]
    fn the_worst_check_decides() {
        let mut report = report();
        assert_eq!(report.outcome(), Outcome::Warning);
        assert_eq!(report.summary(), "1 ok, 1 warning, 0 problems");
        report.problem("runtime python", "no python3", "");
        assert_eq!(report.outcome(), Outcome::Problem);
        assert_eq!(Report::new().outcome(), Outcome::Ok);
    }

    #[test]
    fn advice_stands_below_the_finding() {
        let cells = report().checks[1].cells();
        assert_eq!(cells[2].content(), "it does not answer\n→ start one with `potluck tracker`");
    }

    #[test]
    fn a_finding_of_several_lines_stays_that_and_commands_no_terminal() {
        let mut report = Report::new();
        report.problem("plugins.toml", "line 1\n  |  ^\u{1b}[2J\n", "");
        assert_eq!(report.checks[0].cells()[2].content(), "line 1\n  |  ^\\u{1b}[2J");
    }

    #[test]
    fn programs_get_one_object() {
        let report = report();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checks"][1]["outcome"], "warning");
        assert_eq!(json["checks"][0].get("advice"), None);
        assert_eq!(json["runtimes"]["python"]["protections"][0]["reason"], "an old kernel");
        assert_eq!((&json["runtimes"]["python"]["works"], &json["node"]), (&true.into(), &"none".into()));
    }

    #[test]
    fn a_runtime_that_tells_nothing_has_no_protections() {
        assert!(report().protections().is_some());
        assert!(Report::new().protections().is_none());
        assert_eq!(protection_cell(&RuntimeStatus::default(), "landlock").content(), "-");
        let status = &report().runtimes["python"].status.clone();
        assert_eq!(protection_cell(status, "landlock").content(), "not available (an old kernel)");
    }
}
