//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::files::NameError;
use potluck_sdk::message::disk::REGISTERED_FILES_MAX;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrackerError {
    #[error("Port required for {0}")]
    PortRequired(&'static str),
    #[error("ip must be an IP address, or a host name of at most 253 letters, digits, dots and hyphens")]
    Address,
    #[error("{0} must be a finite number, 0 or more")]
    Load(&'static str),
    #[error("a peer may only speak for itself: leave peer_id out, or send the id of the key that the connection uses")]
    NotYourself,
    #[error("another peer is heard from that address; leave ip out, or set `advertise` in [node] to where this one is")]
    AddressTaken,
    #[error("Port required")]
    PortMissing,
    #[error("Filename required")]
    FilenameRequired,
    #[error("Invalid filename: {0}")]
    Name(NameError),
    #[error("a message names {REGISTERED_FILES_MAX} files at most; send several")]
    FilesAtOnce,
    #[error("sha256 must be 64 hexadecimal digits in lower case")]
    Sha256,
    #[error("Peer not registered")]
    NotRegistered,
    #[error("this tracker knows {0} shared files, its limit; raise shared_files_max in [plugins.tracker]")]
    FilesFull(usize),
    #[error("this tracker knows {0} files of that peer, the limit; raise peer_files_max in [plugins.tracker]")]
    PeerFilesFull(usize),
    #[error("Peer not found")]
    PeerNotFound,
    #[error("No peers available")]
    NoPeers,
    #[error("this tracker holds {0} peers, its limit; raise peers_max in [plugins.tracker], or use a second tracker")]
    PeersFull(usize),
    #[error("{0} WATCH_PEERS are waiting here, the limit; raise watchers_max in [plugins.tracker], or ask again later")]
    WatchersFull(usize),
}

impl From<TrackerError> for ProviderError {
    fn from(error: TrackerError) -> ProviderError {
        use TrackerError::*;
        let code = match error {
            Name(_) => "invalid_name",
            PortRequired(_) | PortMissing | Address | Load(_) | FilenameRequired | FilesAtOnce | Sha256 => {
                ProviderError::INVALID_MESSAGE
            }
            NotYourself | AddressTaken => ProviderError::FORBIDDEN,
            PeerNotFound | NotRegistered => "peer_not_found",
            NoPeers => "no_peers",
            PeersFull(_) | WatchersFull(_) | FilesFull(_) | PeerFilesFull(_) => ProviderError::LIMIT_REACHED,
        };
        ProviderError::new(code, error.to_string())
    }
}
