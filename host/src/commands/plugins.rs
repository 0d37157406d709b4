//! `potluck plugins`.

use super::session::{Session, parse};
use crate::output::table::{Table, state_cell, text_cell};
use crate::output::{self, units};
use comfy_table::{Cell, Color};
use potluck_sdk::message::node::{ListPlugins, PluginList, PluginReport, PluginState};
use std::process::ExitCode;

const MESSAGES: &str = "MESSAGES";

/// Lists a node's plugins, and below them the reasons of those that do not work.
pub(super) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&ListPlugins {}).await?;
    let list: PluginList = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.plugins.is_empty() {
        output::print_line("No plugins; name them in plugins.toml")?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = table(&list.plugins, true);
    if table.fits("") {
        table.print("")?;
    } else {
        // What they answer is long, so in a narrow terminal it comes below the numbers.
        self::table(&list.plugins, false).print("")?;
        output::print_line("")?;
        let mut messages = Table::new(&["PLUGIN", MESSAGES]);
        for plugin in &list.plugins {
            messages.row([plugin.id.as_str(), &plugin.messages.join(", ")]);
        }
        messages.print("")?;
    }
    let reasons: Vec<String> = list.plugins.iter().filter_map(reason).collect();
    if !reasons.is_empty() {
        output::print_line(&format!("\n{}", reasons.join("\n")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(plugins: &[PluginReport], with_messages: bool) -> Table {
    let mut headings = vec!["PLUGIN", "STATE", "VERSION", "ISOLATION", "CALLS", "ERRORS", "P50", "P99"];
    headings.extend(with_messages.then_some(MESSAGES));
    let mut table = Table::new(&headings);
    for plugin in plugins {
        let messages = with_messages.then(|| text_cell(&plugin.messages.join(", ")));
        table.cells(row(plugin).into_iter().chain(messages));
    }
    table.align_right(4..8);
    table
}

/// Why a plugin does not work as it should, in one line.
fn reason(plugin: &PluginReport) -> Option<String> {
    let reason = plugin.reason.as_ref()?;
    Some(output::printable(&format!("{} is {}: {reason}", plugin.id, plugin.state.word())).into_owned())
}

fn row(plugin: &PluginReport) -> [Cell; 8] {
    let color = match plugin.state {
        PluginState::Failed => Some(Color::Red),
        PluginState::Degraded => Some(Color::Yellow),
        PluginState::Started => Some(Color::Green),
        PluginState::Declared | PluginState::Loaded | PluginState::Stopped => None,
    };
    [
        text_cell(&plugin.id),
        state_cell(plugin.state.word(), color),
        text_cell(if plugin.version.is_empty() { "-" } else { &plugin.version }),
        text_cell(&plugin.isolation),
        text_cell(&plugin.calls.to_string()),
        text_cell(&plugin.errors.to_string()),
        text_cell(&latency(plugin.p50_microseconds)),
        text_cell(&latency(plugin.p99_microseconds)),
    ]
}

/// A latency for people. Of short answers the node times only some, so at first there is none, and it says 0.
fn latency(microseconds: f64) -> String {
    if microseconds > 0.0 { units::seconds(microseconds / 1e6) } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_takes_no_time() {
        assert_eq!([0.0, 0.25, 1.5].map(latency), ["-", "250 ns", "1.5 µs"]);
    }
}
