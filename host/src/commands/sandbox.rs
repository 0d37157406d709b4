//! `potluck sandbox`: the images that sandboxed Python runs in.

mod info;
mod install;

use super::session::{Session, parse};
use crate::cli::{SandboxCommand, SandboxRemoveArgs};
use crate::output::table::Table;
use crate::output::{self, units};
use potluck_sdk::message::cpu::{SandboxImage, SandboxImageList, SandboxImages, SandboxRemove};
use std::borrow::Cow;
use std::process::ExitCode;

/// Carries out one of the subcommands.
pub(super) async fn run(session: &Session, command: SandboxCommand) -> anyhow::Result<ExitCode> {
    match command {
        SandboxCommand::Install(args) => install::run(session, args).await,
        SandboxCommand::List => list(session).await,
        SandboxCommand::Remove(args) => remove(session, &args).await,
        SandboxCommand::Info(args) => info::run(session, &args.image).await,
    }
}

async fn list(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&SandboxImages {}).await?;
    let list: SandboxImageList = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if list.images.is_empty() {
        output::print_line("No images")?;
    } else {
        let mut table = Table::new(&["NAME", "SOURCE", "PACKAGES", "SIZE", "COMPILED", "DESCRIPTION"]);
        for image in &list.images {
            table.row([
                image.name.as_str(),
                &image.source,
                &image.packages.len().to_string(),
                &units::bytes(image.bytes),
                &compiled(image),
                &image.description,
            ]);
        }
        table.align_right(2..5);
        table.print("")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The size of the compiled code. Without any the first task waits until there is some.
fn compiled(image: &SandboxImage) -> String {
    if image.compiled_bytes == 0 { "not yet".to_owned() } else { units::bytes(image.compiled_bytes) }
}

async fn remove(session: &Session, args: &SandboxRemoveArgs) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&SandboxRemove { image: Some(Cow::Borrowed(&args.image)) }).await?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&format!("Image removed: {}", args.image))?;
    }
    Ok(ExitCode::SUCCESS)
}
