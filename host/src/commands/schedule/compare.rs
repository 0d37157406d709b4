//! `potluck schedule compare`: one workload in several algorithms.

use super::super::session::{Session, parse};
use super::super::{EXIT_INTERRUPTED, UsageError};
use super::{described, gantt};
use crate::cli::ScheduleCompareArgs;
use crate::output::raw_json::{Members, elements};
use crate::output::table::Table;
use crate::output::{self, printable};
use anyhow::Context;
use potluck_sdk::message::scheduler::{
    AlgorithmComparison, CompareSchedulers, Schedule, SchedulerComparison, Workload,
};
use potluck_sdk::message::{RawValue, to_json};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::ctrl_c;

/// Longest file; programs of 64 processes fit.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Width of a chart where there is no terminal.
const CHART_WIDTH: usize = 100;
/// Widest chart.
const CHART_WIDTH_MAX: usize = 200;
const MARGIN: &str = "  ";

/// Compares, and shows tables, charts and differences.
pub(super) async fn run(session: &Session, args: ScheduleCompareArgs) -> anyhow::Result<ExitCode> {
    let workload = read(&args.workload)?;
    let request = CompareSchedulers {
        workload,
        algorithms: (!args.algorithms.is_empty()).then_some(args.algorithms),
        real: Some(!args.simulate_only),
        quantum_ms: args.quantum,
    };
    let json = to_json(&request);
    // No limit on the wait: the node has one, and the link finds out when the node is gone.
    let reply = tokio::select! {
        biased;
        Ok(()) = ctrl_c() => {
            // The node stops when it learns that nobody waits any more: when this program's connection is closed.
            output::note("Interrupted; the node ends the comparison");
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        reply = session.client.request(&json, &[]) => reply?,
    };
    let comparison: SchedulerComparison = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print(&text(&comparison, chart_width()))?;
    }
    let has_failed = |schedule: &Schedule| schedule.processes.iter().any(|process| process.error.is_some());
    let failed = comparison.algorithms.iter().filter_map(|one| one.real.as_ref()).any(has_failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> anyhow::Result<Workload> {
    let shown = path.display();
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the workload from {shown}"))?;
    parse_workload(&text)
        .map_err(|mistake| {
            UsageError(format!("{shown} is no workload: {mistake}; see `potluck schedule compare --help`"))
        })
        .map_err(Into::into)
}

/// Reads a workload, or says which of its entries is wrong, and where.
fn parse_workload(text: &str) -> Result<Workload, String> {
    must_be_objects(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let workload = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // A mistake in the JSON itself has no entry.
        if path == "." || error.inner().is_syntax() || error.inner().is_eof() {
            error.into_inner().to_string()
        } else {
            format!("{path}: {}", error.into_inner())
        }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(workload)
}

/// Refuses a workload, and an entry of it, that is no object. An array would be taken for the fields in their order. What is
/// no JSON at all is left to those who know the place.
fn must_be_objects(text: &str) -> Result<(), String> {
    let Ok(whole) = serde_json::from_str::<&RawValue>(text) else { return Ok(()) };
    let Some(members) = Members::of(whole.get()) else {
        let text = "it must be a JSON object with a list of processes, such as {\"processes\": [{\"burst_ms\": 240}]}";
        return Err(text.to_owned());
    };
    let processes = members.get("processes").and_then(elements).unwrap_or_default();
    match processes.iter().position(|process| !process.get().starts_with('{')) {
        Some(index) => {
            Err(format!("processes[{index}]: it must be an object with `burst_ms`, such as {{\"burst_ms\": 240}}"))
        }
        None => Ok(()),
    }
}

fn chart_width() -> usize {
    let width = comfy_table::Table::new().width().map_or(CHART_WIDTH, usize::from);
    // The margin, what says which line it is, and the last border.
    width.min(CHART_WIDTH_MAX).saturating_sub(MARGIN.len() + "simulated 63 ".len() + 2)
}

fn text(comparison: &SchedulerComparison, chart_width: usize) -> String {
    let mut text = String::new();
    if let Some(title) = &comparison.title {
        text += &format!("{}\n\n", printable(title));
    }
    for one in &comparison.algorithms {
        text += &format!("{}\n", described(&one.scheduler));
        text += &processes(one);
        text += "\n\n";
        text += &chart("simulated", &one.simulated, comparison.slots, chart_width);
        if let Some(real) = &one.real {
            text += &chart("real", real, comparison.slots, chart_width);
            text += &format!("{MARGIN}Where they differ:\n");
        }
        for difference in &one.differences {
            text += &format!("{MARGIN}- {}\n", printable(difference));
        }
        text += "\n";
    }
    text += "All algorithms, on average in ms:\n";
    text += &summary(comparison);
    text += &format!("\n\nShortest average waiting, simulated: {}\n", comparison.shortest_waiting.join(", "));
    for note in &comparison.notes {
        text += &format!("Note: {}\n", printable(note));
    }
    text
}

/// The classic table, with what was measured beside what was simulated.
fn processes(one: &AlgorithmComparison) -> String {
    let exact = &one.simulated;
    let mut headings =
        vec!["PROCESS", "ARRIVAL", "BURST", "PRIORITY", "START", "END", "WAITING", "TURNAROUND", "RESPONSE"];
    if one.real.is_some() {
        headings.extend(["REAL: WAITING", "TURNAROUND", "RESPONSE"]);
    }
    let mut table = Table::new(&headings);
    for (index, process) in exact.processes.iter().enumerate() {
        let mut row = vec![process.name.clone(), millis(process.arrival_ms), millis(process.burst_ms)];
        row.push(process.priority.to_string());
        let times =
            [process.start_ms, process.completion_ms, process.waiting_ms, process.turnaround_ms, process.response_ms];
        row.extend(times.map(millis));
        if let Some(real) = one.real.as_ref().and_then(|real| real.processes.get(index)) {
            let has_run = real.completion_ms > 0.0;
            let measured = |millis: f64| if has_run { format!("{millis:.1}") } else { "-".to_owned() };
            row.extend([real.waiting_ms, real.turnaround_ms, real.response_ms].map(measured));
        }
        table.row(row);
    }
    let mut row = vec!["average".to_owned()];
    row.extend(std::iter::repeat_n(String::new(), 5));
    row.extend([exact.average_waiting_ms, exact.average_turnaround_ms, exact.average_response_ms].map(millis));
    if let Some(real) = &one.real {
        let averages = [real.average_waiting_ms, real.average_turnaround_ms, real.average_response_ms];
        row.extend(averages.map(|millis| format!("{millis:.1}")));
    }
    table.row(row);
    table.align_right(1..headings.len());
    table.text(MARGIN)
}

fn chart(what: &str, schedule: &Schedule, slots: usize, width: usize) -> String {
    let lines = gantt::lines(schedule, slots, width);
    let last = lines.len().saturating_sub(1);
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let slot = if slots > 1 && index < last { index.to_string() } else { String::new() };
        let what = if index == 0 { what } else { "" };
        text += &format!("{MARGIN}{what:9} {slot:>2} {}\n", printable(line).trim_end());
    }
    if schedule.segments_left_out > 0 {
        text += &format!("{MARGIN}({} more segments are not shown)\n", schedule.segments_left_out);
    }
    text
}

fn summary(comparison: &SchedulerComparison) -> String {
    let is_real = comparison.algorithms.iter().any(|one| one.real.is_some());
    let mut headings = vec!["ALGORITHM", "WAITING", "TURNAROUND", "RESPONSE", "SWITCHES", "PER SECOND"];
    if is_real {
        headings.extend(["REAL: WAITING", "TURNAROUND", "RESPONSE", "SWITCHES", "PER SECOND"]);
    }
    let mut table = Table::new(&headings);
    for one in &comparison.algorithms {
        let columns = |schedule: &Schedule, shown: fn(f64) -> String| {
            [
                shown(schedule.average_waiting_ms),
                shown(schedule.average_turnaround_ms),
                shown(schedule.average_response_ms),
                schedule.context_switches.to_string(),
                format!("{:.2}", schedule.throughput_per_second),
            ]
        };
        let mut row = vec![one.name.clone()];
        row.extend(columns(&one.simulated, millis));
        row.extend(one.real.iter().flat_map(|real| columns(real, |millis| format!("{millis:.1}"))));
        table.row(row);
    }
    table.align_right(1..headings.len());
    table.text(MARGIN)
}

/// Milliseconds to the microsecond, without zeros at the end.
fn millis(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::scheduler::{ProcessTimes, Segment};

    fn schedule() -> Schedule {
        Schedule {
            processes: vec![ProcessTimes {
                name: "P1".to_owned(),
                burst_ms: 24.0,
                completion_ms: 24.0,
                turnaround_ms: 24.0,
                ..ProcessTimes::default()
            }],
            segments: vec![Segment { slot: 0, name: "P1".to_owned(), from_ms: 0.0, to_ms: 24.0 }],
            average_turnaround_ms: 24.0,
            end_ms: 24.0,
            ..Schedule::default()
        }
    }

    fn comparison(real: Option<Schedule>) -> SchedulerComparison {
        let one = AlgorithmComparison {
            name: "FCFS".to_owned(),
            simulated: schedule(),
            differences: real.iter().map(|_| "average waiting 1.0 ms".to_owned()).collect(),
            real,
            ..AlgorithmComparison::default()
        };
        SchedulerComparison { slots: 1, algorithms: vec![one], ..SchedulerComparison::default() }
    }

    #[test]
    fn a_comparison_has_table_chart_and_differences() {
        let shown = text(&comparison(Some(schedule())), 40);
        for expected in ["REAL: WAITING", "|P1=====", "simulated", "real ", "- average waiting 1.0 ms", "average  "] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        let simulated = text(&comparison(None), 40);
        assert!(!simulated.contains("REAL") && !simulated.contains("differ"), "{simulated}");
    }

    #[test]
    fn what_is_no_object_is_told_what_a_workload_is() {
        for text in ["[]", " [1, 2, 3, 4, 5, []]\n", "null", "5", "\"FCFS\""] {
            let mistake = parse_workload(text).unwrap_err();
            assert!(mistake.starts_with("it must be a JSON object with a list of processes"), "{text}: {mistake}");
        }
        for entries in ["[{\"burst_ms\": 1}, 5]", "[{\"burst_ms\": 1}, [\"P2\", 0, 5, 0, null, null, null, null]]"] {
            let mistake = parse_workload(&format!("{{\"processes\": {entries}}}")).unwrap_err();
            assert!(mistake.starts_with("processes[1]: it must be an object with `burst_ms`"), "{entries}: {mistake}");
        }
        assert_eq!(parse_workload(" {\"processes\": [{\"burst_ms\": 1}]}").unwrap().processes.len(), 1);
    }

    #[test]
    fn milliseconds_have_no_zeros_at_the_end() {
        let shown = [17.0, 5.666_666, 0.0, 10.25, 100.0].map(millis);
        assert_eq!(shown, ["17", "5.667", "0", "10.25", "100"]);
    }
}
