//! The runtimes of a node: whether each runs a task, what holds its workers back, and whose work it takes.

use super::report::{Report, RuntimeReport};
use super::{plain, trial};
use crate::commands::runtime_status::{self, RuntimeStatus};
use crate::commands::session::{Session, is_no_provider, parse};
use crate::output::activity::Activity;
use crate::output::units;
use potluck_sdk::message::cpu::{SandboxImage, SandboxImageList, SandboxImages};

const RUNTIMES: [&str; 3] = ["python", "sandbox", "wasm"];

/// Checks all of them, and the images of the sandbox.
pub(super) async fn check(session: &Session, report: &mut Report, activity: &Activity) {
    let mut trials = Vec::new();
    for name in RUNTIMES {
        let so_far = if name == "sandbox" { "; its image is compiled first if that was not done yet" } else { "" };
        activity.say(&format!("running a task in {name}{so_far}"));
        trials.push((name, trial::run(session, name).await));
    }
    // Only now: a node learns what protects its workers from the first one of each runtime.
    let mut statuses = match runtime_status::ask(session).await {
        Ok(statuses) => statuses,
        Err(error) => return report.problem("runtimes", plain(&error), ""),
    };
    for (name, trial) in trials {
        let status = statuses.remove(name).unwrap_or_default();
        let (task_seconds, error) = match trial {
            Ok(seconds) => (Some(seconds), None),
            Err(error) => (None, Some(plain(&error))),
        };
        let runtime = RuntimeReport { works: error.is_none(), error, task_seconds, status };
        check_trial(name, &runtime, report);
        if runtime.works {
            check_protections(name, &runtime.status, report);
        }
        report.runtimes.insert(name.to_owned(), runtime);
    }
    check_images(session, report).await;
}

fn check_trial(name: &str, runtime: &RuntimeReport, report: &mut Report) {
    let check = format!("runtime {name}");
    match &runtime.error {
        None => {
            let description =
                if runtime.status.description.is_empty() { "it works" } else { &runtime.status.description };
            let seconds = units::seconds(runtime.task_seconds.unwrap_or_default());
            report.ok(&check, format!("{description}: x * x in {seconds}"));
        }
        // It says what to do.
        Some(error) => report.problem(&check, error.clone(), ""),
    }
}

fn check_protections(name: &str, status: &RuntimeStatus, report: &mut Report) {
    let check = format!("protection of {name}");
    if status.protections.is_empty() {
        report.warning(&check, "the node does not say what protects it from its tasks", "");
        return;
    }
    let others_work = match status.others_work.as_str() {
        "" => "it is not known whether work of others is accepted".to_owned(),
        word => format!("work of others is {word}"),
    };
    let missing: Vec<String> = status
        .protections
        .iter()
        .filter(|protection| !protection.is_on())
        .map(|protection| format!("{} is {}", protection.name, protection.text()))
        .collect();
    if missing.is_empty() {
        report.ok(&check, format!("all {} are on; {others_work}", status.protections.len()));
    } else if status.hardened == Some(false) {
        // What the node says of others' work is about these workers, which never get any.
        let finding =
            "off: tasks of this machine's user may do whatever the node may; work of others has other workers";
        report.warning(
            &check,
            finding,
            "remove `trusted = true` from [plugins.cpu] in plugins.toml if that is not wanted",
        );
    } else {
        let finding = format!("{}; {others_work}", missing.join(", "));
        report.warning(&check, finding, &advice(status));
    }
}

/// What would bring the missing protections, as far as anything on this machine can.
fn advice(status: &RuntimeStatus) -> String {
    let lacks = |name: &str| status.protections.iter().any(|protection| protection.name == name && !protection.is_on());
    let mut advice = Vec::new();
    if lacks("landlock") {
        advice.push("Landlock takes Linux 5.13 or later, with `landlock` among the kernel's security modules (lsm=)");
    }
    if lacks("seccomp") || lacks("no_new_privs") {
        advice.push("seccomp takes a kernel with CONFIG_SECCOMP_FILTER, and a container that does not forbid it");
    }
    if lacks("rlimits") || lacks("process_group") || lacks("capabilities") {
        advice.push("start the node as an ordinary user, in a session whose limits it may lower");
    }
    advice.join("; ")
}

