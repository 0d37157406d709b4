//! What the node is as an operating system: the allocator, what history and the other plugins cost, system calls,
//! queues, scheduling, and what those cost who wait.

mod allocator;
mod calls;
mod history;
mod price;
mod queues;
mod records;
mod scheduling;
mod waits;

use crate::Setup;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Measures one thing.
type Part = fn(&Setup, &mut dyn FnMut(Report)) -> Result<()>;

const PARTS: [(&str, Part); 8] = [
    ("allocator", allocator::run),
    ("history", history::run),
    ("records", records::run),
    ("price", price::run),
    ("calls", calls::run),
    ("queues", queues::run),
    ("scheduling", scheduling::run),
    ("waits", waits::run),
];

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let wanted = |name: &str| setup.part.as_deref().is_none_or(|part| part == name);
    let names = PARTS.map(|(name, _)| name).join(", ");
    ensure!(PARTS.iter().any(|(name, _)| wanted(name)), "--part: expected one of {names}");
    let mut failed = Vec::new();
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        // One that cannot be measured is no reason not to measure the others.
        if let Err(error) = part(setup, found) {
            setup.interrupt.check()?;
            failed.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Plugins without a table of their own, in a node whose connections stay open while something else is measured.
fn plugins(names: &[&str]) -> String {
    let tables: String = names.iter().map(|name| format!("[plugins.{name}]\n")).collect();
    format!("[node]\nidle_seconds = 3600.0\n\n{tables}")
}

/// The composition that a node has by default, with the interpreter of the comparison and further keys for cpu.
fn all_plugins(setup: &Setup, cpu_keys: &str) -> Result<String> {
    let path = setup.dist.join("share/plugins.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // A TOML basic string is written like a JSON one.
    let python = Value::from(setup.python.to_string_lossy());
    let with = |text: String, head: &str, keys: &str| {
        ensure!(text.matches(head).count() == 1, "{} has not one line {head:?}", path.display());
        Ok(text.replace(head, &format!("{head}{keys}")))
    };
    let text = with(text, "\n[node]\n", "idle_seconds = 3600.0\n")?;
    with(text, "\n[plugins.cpu]\n", &format!("python = {python}\n{cpu_keys}\n"))
}
