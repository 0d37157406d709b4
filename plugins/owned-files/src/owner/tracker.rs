//! What the owner asks the tracker, and its own node of the tracker's table: who keeps a file, who could, and where they are.

use super::Owner;
use super::call::{ANSWER_TIMEOUT, TRACKER, ask, ask_within, read};
use crate::error::OwnedError;
use potluck_sdk::PeerId;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::node::{ListPeers, PeerList};
use potluck_sdk::message::owned_files::{
    FindOwnedFile, OwnedFileResponse, ReplicaState, RequestStoragePeers, StoragePeer, StoragePeers,
};
use potluck_sdk::message::tracker::PeerEntry;
use std::time::Duration;

/// How long this node may take to list its peers.
const PEERS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the tracker knows of a file.
pub(super) struct Registered {
    pub(super) manifest: CheckedManifest,
    /// The hashes of its blocks, when the tracker has them.
    pub(super) block_hashes: Vec<u8>,
    /// Who keeps it.
    pub(super) peers: Vec<StoragePeer>,
}

/// Asks the tracker for a file.
pub(super) fn find(owner: &Owner, name_tag: &str) -> Result<Option<Registered>, OwnedError> {
    find_within(owner, name_tag, ANSWER_TIMEOUT)
}

/// As [`find`], with another time.
pub(super) fn find_within(owner: &Owner, name_tag: &str, timeout: Duration) -> Result<Option<Registered>, OwnedError> {
    let message = FindOwnedFile {
        name_tag: Some(name_tag.into()),
        requester_id: Some(owner.id.to_string().into()),
        ..FindOwnedFile::default()
    };
    let response = ask_within(owner.host, TRACKER, &message, &[], timeout).map_err(OwnedError::Peer)?;
    let found: OwnedFileResponse = read(&response)?;
    let Some(signed) = found.manifest.filter(|_| found.found) else { return Ok(None) };
    let manifest = CheckedManifest::try_from(signed)?;
    if manifest.owner != owner.id || manifest.manifest.name_tag != name_tag {
        return Ok(None);
    }
    Ok(Some(Registered { manifest, block_hashes: response.attachment, peers: found.storage_peers }))
}

/// Asks the tracker who could keep a blob.
pub(super) fn storage_peers(
    owner: &Owner,
    count: usize,
    size: u64,
    exclude: &[PeerId],
) -> Result<Vec<PeerId>, OwnedError> {
    let mut exclude = exclude.to_vec();
    exclude.push(owner.id);
    let message = RequestStoragePeers {
        replication: i64::try_from(count).ok(),
        size: Some(size),
        exclude: exclude.clone(),
        ..RequestStoragePeers::default()
    };
    let reply: StoragePeers = read(&ask(owner.host, TRACKER, &message, &[]).map_err(OwnedError::Peer)?)?;
    let ids = reply.peers.into_iter().filter_map(|peer| peer.peer_id);
    Ok(ids.filter(|id| !exclude.contains(id)).take(count).collect())
}

/// The peers that this node knows.
pub(super) fn peers(owner: &Owner) -> Result<Vec<PeerEntry>, OwnedError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    owner.host.call_with(&potluck_sdk::message::to_json(&ListPeers {}), &[], move |answer| {
        let _ = sender.try_send(answer);
    });
    let answer = receiver.recv_timeout(PEERS_TIMEOUT);
    let response =
        answer.unwrap_or_else(|_| Err(super::call::timed_out("this node", PEERS_TIMEOUT))).map_err(OwnedError::Peer)?;
    Ok(read::<PeerList>(&response)?.peers)
}

/// A holder with the address at which this node knows it.
pub(super) fn storage_peer(id: PeerId, known: &[PeerEntry]) -> StoragePeer {
    let peer = known.iter().find(|peer| peer.peer_id == Some(id));
    StoragePeer {
        ip: peer.map(|peer| peer.ip.clone()).unwrap_or_default(),
        port: peer.map_or(0, |peer| peer.port),
        peer_id: Some(id),
        state: ReplicaState::Unchecked,
        checked_unix_seconds: None,
        owned_files: None,
        free_bytes: None,
    }
}