async fn check_images(session: &Session, report: &mut Report) {
    let listed = match session.ask(&SandboxImages {}).await {
        Ok(reply) => parse::<SandboxImageList>(&reply),
        // A node of another version, where the trial has told already whether there is a sandbox.
        Err(error) if is_no_provider(&error) => return,
        Err(error) => Err(error),
    };
    match listed {
        Err(error) => report.problem("sandbox images", plain(&error), ""),
        Ok(list) if list.images.is_empty() => {
            report.problem("sandbox images", "the node has none", "`cargo xtask dist` builds the standard one");
        }
        Ok(list) => {
            let texts: Vec<String> = list.images.iter().map(image_text).collect();
            report.ok("sandbox images", texts.join(", "));
            report.images = list.images;
        }
    }
}

fn image_text(image: &SandboxImage) -> String {
    let compiled = match image.compiled_bytes {
        0 => "compiled when it is first used".to_owned(),
        bytes => format!("compiled: {}", units::bytes(bytes)),
    };
    format!("{} ({}, {compiled})", image.name, units::bytes(image.bytes))
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;
    use crate::commands::runtime_status::ProtectionStatus;

    fn status(landlock: &str, hardened: bool, others_work: &str) -> RuntimeStatus {
        let protection = |name: &str, state: &str| ProtectionStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            reason: if state == "on" { String::new() } else { "an old kernel".to_owned() },
        };
        RuntimeStatus {
            hardened: Some(hardened),
            others_work: others_work.to_owned(),
            protections: vec![protection("landlock", landlock), protection("seccomp", "on")],
            ..RuntimeStatus::default()
        }
    }

    fn checked(status: &RuntimeStatus) -> (Outcome, String) {
        let mut report = Report::new();
        check_protections("python", status, &mut report);
        let check = report.checks.remove(0);
        (check.outcome, format!("{} {}", check.finding, check.advice))
    }

    #[test]
    fn a_missing_protection_says_why_and_what_follows() {
        let (outcome, text) = checked(&status("on", true, "accepted"));
        assert_eq!((outcome, text.trim()), (Outcome::Ok, "all 2 are on; work of others is accepted"));
        let (outcome, text) = checked(&status("unavailable", true, "refused: the workers lack landlock"));
        assert_eq!(outcome, Outcome::Warning);
        for words in ["landlock is not available (an old kernel)", "refused: the workers lack landlock", "5.13"] {
            assert!(text.contains(words), "{words:?} is missing in {text}");
        }
        let (outcome, text) = checked(&status("off", false, "accepted"));
        assert!(outcome == Outcome::Warning && text.contains("trusted = true"), "{text}");
        assert_eq!(checked(&RuntimeStatus::default()).0, Outcome::Warning);
    }

    #[test]
    fn a_runtime_that_fails_is_a_problem() {
        let mut report = Report::new();
        let runtime = |error: Option<&str>| RuntimeReport {
            works: error.is_none(),
            error: error.map(str::to_owned),
            task_seconds: error.is_none().then_some(0.002),
            status: RuntimeStatus { description: "CPython 3.11.2".to_owned(), ..RuntimeStatus::default() },
        };
        check_trial("python", &runtime(None), &mut report);
        assert_eq!(report.checks[0].finding, "CPython 3.11.2: x * x in 2.0 ms");
        check_trial("python", &runtime(Some("no interpreter")), &mut report);
        assert_eq!((report.outcome(), report.checks[1].finding.as_str()), (Outcome::Problem, "no interpreter"));
    }
}
