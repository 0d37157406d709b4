//! What the kernel tells about the machine and its processes.

use crate::Setup;
use crate::process::output_of;
use std::fs;
use std::process::Command;

/// Above this many runnable processes on average, somebody else is at work.
const LOAD_IDLE_MAX: f64 = 0.5;

/// The unit of /proc/PID/stat: Linux shows it the same on all of its machines.
const TICKS_PER_SECOND: f64 = 100.0;

/// What figures depend on, for the top of the page.
pub(crate) fn facts(setup: &Setup) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let mut text = format!(
        "{cores} cores, {}, Linux {}, load {load:.2}\nnode: {}\npython: {} ({})\n",
        model.unwrap_or("unknown processor"),
        kernel.trim(),
        setup.dist.display(),
        setup.python.display(),
        output_of(Command::new(&setup.python).arg("--version")).unwrap_or_else(|| "it cannot be run".to_owned()),
    );
    text += "Absolute figures belong to this machine and this moment; what counts are the\nratios, medians over rounds in which both sides were measured one right after the other.";
    if load > LOAD_IDLE_MAX {
        text += "\nThe load says that something else was running: absolute figures are worse than on an idle machine.";
    }
    text
}

/// One line of /proc/PID/status, in its unit.
pub(crate) fn status_field(process: u32, field: &str) -> Option<f64> {
    field_of(&read(&format!("/proc/{process}/status")), field)
}

/// What a process was started with.
pub(crate) fn command_line(process: u32) -> Vec<String> {
    read(&format!("/proc/{process}/cmdline")).split_terminator('\0').map(str::to_owned).collect()
}

/// Memory that a process shares with no other, in MiB; nothing when the kernel does not tell.
pub(crate) fn private_mebibytes(process: u32) -> Option<f64> {
    let sizes = read(&format!("/proc/{process}/smaps_rollup"));
    Some((field_of(&sizes, "Private_Clean")? + field_of(&sizes, "Private_Dirty")?) / 1024.0)
}

/// Processor time that the threads of a process have used so far.
pub(crate) fn processor_nanoseconds(process: u32) -> f64 {
    // The first number is the time on a processor; /proc/PID/schedstat itself is that of the first thread alone.
    per_thread(process, "schedstat", |text| text.split(' ').next()?.parse().ok())
}

/// Processor time that a process has used so far, with its threads that have ended, in seconds.
pub(crate) fn processor_seconds(process: u32) -> f64 {
    ticks(&process.to_string(), 13) / TICKS_PER_SECOND
}

/// Processor time of the children that this process has waited for so far, and of those that these have waited for.
pub(crate) fn children_seconds() -> f64 {
    ticks("self", 15) / TICKS_PER_SECOND
}

/// The sum of a field of /proc/PID/stat, counted from 0, and the one behind it: time as user and as kernel.
fn ticks(process: &str, field: usize) -> f64 {
    let text = read(&format!("/proc/{process}/stat"));
    // The name, the second field, may hold anything; it ends with the last parenthesis.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(field - 2).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// How often the threads of a process have gone to sleep so far.
pub(crate) fn wake_ups(process: u32) -> f64 {
    per_thread(process, "status", |text| field_of(text, "voluntary_ctxt_switches"))
}

/// The sum over all threads of what their files of that name say.
fn per_thread(process: u32, file: &str, read: impl Fn(&str) -> Option<f64>) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    threads.flatten().filter_map(|thread| read(&fs::read_to_string(thread.path().join(file)).ok()?)).sum()
}

/// The processes that a process has started and that are still there.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| status_field(*id, "PPid") == Some(f64::from(process))).collect()
}

fn field_of(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
