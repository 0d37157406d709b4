//! Messages larger than a frame: their `data` goes into a file as it arrives.

mod decoder;
mod scanner;

use crate::node::Node;
use potluck_sdk::ProviderError;
use scanner::Scanner;
pub use scanner::TooLarge;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Most such messages that arrive at the same time.
const SPOOLS_MAX: usize = 4;
/// How much is decoded before it is written.
const WRITTEN_AT_A_TIME: usize = 256 << 10;

/// Those that arrive.
static SPOOLS: Semaphore = Semaphore::const_new(SPOOLS_MAX);

/// A message that is arriving.
pub struct Spool {
    node: Arc<Node>,
    scanner: Scanner,
    file: Option<NamedTempFile>,
    /// Why the message is refused once all of it has arrived, so that the client reads the answer.
    refusal: Option<ProviderError>,
    _place: Option<SemaphorePermit<'static>>,
}

impl Spool {
    /// Begins to read a message.
    pub fn begin(node: &Arc<Node>) -> Spool {
        let place = SPOOLS.try_acquire().ok();
        let refusal = place.is_none().then(|| {
            let text = format!("{SPOOLS_MAX} messages larger than a frame are arriving already; try again later");
            ProviderError::new(ProviderError::LIMIT_REACHED, text)
        });
        let mut spool =
            Spool { node: Arc::clone(node), scanner: Scanner::default(), file: None, refusal, _place: place };
        if spool.refusal.is_some() {
            spool.scanner.decoder.mute();
        }
        spool
    }

    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let node = &self.node;
        self.scanner.push(bytes, &|message_type| {
            node.routes.load().get(message_type).is_some_and(crate::routes::Route::may_be_spooled)
        })
    }

    /// Writes what has been decoded, when it is enough for that.
    pub async fn write(&mut self) {
        if self.scanner.decoder.decoded.len() >= WRITTEN_AT_A_TIME {
            self.write_all().await;
        }
    }

    async fn write_all(&mut self) {
        let mut bytes = std::mem::take(&mut self.scanner.decoder.decoded);
        let (file, folder) = (self.file.take(), self.node.data_dir.spool());
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = file.map_or_else(|| create(&folder), Ok)?;
            file.write_all(&bytes)?;
            bytes.clear();
            Ok::<_, std::io::Error>((file, bytes))
        });
        match writing.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok((file, bytes)) => {
                self.file = Some(file);
                self.scanner.decoder.decoded = bytes;
            }
            Err(error) => {
                tracing::warn!(%error, "a message that is larger than a frame cannot be kept");
                self.refusal.get_or_insert(refusal(error.kind()));
                self.scanner.decoder.mute();
            }
        }
    }

    /// The message without its `data`, and the file with it or why it is refused.
    pub async fn finish(mut self) -> (String, Result<SpooledFile, ProviderError>) {
        if self.refusal.is_none() && self.scanner.decoder.error().is_none() {
            self.write_all().await;
        }
        let invalid = self.scanner.decoder.error().map(ProviderError::invalid);
        let json = match self.scanner.finish() {
            Ok(json) => json,
            Err(reason) => return (String::new(), Err(ProviderError::invalid(reason))),
        };
        match (self.refusal.or(invalid), self.file) {
            (None, Some(file)) => {
                let (path, runtime) = (Some(file.into_temp_path()), self.node.runtime.clone());
                (json, Ok(SpooledFile { path, runtime }))
            }
            (refusal, file) => {
                drop(file.map(|file| self.node.runtime.spawn_blocking(move || drop(file))));
                let stopping = || ProviderError::new(ProviderError::NODE_STOPPING, "the node is stopping");
                (json, Err(refusal.unwrap_or_else(stopping)))
            }
        }
    }
}

/// What the sender learns of a disk that takes nothing. The log has the rest: a path of this machine is nobody else's.
fn refusal(kind: ErrorKind) -> ProviderError {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let text = "the disk is full: the message's data cannot be kept; free some space and send it again";
            ProviderError::new(ProviderError::LIMIT_REACHED, text)
        }
        kind => {
            let text = format!("the message's data cannot be written to this node's disk: {kind}; see the node's log");
            ProviderError::new("disk_failed", text)
        }
    }
}

fn create(folder: &Path) -> std::io::Result<NamedTempFile> {
    crate::data_dir::create_private_folder(folder).map_err(std::io::Error::other)?;
    tempfile::Builder::new().prefix("data-").tempfile_in(folder)
}

/// The file with the `data` of a message; removed when this is dropped, if it is still there.
pub struct SpooledFile {
    path: Option<TempPath>,
    runtime: tokio::runtime::Handle,
}

impl SpooledFile {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.path.as_ref().map(|path| path.to_path_buf()).unwrap_or_default()
    }
}

impl Drop for SpooledFile {
    fn drop(&mut self) {
        let path = self.path.take();
        // To remove a large file takes its time.
        self.runtime.spawn_blocking(move || drop(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_is_told_of_without_a_path() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let refused = refusal(kind);
            assert_eq!(refused.code, ProviderError::LIMIT_REACHED);
            assert!(refused.message.starts_with("the disk is full"), "{refused}");
        }
        let folder = tempfile::tempdir().unwrap();
        let error = create(&folder.path().join("file").join("\0")).unwrap_err();
        let refused = refusal(error.kind());
        assert_eq!(refused.code, "disk_failed");
        assert!(!refused.message.contains('/'), "{refused}");
    }
}
