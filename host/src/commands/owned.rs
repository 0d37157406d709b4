//! `potluck upload`, `download`, `owned` and `delete-owned`: files that nobody but their owner can read.

use super::files::{finish, name_for, not_found};
use super::pages::Pages;
use super::pool::moment;
use super::session::{Session, Target, parse};
use super::transfer::receive::{self, Destination, Wanted, base_name};
use super::transfer::send::{self, Sent, To};
use super::{EXIT_INTERRUPTED, UsageError, values};
use crate::cli::{DownloadArgs, UploadArgs};
use crate::output::table::Table;
use crate::output::{self, printable, units};
use potluck_sdk::Response;
use potluck_sdk::message::owned_files::{
    DeleteOwnedFile, ListOwnedFiles, OwnedFileDeleted, OwnedFileEntry, OwnedFileList, OwnedFileUploaded, ReplicaState,
    StoragePeer,
};
use potluck_sdk::message::to_json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Encrypts a file and stores it on other peers.
pub(super) async fn upload(node: &Target, args: UploadArgs) -> anyhow::Result<ExitCode> {
    let name = name_for(&args.path, args.name)?;
    if args.replicas.is_some_and(|replicas| (replicas as usize) < args.to.len()) {
        let text = "--to names more peers than --replicas says; leave --replicas out".to_owned();
        return Err(UsageError(text).into());
    }
    let to = To::Owned { replicas: args.replicas, holders: &args.to };
    let reply = match send::run(node, to, &name, &args.path).await? {
        Sent::Interrupted => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        Sent::Complete(reply) => reply,
    };
    let uploaded: OwnedFileUploaded = parse(&reply)?;
    if node.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&printable(&format!("File uploaded: {name}")))?;
        for peer in &uploaded.storage_peers {
            output::print_line(&printable(&format!("  kept by {}", peer_text(peer))))?;
        }
        for error in &uploaded.errors {
            output::note(&printable(&format!("Warning: {error}")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings a file back.
pub(super) async fn download(node: &Target, args: DownloadArgs) -> anyhow::Result<ExitCode> {
    let name = args.name.as_str();
    let save = match args.save {
        Some(path) => path,
        None => Path::new(".").join(base_name(name)?),
    };
    let destination = match Destination::new(&save, name, args.force)? {
        // As it was typed.
        Destination::File { path, replace } => {
            let path = path.strip_prefix(".").map_or_else(|_| path.clone(), PathBuf::from);
            Destination::File { path, replace }
        }
        other => other,
    };
    let received = receive::run(node, Wanted::Owned, name, &destination).await?;
    finish(node.json, name, &destination, received)
}

/// Lists the files.
pub(super) async fn list(session: &Session) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["NAME", "SIZE", "UPLOADED", "REPLICAS"]);
    let mut listed = 0;
    each_page(session, None, &mut |page| {
        listed += page.owned_files.len();
        for file in &page.owned_files {
            table.row([
                file.filename.clone(),
                file.size.map_or_else(|| "-".to_owned(), units::bytes),
                file.uploaded_unix_seconds.map_or_else(|| "-".to_owned(), moment),
                format!("{} of {}", usable_replicas(file), file.replicas),
            ]);
        }
    })
    .await?;
    if !session.json {
        if listed > 0 {
            table.align_right([1, 3]);
            table.print("")?;
        } else {
            output::print_line("No owned files")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for all owned files, or one, page by page; prints each reply when it is for programs. Returns the last.
pub(super) async fn each_page(
    session: &Session,
    name: Option<&str>,
    take: &mut dyn FnMut(&OwnedFileList),
) -> anyhow::Result<Response> {
    let mut request = ListOwnedFiles { filename: name.map(Into::into), ..ListOwnedFiles::default() };
    let mut pages = Pages::new("owned_files", session.json);
    loop {
        let reply = session.ask(&request).await?;
        let page: OwnedFileList = parse(&reply)?;
        pages.add(&reply.json);
        take(&page);
        // An empty page ends the list whatever it says, so that no answer makes this run for ever.
        request.after = page.next.filter(|_| !page.owned_files.is_empty() && !pages.is_full()).map(Into::into);
        if request.after.is_none() {
            pages.finish()?;
            return Ok(reply);
        }
    }
}

/// Deletes a file from all peers that keep it.
pub(super) async fn delete(session: &Session, name: &str) -> anyhow::Result<ExitCode> {
    let request = to_json(&DeleteOwnedFile { filename: Some(name.into()), ..DeleteOwnedFile::default() });
    // No limit on the wait: the node asks each of the peers, some of which may be slow to be found gone.
    let reply = session.client.request(&request, &[]).await?;
    let deleted: OwnedFileDeleted = parse(&reply)?;
    if !deleted.deleted {
        return not_found(session.json, name, &reply);
    }
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&printable(&format!("File deleted: {name}")))?;
        for peer in &deleted.pending {
            output::note(&printable(&format!("{} is away and deletes it when it is back", peer_text(peer))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A peer by its address, with its id where that is known.
pub(super) fn peer_text(peer: &StoragePeer) -> String {
    match (peer.ip.as_str(), peer.peer_id) {
        ("", Some(id)) => id.to_string(),
        ("", None) => "-".to_owned(),
        (ip, id) => {
            let id = id.map(|id| format!(" ({})", id.short())).unwrap_or_default();
            format!("{}{id}", values::join_host_port(ip, peer.port))
        }
    }
}

/// Replicas that are in order as far as is known.
fn usable_replicas(file: &OwnedFileEntry) -> usize {
    let is_usable = |peer: &&StoragePeer| matches!(peer.state, ReplicaState::Ok | ReplicaState::Unchecked);
    file.storage_peers.iter().filter(is_usable).count()
}

/// Whether as many replicas are in order as the owner wants.
pub(super) fn is_whole(file: &OwnedFileEntry) -> bool {
    usable_replicas(file) >= file.replicas as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str, state: ReplicaState) -> StoragePeer {
        StoragePeer {
            ip: ip.to_owned(),
            port: 9001,
            peer_id: None,
            state,
            checked_unix_seconds: None,
            owned_files: None,
            free_bytes: None,
        }
    }

    #[test]
    fn a_file_is_whole_when_enough_replicas_may_be_in_order() {
        let file = |replicas: u32, states: &[ReplicaState]| OwnedFileEntry {
            filename: "a".to_owned(),
            manifest: None,
            size: None,
            sha256: None,
            revision: None,
            uploaded_unix_seconds: None,
            replicas,
            storage_peers: states.iter().map(|state| peer("192.0.2.1", *state)).collect(),
        };
        assert!(is_whole(&file(2, &[ReplicaState::Ok, ReplicaState::Unchecked, ReplicaState::Away])));
        assert!(!is_whole(&file(2, &[ReplicaState::Ok, ReplicaState::Damaged])));
        assert!(!is_whole(&file(1, &[])));
    }

    #[test]
    fn a_peer_whose_address_is_not_known_is_shown_all_the_same() {
        assert_eq!(peer_text(&peer("::1", ReplicaState::Ok)), "[::1]:9001");
        assert_eq!(peer_text(&peer("", ReplicaState::Ok)), "-");
    }
}
