//! `potluck sandbox install`: one long request, and events meanwhile that tell how far it is.

mod progress;

use crate::cli::SandboxInstallArgs;
use crate::commands::EXIT_INTERRUPTED;
use crate::commands::sandbox::compiled;
use crate::commands::session::{Session, parse};
use crate::net::client::Client;
use crate::output::{self, printable, units};
use anyhow::Context;
use potluck_sdk::ProviderError;
use potluck_sdk::message::cpu::{SANDBOX_INSTALL_TOPIC, SandboxInstall, SandboxInstallProgress, SandboxInstalled};
use potluck_sdk::message::node::{Events, WatchEvents};
use potluck_sdk::message::to_json;
use progress::Progress;
use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::ctrl_c;

/// Installs an image and shows how far that is.
pub(super) async fn run(session: &Session, args: SandboxInstallArgs) -> anyhow::Result<ExitCode> {
    let wheel = args.wheel.as_deref().map(absolute).transpose()?;
    let request = to_json(&SandboxInstall { image: Some(Cow::Borrowed(&args.image)), wheel: wheel.map(Cow::Owned) });
    let progress = Progress::new(&args.image);

    let mut interrupt = std::pin::pin!(ctrl_c());
    // Events are asked for before there are any: a node takes the messages of one connection in their order.
    let mut events = std::pin::pin!(watch(&session.client, None));
    // No limit on the wait: it takes what it takes, and the link finds out when the node is gone.
    let mut installed = std::pin::pin!(session.client.request(&request, &[]));
    let mut is_watching = true;
    let reply = loop {
        tokio::select! {
            biased;
            Ok(()) = &mut interrupt => {
                progress.clear();
                // The node stops when it learns that nobody waits any more: when this program's connection is closed.
                output::note(&format!("Interrupted; the node stops installing {}", printable(&args.image)));
                return Ok(ExitCode::from(EXIT_INTERRUPTED));
            }
            fetched = &mut events, if is_watching => match fetched {
                Ok(fetched) => {
                    for event in &fetched.events {
                        show(&progress, &args.image, event.body.get());
                    }
                    events.set(watch(&session.client, Some(fetched.next)));
                }
                // A node that tells no events installs all the same.
                Err(_) => is_watching = false,
            },
            reply = &mut installed => break reply,
        }
    };
    progress.clear();
    let reply = reply?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let installed: SandboxInstalled = parse(&reply)?;
    let image = &installed.image;
    let text =
        format!("Image installed: {} ({}, compiled: {})", image.name, units::bytes(image.bytes), compiled(image));
    output::print_line(&printable(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// The node has another working directory than this program.
fn absolute(wheel: &Path) -> anyhow::Result<String> {
    let path = wheel.canonicalize().with_context(|| format!("cannot read the wheel {}", wheel.display()))?;
    path.into_os_string().into_string().ok().context("the wheel's path is not UTF-8; move the file elsewhere")
}

async fn watch(client: &Client, after: Option<u64>) -> Result<Events, ProviderError> {
    let message = WatchEvents { topics: vec![SANDBOX_INSTALL_TOPIC.to_owned()], after };
    let reply = client.request(&to_json(&message), &[]).await?;
    serde_json::from_str(&reply.json).map_err(|error| ProviderError::invalid(error.to_string()))
}

/// Shows an event, unless it is about another image that somebody else installs.
fn show(progress: &Progress, image: &str, body: &str) {
    if let Ok(event) = serde_json::from_str::<SandboxInstallProgress>(body)
        && event.image == image
    {
        progress.show(&event.phase, event.fraction);
    }
}
