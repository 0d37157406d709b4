//! Why a file was not fetched, and the codes that programs see.

use crate::error::DiskError;
use potluck_sdk::ProviderError;
use potluck_sdk::files::FetchError;
use potluck_sdk::message::disk::FetchSource;

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("sha256 must be 64 hexadecimal digits")]
    Sha256,
    #[error("the tracker cannot be asked who has the file: {}", .0.message)]
    Tracker(ProviderError),
    #[error("the tracker does not answer; try again when it is back")]
    TrackerSilent,
    #[error("the tracker's answer cannot be read; it may be of another version: update it, or this node")]
    TrackerUnclear,
    #[error("no other peer that is alive has such a file; `potluck find-file` shows who has a file of that name{}", told(.0))]
    NotFound(Vec<FetchSource>),
    #[error("another file of that name is here; delete it, or ask for the SHA-256 {0}, which then replaces it")]
    OtherHere(String),
    #[error("what peers have is not the file that they promise{}; ask others, or again later", told(.0))]
    Damaged(Vec<FetchSource>),
    #[error(transparent)]
    Download(FetchError),
    #[error("the fetch was cancelled; ask again to go on where it stopped")]
    Cancelled,
}

fn told(sources: &[FetchSource]) -> String {
    let reasons = sources.iter().map(|source| {
        format!("{}: {}", source.peer, source.dropped.as_deref().unwrap_or("its copy was not the right one"))
    });
    let text: Vec<String> = reasons.collect();
    if text.is_empty() { String::new() } else { format!(" ({})", text.join("; ")) }
}

impl From<Problem> for ProviderError {
    fn from(problem: Problem) -> ProviderError {
        let text = problem.to_string();
        match problem {
            Problem::Disk(error) => error.into(),
            Problem::Tracker(error) => ProviderError { message: text, ..error },
            Problem::Download(FetchError::Io(error)) => DiskError::Io("FETCH_FILE", error).into(),
            Problem::Sha256 => ProviderError::invalid(text),
            Problem::TrackerSilent | Problem::TrackerUnclear => {
                ProviderError::new(ProviderError::PEER_UNREACHABLE, text)
            }
            Problem::NotFound(_) => ProviderError::new("file_not_found", text),
            Problem::OtherHere(_) => ProviderError::new("name_conflict", text),
            Problem::Damaged(_) => ProviderError::new("hash_mismatch", text),
            Problem::Download(_) => ProviderError::new("fetch_failed", text),
            Problem::Cancelled => ProviderError::new("cancelled", text),
        }
    }
}
