//! `potluck put-file`, `get-file`, `files`, `del-file`, `find-file` and `fetch`: files that all members of a pool can read.

mod health;

use super::pages::Pages;
use super::session::{Session, Target, parse};
use super::transfer::events::Watching;
use super::transfer::is_dash;
use super::transfer::progress::Progress;
use super::transfer::receive::{self, Destination, Received, Wanted};
use super::transfer::send::{self, Sent, To};
use super::{EXIT_INTERRUPTED, UsageError, pool::moment};
use crate::cli::{FetchArgs, FilesArgs, FilesCommand, GetFileArgs, PutFileArgs};
use crate::output::table::Table;
use crate::output::{self, printable, units};
use potluck_sdk::Response;
use potluck_sdk::message::disk::{
    DeleteFile, FETCH_TOPIC, FetchFile, FetchProgress, FileDeleted, FileFetched, FileList, FilePeers, FindFile,
    ListFiles,
};
use potluck_sdk::message::to_json;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::ctrl_c;

/// Stores a file.
pub(super) async fn put(node: &Target, args: PutFileArgs) -> anyhow::Result<ExitCode> {
    let path = args.path.or(args.filepath).unwrap_or_default();
    let name = name_for(&path, args.name.or(args.filename))?;
    match send::run(node, To::Shared, &name, &path).await? {
        Sent::Interrupted => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        Sent::Complete(reply) => {
            if node.json {
                output::print_json(&reply.json)?;
            } else {
                output::print_line(&printable(&format!("File uploaded: {name}")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The name that a file is stored under: the one that was given, else its own.
pub(super) fn name_for(path: &Path, given: Option<String>) -> Result<String, UsageError> {
    match given {
        Some(name) => Ok(name),
        None if is_dash(path) => {
            Err(UsageError("standard input has no name; say under which name to store it".to_owned()))
        }
        None => match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok(name.to_owned()),
            None => Err(UsageError(format!("{} has no name to store it under; give one", path.display()))),
        },
    }
}

/// Reads a file, and saves it if somebody says where.
pub(super) async fn get(node: &Target, args: GetFileArgs) -> anyhow::Result<ExitCode> {
    let name = args.file.get();
    let destination = match &args.save {
        // Replaced as in the original system, whose scripts rely on it.
        Some(path) => Destination::new(path, name, true)?,
        None => Destination::Nowhere,
    };
    let received = receive::run(node, Wanted::Shared { sha256: None }, name, &destination).await?;
    finish(node.json, name, &destination, received)
}

/// Says what came of a download.
pub(super) fn finish(
    json: bool,
    name: &str,
    destination: &Destination,
    received: Received,
) -> anyhow::Result<ExitCode> {
    match received {
        Received::Interrupted => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        Received::NotFound(reply) => not_found(json, name, &reply),
        Received::File { size, sha256 } => {
            let path = match destination {
                // Standard output has the file.
                Destination::Stdout => return Ok(ExitCode::SUCCESS),
                Destination::Nowhere => None,
                Destination::File { path, .. } => Some(path),
            };
            if json {
                let value = serde_json::json!({
                    "type": "FILE_RESPONSE",
                    "filename": name,
                    "found": true,
                    "size": size,
                    "sha256": sha256,
                    "saved": path,
                });
                output::print_json(&value.to_string())?;
            } else {
                let text = match path {
                    Some(path) => format!("File saved to {}", path.display()),
                    None => format!("File retrieved: {name} ({size} bytes)"),
                };
                output::print_line(&printable(&text))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says that there is no such file.
pub(super) fn not_found(json: bool, name: &str, reply: &Response) -> anyhow::Result<ExitCode> {
    if json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&printable(&format!("File '{name}' not found")))?;
    }
    Ok(ExitCode::FAILURE)
}

/// Lists the files of a node, or carries out a subcommand about owned files.
pub(super) async fn run(session: &Session, args: FilesArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => list(session, args).await,
        Some(FilesCommand::Status(status)) => health::status(session, status.name.as_deref()).await,
        Some(FilesCommand::Repair(repair)) => health::repair(session, repair.name.as_deref()).await,
        Some(FilesCommand::Bind(bind)) => health::bind(session, bind).await,
    }
}

/// Lists files, one page or all pages.
async fn list(session: &Session, args: FilesArgs) -> anyhow::Result<ExitCode> {
    let prefix = args.prefix.map(Into::into);
    let mut request = ListFiles { prefix, after: None, limit: args.limit.map(usize::from) };
    let mut table = Table::new(&["NAME", "SIZE", "CHANGED", "OWNER"]);
    let mut pages = Pages::new("files", session.json);
    let mut listed = 0;
    loop {
        let reply = session.ask(&request).await?;
        let page: FileList = parse(&reply)?;
        pages.add(&reply.json);
        listed += page.files.len();
        for file in page.files.iter().filter(|_| !session.json) {
            table.row([
                file.filename.clone(),
                units::bytes(file.size),
                moment(file.modified_unix_seconds),
                file.owner.map_or_else(|| "this node".to_owned(), |owner| owner.to_string()),
            ]);
        }
        // An empty page ends the list whatever it says, so that no answer makes this run for ever.
        request.after = page.next.filter(|_| !page.files.is_empty()).map(Into::into);
        if args.all && request.after.is_some() && !pages.is_full() {
            continue;
        }
        if !session.json {
            if listed > 0 {
                table.align_right([1]);
                table.print("")?;
            } else {
                output::print_line("No files")?;
            }
            if request.after.is_some() {
                output::note(&format!(
                    "{listed} files listed of {} on the node, {} together; --all lists all",
                    page.file_count,
                    units::bytes(page.total_bytes)
                ));
            }
        }
        pages.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
}

/// Removes a file.
pub(super) async fn delete(session: &Session, name: &str) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&DeleteFile { filename: Some(name.into()) }).await?;
    let response: FileDeleted = parse(&reply)?;
    if !response.deleted {
        return not_found(session.json, name, &reply);
    }
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&printable(&format!("File deleted: {name}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows who has a file.
pub(super) async fn find(session: &Session, name: &str) -> anyhow::Result<ExitCode> {
    let reply = session.ask_json(&to_tracker(&to_json(&FindFile { filename: Some(name.into()) }))?).await?;
    let response: FilePeers = parse(&reply)?;
    if !response.found {
        return not_found(session.json, name, &reply);
    }
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["PEER", "ID", "SIZE", "SHA-256"]);
    for peer in &response.peers {
        table.row([
            super::values::join_host_port(&peer.ip, peer.port),
            peer.peer_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            peer.size.map_or_else(|| "-".to_owned(), units::bytes),
            peer.sha256.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.align_right([2]);
    table.print("")?;
    Ok(ExitCode::SUCCESS)
}

/// A message that the node passes on to the tracker.
fn to_tracker(json: &str) -> anyhow::Result<String> {
    let mut message: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)?;
    message.insert("to".to_owned(), "tracker".into());
    Ok(serde_json::Value::Object(message).to_string())
}

/// Has the node download a file from all peers that have it.
pub(super) async fn fetch(node: &Target, args: FetchArgs) -> anyhow::Result<ExitCode> {
    let name = args.name.as_str();
    let destination = args.save.as_deref().map(|path| Destination::new(path, name, args.force)).transpose()?;
    let session = Session::connect(node).await?;
    let sha256 = args.sha256.as_deref().map(Into::into);
    let request = to_json(&FetchFile { filename: Some(name.into()), sha256 });
    let mut progress = Progress::new(&format!("Fetching {name}"));
    // Events are asked for before there are any: a node takes the messages of one connection in their order.
    let mut events = Watching::new(&session.client, FETCH_TOPIC);
    let mut fetched = std::pin::pin!(session.client.request(&request, &[]));
    let mut interrupt = std::pin::pin!(ctrl_c());
    let reply = loop {
        tokio::select! {
            biased;
            Ok(()) = &mut interrupt => {
                progress.clear();
                output::note("Interrupted; run the same command again to go on where it stopped");
                return Ok(ExitCode::from(EXIT_INTERRUPTED));
            }
            news = events.next::<FetchProgress>() => {
                if let Some(event) = news.iter().rfind(|event| event.filename == name) {
                    let doing = format!("Fetching {name} from {} peers", event.source_count);
                    progress.doing(&doing, event.size, event.received_bytes);
                    progress.show(event.received_bytes);
                }
            }
            // No limit on the wait: it takes what it takes, and the link finds out when the node is gone.
            reply = &mut fetched => break reply,
        }
    };
    progress.clear();
    let reply = reply?;
    let response: FileFetched = parse(&reply)?;
    let to_stdout = destination == Some(Destination::Stdout);
    if node.json && !to_stdout {
        output::print_json(&reply.json)?;
    } else {
        let text = fetched_text(&response);
        if to_stdout { output::note(&text) } else { output::print_line(&text)? }
    }
    let Some(destination) = destination else { return Ok(ExitCode::SUCCESS) };
    let received = receive::run(node, Wanted::Shared { sha256: Some(&response.sha256) }, name, &destination).await?;
    finish(node.json, name, &destination, received)
}

/// What was fetched, and from whom, in one line each.
fn fetched_text(fetched: &FileFetched) -> String {
    let mut lines = vec![format!("File fetched: {} ({})", fetched.filename, units::bytes(fetched.size))];
    for source in &fetched.sources {
        let dropped = source.dropped.as_deref().map(|why| format!("; dropped: {why}")).unwrap_or_default();
        lines.push(format!("  {} from {}{dropped}", units::bytes(source.bytes), source.peer));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::disk::FetchSource;

    #[test]
    fn a_file_has_its_own_name_unless_another_is_given() {
        let name = |path: &str, given: Option<&str>| name_for(Path::new(path), given.map(str::to_owned)).ok();
        assert_eq!(name("/x/a.txt", None).as_deref(), Some("a.txt"));
        assert_eq!(name("/x/a.txt", Some("d/b")).as_deref(), Some("d/b"));
        assert_eq!(name("-", Some("b")).as_deref(), Some("b"));
        assert_eq!(name("-", None), None);
        assert_eq!(name("..", None), None);
    }

    #[test]
    fn a_message_to_the_tracker_keeps_its_members() {
        let json = to_tracker(r#"{"type":"FIND_FILE","filename":"a"}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, serde_json::json!({"type": "FIND_FILE", "filename": "a", "to": "tracker"}));
    }

    #[test]
    fn a_peer_that_was_dropped_is_told_with_the_reason() {
        let source = |peer: &str, dropped: Option<&str>| FetchSource {
            peer: peer.to_owned(),
            bytes: 2048,
            dropped: dropped.map(str::to_owned),
        };
        let fetched = FileFetched {
            status: "OK".to_owned(),
            filename: "a".to_owned(),
            size: 4096,
            sha256: String::new(),
            sources: vec![source("p", None), source("q\u{1b}", Some("lies"))],
        };
        let expected = "File fetched: a (4.0 KiB)\n  2.0 KiB from p\n  2.0 KiB from q\\u{1b}; dropped: lies";
        assert_eq!(fetched_text(&fetched), expected);
    }
}
