//! `potluck resources`.

use super::{Node, age_seconds, count};
use crate::cli::{ResourcesCommand, Units};
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, printable, units};
use potluck_sdk::message::deadlock::{
    ListResources, ProcessDone, RegisterProcess, RegisterResource, ReleaseResource, RequestResource, ResourceDone,
    ResourceList, UnitsDone, UnregisterProcess, UnregisterResource,
};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Lines of one answer of the node.
const PAGE: usize = 1000;

/// Carries out what is asked of resources.
pub(super) async fn run(node: &Node, command: Option<ResourcesCommand>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(ResourcesCommand::List) {
        ResourcesCommand::List => list(node).await?,
        ResourcesCommand::Register { resource, kind } => {
            let (resource_id, total_units) = (Some(resource.resource), Some(resource.units));
            let reply = node.ask(&RegisterResource { resource_id, resource_type: kind, total_units }).await?;
            node.print(&reply, || {
                let done: ResourceDone = parse(&reply)?;
                let units = count(done.total_units, "unit", "units");
                Ok(format!("{} ({}): {units}", done.resource_id, done.resource_type))
            })?;
        }
        ResourcesCommand::Unregister { resource } => {
            let reply = node.ask(&UnregisterResource { resource_id: Some(resource) }).await?;
            node.print(&reply, || Ok(format!("{} forgotten", parse::<ResourceDone>(&reply)?.resource_id)))?;
        }
        ResourcesCommand::Need { pid, needs } => {
            let reply = node.ask(&RegisterProcess { pid: Some(pid), max_need: together(needs)? }).await?;
            node.print(&reply, || {
                let done: ProcessDone = parse(&reply)?;
                Ok(format!("{} will need {} at most", done.pid, amounts(&done.max_need)))
            })?;
        }
        ResourcesCommand::Forget { pid } => {
            let reply = node.ask(&UnregisterProcess { pid: Some(pid) }).await?;
            node.print(&reply, || Ok(format!("{} forgotten", parse::<ProcessDone>(&reply)?.pid)))?;
        }
        ResourcesCommand::Request { pid, requests, wait, timeout } => {
            let (resource_id, units, requests) = one_or_many(requests)?;
            let message = RequestResource { pid: Some(pid), resource_id, units, requests, timeout, wait };
            let reply = match wait || timeout.is_some() {
                true => node.wait(&message, timeout).await?,
                false => node.ask(&message).await?,
            };
            node.print(&reply, || {
                let done: UnitsDone = parse(&reply)?;
                Ok(format!("Granted; {} has {}", done.pid, amounts(&done.allocation)))
            })?;
        }
        ResourcesCommand::Release { pid, releases } => {
            let (resource_id, units, requests) = one_or_many(releases)?;
            let reply = node.ask(&ReleaseResource { pid: Some(pid), resource_id, units, requests }).await?;
            node.print(&reply, || {
                let done: UnitsDone = parse(&reply)?;
                Ok(format!("Released; {} has {}", done.pid, amounts(&done.allocation)))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(node: &Node) -> anyhow::Result<()> {
    let mut request = ListResources { limit: Some(PAGE), after: None };
    let mut all = ResourceList::default();
    let mut pages = Pages::new("processes", node.json());
    loop {
        let reply = node.ask(&request).await?;
        let page: ResourceList = parse(&reply)?;
        pages.add(&reply.json);
        let is_empty = page.processes.is_empty();
        if all.resources.is_empty() {
            (all.resources, all.waiting, all.waiting_count) = (page.resources, page.waiting, page.waiting_count);
            (all.safe_state, all.safe_sequence) = (page.safe_state, page.safe_sequence);
        }
        all.processes.extend(page.processes);
        request.after = page.next.filter(|_| !is_empty && !pages.is_full());
        if request.after.is_none() {
            break;
        }
    }
    if node.json() {
        return Ok(pages.finish()?);
    }
    print_resources(&all)?;
    print_processes(&all)?;
    print_waiting(&all)?;
    output::print_line("")?;
    output::print_line(&printable(&safety(&all)))?;
    pages.finish()?;
    Ok(())
}

fn print_resources(list: &ResourceList) -> anyhow::Result<()> {
    let mut table = Table::new(&["RESOURCE", "TYPE", "TOTAL", "AVAILABLE", "ALLOCATED"]);
    for line in &list.resources {
        let numbers = [line.total, line.available, line.allocated].map(|number| number.to_string());
        table.row([line.resource_id.clone(), line.resource_type.clone()].into_iter().chain(numbers));
    }
    table.align_right(2..5);
    table.print("")?;
    Ok(())
}

fn print_processes(list: &ResourceList) -> anyhow::Result<()> {
    if list.processes.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let mut table = Table::new(&["PROCESS", "HAS", "STILL NEEDS", "AT MOST"]);
    for line in &list.processes {
        table.row([line.pid.clone(), amounts(&line.allocation), amounts(&line.need), amounts(&line.max_need)]);
    }
    table.print("")?;
    Ok(())
}

fn print_waiting(list: &ResourceList) -> anyhow::Result<()> {
    if list.waiting.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let mut table = Table::new(&["WAITING", "FOR", "SINCE", "WHY"]);
    for line in &list.waiting {
        let since = units::seconds(age_seconds(line.since_unix_ms).round());
        table.row([line.pid.clone(), amounts(&line.requests), since, line.why.clone()]);
    }
    table.print("")?;
    Ok(())
}

fn safety(list: &ResourceList) -> String {
    match (list.safe_state, list.safe_sequence.is_empty()) {
        (true, true) => "Safe state".to_owned(),
        (true, false) => format!("Safe state: {} can finish one after the other", list.safe_sequence.join(", ")),
        (false, _) => "Unsafe state: not all processes can be sure to finish".to_owned(),
    }
}

/// `2 CPU, 1 PRINTER`.
fn amounts(units: &BTreeMap<String, u64>) -> String {
    let held: Vec<String> =
        units.iter().filter(|(_, units)| **units > 0).map(|(resource, units)| format!("{units} {resource}")).collect();
    if held.is_empty() { "nothing".to_owned() } else { held.join(", ") }
}

fn together(units: Vec<Units>) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut all = BTreeMap::new();
    for Units { resource, units } in units {
        if all.insert(resource.clone(), units).is_some() {
            return Err(super::UsageError(format!("{resource} is named twice; give each resource once")).into());
        }
    }
    Ok(all)
}

/// One resource in the words of the original system, or several.
type OneOrMany = (Option<String>, Option<i64>, BTreeMap<String, i64>);

fn one_or_many(mut units: Vec<Units>) -> anyhow::Result<OneOrMany> {
    match units.pop() {
        Some(only) if units.is_empty() => Ok((Some(only.resource), Some(only.units), BTreeMap::new())),
        last => Ok((None, None, together(units.into_iter().chain(last).collect())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(resource: &str, units: i64) -> Units {
        Units { resource: resource.to_owned(), units }
    }

    #[test]
    fn one_resource_is_asked_for_as_ever_and_several_at_once() {
        assert_eq!(one_or_many(vec![units("CPU", 2)]).unwrap(), (Some("CPU".to_owned()), Some(2), BTreeMap::new()));
        let (id, _, many) = one_or_many(vec![units("CPU", 2), units("DISK", 1)]).unwrap();
        assert_eq!((id, many["CPU"], many["DISK"]), (None, 2, 1));
        assert!(one_or_many(vec![units("CPU", 2), units("CPU", 1)]).is_err());
    }
}
