//! `potluck set-mem`, `get-mem`, `del-mem` and `list-mem`.

use super::pages::Pages;
use super::session::{Session, parse};
use super::{UsageError, values};
use crate::cli::{DelMemArgs, GetMemArgs, ListMemArgs, SetMemArgs};
use crate::output::table::Table;
use crate::output::{self, python_text, units};
use potluck_sdk::message::RawValue;
use potluck_sdk::message::memory::{DeleteMem, GetMem, ListMem, MemDeleted, MemList, MemResponse, SetMem};
use std::process::ExitCode;

/// Stores a value.
pub(super) async fn set(session: &Session, args: SetMemArgs) -> anyhow::Result<ExitCode> {
    let key = values::text_value(&args.key).map_err(UsageError)?;
    let value = if args.json_value {
        RawValue::from_string(args.value.trim().to_owned()).map_err(|error| {
            UsageError(format!("the value is no JSON ({error}); quote it, or leave --json-value out"))
        })?
    } else {
        values::text_value(&args.value).map_err(UsageError)?
    };
    let reply = session
        .ask(&SetMem { key: Some(&key), value: Some(&value), ttl_seconds: args.ttl, if_version: args.if_version })
        .await?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&format!("Memory set: {} = {}", args.key, args.value))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a value.
pub(super) async fn get(session: &Session, args: &GetMemArgs) -> anyhow::Result<ExitCode> {
    let key = values::text_value(&args.key).map_err(UsageError)?;
    let reply = session.ask(&GetMem { key: Some(&key) }).await?;
    let response: MemResponse<'_> = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if response.found {
        let value = response.value.map_or("null", RawValue::get);
        output::print_line(&format!("Memory value: {}", python_text::str_text(value)))?;
    } else {
        output::print_line(&format!("Key '{}' not found", args.key))?;
    }
    Ok(if response.found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes a value.
pub(super) async fn delete(session: &Session, args: &DelMemArgs) -> anyhow::Result<ExitCode> {
    let key = values::text_value(&args.key).map_err(UsageError)?;
    let reply = session.ask(&DeleteMem { key: Some(&key), if_version: args.if_version }).await?;
    let response: MemDeleted<'_> = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if response.deleted {
        output::print_line(&format!("Memory deleted: {}", args.key))?;
    } else {
        output::print_line(&format!("Key '{}' not found", args.key))?;
    }
    Ok(if response.deleted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists keys, one page or all pages.
pub(super) async fn list(session: &Session, args: ListMemArgs) -> anyhow::Result<ExitCode> {
    let mut request = ListMem { prefix: args.prefix, after: None, limit: args.limit.map(usize::from) };
    let mut table = Table::new(&["KEY", "SIZE", "VERSION", "EXPIRES IN"]);
    let mut pages = Pages::new("entries", session.json);
    let mut listed = 0;
    loop {
        let reply = session.ask(&request).await?;
        let page: MemList = parse(&reply)?;
        pages.add(&reply.json);
        listed += page.entries.len();
        for entry in page.entries.iter().filter(|_| !session.json) {
            table.row([
                python_text::str_text(entry.key.get()),
                units::bytes(entry.value_bytes as u64),
                entry.version.to_string(),
                entry.expires_in_seconds.map_or_else(|| "never".to_owned(), units::seconds),
            ]);
        }
        // An empty page ends the list whatever it says, so that no answer makes this run for ever.
        request.after = page.next.filter(|_| !page.entries.is_empty());
        if args.all && request.after.is_some() && !pages.is_full() {
            continue;
        }
        if !session.json {
            if listed > 0 {
                table.align_right([1, 2, 3]);
                table.print("")?;
            } else {
                output::print_line("No keys")?;
            }
            if request.after.is_some() {
                output::note(&format!("{listed} keys listed of {} on the node; --all lists all", page.key_count));
            }
        }
        pages.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
}
