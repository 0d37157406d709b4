//! REGISTER_FILE, UNREGISTER_FILE and FIND_FILE.

use super::{checked_name, registered, unregistered};
use crate::directory::PeerKey;
use crate::error::TrackerError;
use crate::handler::address;
use crate::service::{Service, State};
use potluck_sdk::files::to_hex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::disk::{FilePeer, FilePeers, FileRegistered, FindFile, RegisterFile, UnregisterFile};
use potluck_sdk::{Caller, PeerId, ProviderError, Request};
use std::sync::Arc;

/// What stands behind a message: the peer that a connection has proven, or whoever is at an address.
enum Sender {
    Peer(PeerId),
    At(crate::address::Address),
}

impl Sender {
    fn of(
        service: &Service,
        request: &Request<'_>,
        ip: Option<&str>,
        port: Option<u16>,
    ) -> Result<Sender, TrackerError> {
        match request.caller {
            Caller::Member(proven) => proven.parse().map(Sender::Peer).map_err(|_| TrackerError::NotYourself),
            // A provider of this node speaks for it.
            Caller::Plugin(_) => Ok(Sender::Peer(service.own_id())),
            _ if port.is_none_or(|port| port == 0) => Err(TrackerError::PortMissing),
            _ => Ok(Sender::At(address(request, ip, port, "files")?.address)),
        }
    }

    fn registration(&self, state: &State) -> Option<PeerKey> {
        match self {
            Sender::Peer(peer_id) => state.directory.key_of(*peer_id),
            Sender::At(address) => state.directory.key_at(address),
        }
    }
}

/// A peer tells what it has.
pub(crate) fn register(service: &Arc<Service>, request: Request<'_>) -> Result<FileRegistered, ProviderError> {
    let message: RegisterFile<'_> = request.parse()?;
    let files = registered(&message)?;
    let sender = Sender::of(service, &request, message.ip.as_deref(), message.port)?;
    let file_count = service.with_state(|state, _, _| {
        let peer = sender.registration(state).ok_or(TrackerError::NotRegistered)?;
        state.files.register(peer, &files, message.replace)?;
        Ok::<usize, TrackerError>(state.files.count(peer))
    })?;
    Ok(done(message.filename.as_deref(), file_count))
}

/// A peer tells what it has no more.
pub(crate) fn unregister(service: &Arc<Service>, request: Request<'_>) -> Result<FileRegistered, ProviderError> {
    let message: UnregisterFile<'_> = request.parse()?;
    let names = unregistered(&message)?;
    let sender = Sender::of(service, &request, message.ip.as_deref(), message.port)?;
    let file_count = service.with_state(|state, _, _| {
        // Of a peer that is gone nothing is known any more, which is what it asks for.
        let Some(peer) = sender.registration(state) else { return 0 };
        state.files.unregister(peer, &names);
        state.files.count(peer)
    });
    Ok(done(message.filename.as_deref(), file_count))
}

fn done(filename: Option<&str>, file_count: usize) -> FileRegistered {
    FileRegistered { status: STATUS_OK.to_owned(), filename: filename.map(str::to_owned), file_count }
}

/// Who has a file?
pub(crate) fn find(service: &Arc<Service>, request: Request<'_>) -> Result<FilePeers, ProviderError> {
    let message: FindFile<'_> = request.parse()?;
    let name = checked_name(message.filename.as_deref().unwrap_or_default())?;
    let peers: Vec<FilePeer> = service.with_state(|state, _, _| {
        let holders = state.files.find(name).into_iter();
        let shown = holders.filter_map(|(peer, facts)| {
            let entry = state.directory.entry(peer)?;
            Some(FilePeer {
                ip: entry.ip.clone(),
                port: entry.port,
                peer_id: entry.peer_id,
                size: facts.size,
                sha256: facts.sha256.map(|sha256| to_hex(&sha256)),
            })
        });
        shown.collect()
    });
    Ok(FilePeers { filename: name.to_owned(), found: !peers.is_empty(), peers })
}
