//! `potluck doctor`: checks the installation and its node, and says what to do about what is not right.
//!
//! A node that runs is asked, as any client could. When none does, the doctor looks at what `potluck peer` would find,
//! and starts a node of its own for the rest.

mod installation;
mod private_node;
mod report;
mod running;
mod runtimes;
mod trial;

use super::EXIT_INTERRUPTED;
use super::session::{Session, Target, is_loopback, is_nobody_there};
use crate::cli::{DoctorArgs, PEER_PORT_DEFAULT};
use crate::output;
use crate::output::activity::Activity;
use anyhow::Context;
use private_node::PrivateNode;
use report::{Outcome, Report, Subject};
use std::process::ExitCode;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Checks everything and prints what was found.
pub(super) async fn run(node: &Target, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let mut report = Report::new();
    {
        let examination = std::pin::pin!(examine(node, &args, &mut report));
        tokio::select! {
            biased;
            // A node that was started for the checks goes with the examination.
            Ok(()) = ctrl_c() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            _ = terminate.recv() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            _ = hang_up.recv() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            examined = examination => examined?,
        }
    }
    report.print(node.json)?;
    Ok(if report.outcome() == Outcome::Problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(node: &Target, args: &DoctorArgs, report: &mut Report) -> anyhow::Result<()> {
    installation::check_program(report);
    let address = node.address()?;
    let activity = Activity::new(&format!("asking {address}"));
    match Session::connect(node).await {
        Ok(session) => {
            report.node = Subject::Running;
            let is_here = is_loopback(&address);
            running::check(&session, &address, is_here.then_some(&args.node), report, &activity).await;
        }
        Err(error) if is_nobody_there(&error) && is_loopback(&address) => {
            examine_without_node(node, args, report, &activity).await?;
        }
        Err(error) => report.problem("node", format!("{error:#}"), ""),
    }
    Ok(())
}

/// Nobody listens where the node would be.
async fn examine_without_node(
    node: &Target,
    args: &DoctorArgs,
    report: &mut Report,
    activity: &Activity,
) -> anyhow::Result<()> {
    let port = node.address()?.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(PEER_PORT_DEFAULT);
    activity.say("looking at the installation");
    let Some(plugins) = installation::check(&args.node, port, report).await else { return Ok(()) };
    activity.say("starting a node for the checks");
    let private = match PrivateNode::start(&plugins).await {
        Ok(private) => private,
        Err(error) => {
            report.problem("node", format!("{error:#}"), "");
            return Ok(());
        }
    };
    let (host, port) = (Some(private.host().to_owned()), Some(private.port()));
    let target = Target { host, port, json: node.json, ..Target::default() };
    match Session::connect(&target).await {
        Ok(session) => {
            report.node = Subject::Private;
            running::check_private(&session, private.start_seconds(), report, activity).await;
        }
        Err(error) => report.problem("node", format!("the node that was started does not answer: {error:#}"), ""),
    }
    activity.say("stopping the node");
    // Blocks until it is gone; nobody waits for anything else any more.
    drop(private);
    Ok(())
}

/// A problem of a message that a node should answer at once.
fn plain(error: &anyhow::Error) -> String {
    output::one_line(&format!("{error:#}")).into_owned()
}
