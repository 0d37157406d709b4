//! FETCH_FILE: asks the tracker who has a file, and downloads it from all of them at once.
//!
//! Peers have the same file when SHA-256 and the hashes of all blocks are the same. The largest such group is fetched from,
//! block by block; a peer that sends something else is left out, and so is one that has something else. What was fetched of
//! a file survives this node's restart, as an upload does, and is gone on with.

mod peers;
mod problem;

use crate::error::DiskError;
use crate::store::{Store, hash, set_attribute};
use crate::upload::Chunk;
use crate::work::{Work, name};
use parking_lot::Mutex;
use peers::{Group, Peer};
use potluck_sdk::files::{
    Answer, Block, FetchError, FetchLimits, Fetching, FileName, NameKey, NewFile, Sha256, Source, from_hex,
};
use potluck_sdk::message::disk::{
    Encoding, FETCH_TOPIC, FetchFile, FetchProgress, FetchSource, FileFetched, FileResponse, GetFileChunk,
};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{Host, PendingReply, ProviderError, Request};
use problem::Problem;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Files that are fetched at the same time: each may hold 64 MiB.
const FETCHES_MAX: usize = 2;
/// How often it is told how far a fetch is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How often the room for a file that is coming is claimed anew, so that nobody takes it for abandoned.
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// The fetches that are running, to be cancelled when the node stops.
#[derive(Default)]
pub(crate) struct Fetches {
    flags: Mutex<Vec<Weak<AtomicBool>>>,
    stopping: AtomicBool,
}

impl Fetches {
    /// Cancels all, and those that come later.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for flag in self.flags.lock().drain(..).filter_map(|flag| flag.upgrade()) {
            flag.store(true, Ordering::SeqCst);
        }
    }

    /// A flag that is set when the caller has gone away or the node stops.
    fn begin(&self, reply: &PendingReply) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut flags = self.flags.lock();
        flags.retain(|flag| flag.strong_count() > 0);
        flags.push(Arc::downgrade(&flag));
        drop(flags);
        if self.stopping.load(Ordering::SeqCst) {
            flag.store(true, Ordering::SeqCst);
        }
        let cancelled = Arc::clone(&flag);
        reply.on_cancel(move || cancelled.store(true, Ordering::SeqCst));
        flag
    }
}

/// Decodes the message; the same file is fetched once at a time.
pub(crate) fn work(request: Request<'_>) -> Result<Work, ProviderError> {
    let message: FetchFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "FETCH_FILE")?;
    let wanted = message.sha256.map(|text| text.to_ascii_lowercase());
    if wanted.as_deref().is_some_and(|text| from_hex::<32>(text).is_none()) {
        return Err(Problem::Sha256.into());
    }
    let sum: usize = name.as_str().bytes().map(usize::from).sum();
    Ok(Work::new(format!("/fetch-{}", sum % FETCHES_MAX), 0, move |store, reply| {
        let cancel = store.fetches.begin(&reply);
        let fetch = Fetch { store, host: store.host, name: &name, wanted: wanted.as_deref(), cancel: &cancel };
        match fetch.run() {
            Ok(fetched) => reply.send(&fetched),
            Err(problem) => reply.error(&problem.into()),
        }
    }))
}

struct Fetch<'a> {
    store: &'a Arc<Store>,
    host: Host,
    name: &'a FileName,
    /// SHA-256 of the file that is wanted, if that is known.
    wanted: Option<&'a str>,
    cancel: &'a AtomicBool,
}

/// What came of one group.
enum Outcome {
    Fetched(Vec<FetchSource>),
    /// Its blocks are what its peers promise, but together they are not the file.
    Damaged,
}

impl Fetch<'_> {
    fn run(&self) -> Result<FileFetched, Problem> {
        let name = self.name.as_str();
        if let Some(wanted) = self.wanted
            && let Some(size) = self.is_here(wanted)?
        {
            return Ok(self.fetched(size, wanted, Vec::new()));
        }
        let found = peers::find(self.host, name, self.cancel)?;
        let (asked, size) = peers::choose(found, self.wanted);
        let (groups, mut sources) = peers::compare(self.host, name, asked, size, self.cancel)?;
        let Some(sha256) = self.wanted.map(str::to_owned).or_else(|| groups.first().map(|group| group.sha256.clone()))
        else {
            return Err(Problem::NotFound(sources));
        };
        let (groups, others): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|group| group.sha256 == sha256);
        for group in others {
            let reason = format!("it has another file of that name, with SHA-256 {}", group.sha256);
            sources.extend(group.peers.iter().map(|peer| peer.left_out(&reason)));
        }
        if self.wanted.is_none() && !groups.is_empty() {
            if let Some(size) = self.is_here(&sha256)? {
                return Ok(self.fetched(size, &sha256, sources));
            }
            if self.store.open_file(self.name)?.is_some() {
                return Err(Problem::OtherHere(sha256));
            }
        }
        self.try_groups(groups, &sha256, sources)
    }

    /// Fetches from the first group; from another one only when that does not have what it promises, or cannot give it.
    fn try_groups(
        &self,
        groups: Vec<Group>,
        sha256: &str,
        mut sources: Vec<FetchSource>,
    ) -> Result<FileFetched, Problem> {
        let mut lone_problem = (groups.is_empty()).then(|| Problem::NotFound(sources.clone()));
        let is_alone = groups.len() == 1;
        let mut groups = groups.into_iter();
        while let Some(group) = groups.next() {
            let size = group.hashes.file_bytes();
            let reason = match self.try_group(&group) {
                Ok(Outcome::Fetched(own)) => {
                    let reason = "its copy is damaged: its blocks are not those of the file with its SHA-256";
                    let rest = groups.flat_map(|group| group.peers);
                    let sources = own.into_iter().chain(sources).chain(rest.map(|peer| peer.left_out(reason)));
                    return Ok(self.fetched(size, sha256, sources.collect()));
                }
                Ok(Outcome::Damaged) => "its copy is damaged: it has not the SHA-256 that it tells".to_owned(),
                Err(Problem::Cancelled) => return Err(Problem::Cancelled),
                Err(problem) => {
                    if let Problem::Download(FetchError::NoSourceLeft(own)) = &problem {
                        sources.extend(own.iter().cloned());
                    }
                    let reason = problem.to_string();
                    lone_problem = is_alone.then_some(problem);
                    reason
                }
            };
            sources.extend(group.peers.iter().map(|peer| peer.left_out(&reason)));
        }
        Err(lone_problem.unwrap_or_else(|| Problem::Damaged(only_once(sources))))
    }

    fn try_group(&self, group: &Group) -> Result<Outcome, Problem> {
        let io = |error| DiskError::Io("FETCH_FILE", error);
        let room = self.room(group);
        let size = group.hashes.file_bytes();
        let upload = self.store.uploads.reserve(self.store, &room, size)?;
        let mut part = self.store.folder.unfinished(&room.key).map_err(io)?;
        set_attribute(part.file(), &upload).map_err(io)?;
        let fetched = self.download(group, &room, &mut part);
        let is_empty = part.file().metadata().map_err(io)?.len() == 0;
        let sources = match fetched {
            Ok(sources) => sources,
            Err(error) => {
                if is_empty {
                    self.forget(part, &room);
                }
                return Err(match error {
                    FetchError::Cancelled => Problem::Cancelled,
                    error => Problem::Download(error),
                });
            }
        };
        if hash(part.file()).map_err(io)? != group.sha256 {
            self.forget(part, &room);
            return Ok(Outcome::Damaged);
        }
        self.publish(part, room, &group.sha256, size)?;
        Ok(Outcome::Fetched(sources))
    }

    fn download(&self, group: &Group, room: &Chunk, part: &mut NewFile) -> Result<Vec<FetchSource>, FetchError> {
        let size = group.hashes.file_bytes();
        let sources = group.peers.iter().map(|peer| self.source(peer, &group.sha256)).collect();
        let mut told: Option<Instant> = None;
        let mut claimed = Instant::now();
        let progress = |state: Fetching| {
            if state.received_bytes < size && told.is_some_and(|told| told.elapsed() < PROGRESS_INTERVAL) {
                return;
            }
            told = Some(Instant::now());
            if claimed.elapsed() >= CLAIM_INTERVAL {
                claimed = Instant::now();
                // That there was room once is enough; this only says that it is still needed.
                let _ = self.store.uploads.reserve(self.store, room, size);
            }
            let event = FetchProgress {
                filename: self.name.to_string(),
                received_bytes: state.received_bytes,
                size,
                source_count: state.source_count,
            };
            self.host.publish(FETCH_TOPIC, &event);
        };
        potluck_sdk::files::fetch(&group.hashes, sources, part, FetchLimits::default(), self.cancel, progress)
    }

    fn source(&self, peer: &Peer, sha256: &str) -> Source {
        let (host, to) = (self.host, peer.to.clone());
        let (name, sha256) = (self.name.to_string(), sha256.to_owned());
        Source::new(peer.name.clone(), move |block: Block, answer: Answer| {
            let message = GetFileChunk {
                filename: Some(name.as_str().into()),
                offset: block.offset,
                length: Some(block.length),
                sha256: Some(sha256.as_str().into()),
                encoding: Encoding::Raw,
            };
            peers::send(host, &to, &to_json(&message), move |response| {
                answer.send(response.map_err(|error| error.message).and_then(|response| {
                    match serde_json::from_str::<FileResponse>(&response.json) {
                        Ok(told) if told.found => Ok(response.attachment),
                        Ok(_) => Err("it has the file no more".to_owned()),
                        Err(_) => Err("its answer is unclear".to_owned()),
                    }
                }));
            });
        })
    }

    /// The room that is kept for the file, as for an upload of this node's user.
    fn room(&self, group: &Group) -> Chunk {
        let mut hash = Sha256::new();
        for part in [self.name.as_str(), "\0", &group.sha256] {
            hash.update(part.as_bytes());
        }
        Chunk {
            name: self.name.clone(),
            owner: None,
            upload: String::new(),
            key: format!("fetch-{}", hash.finish()),
            offset: 0,
            size: Some(group.hashes.file_bytes()),
            data: Vec::new(),
            is_final: false,
            sha256: None,
            abort: false,
        }
    }

    fn forget(&self, part: NewFile, room: &Chunk) {
        part.discard();
        self.store.uploads.end(self.store, &room.key);
    }

    /// Gives the file its name, in its turn among the changes of names like it.
    fn publish(&self, part: NewFile, room: Chunk, sha256: &str, size: u64) -> Result<(), Problem> {
        let (sender, receiver) = channel();
        let (store, sha256) = (Arc::clone(self.store), sha256.to_owned());
        let lane = NameKey::new(self.name).look().to_owned();
        let finish = move || {
            let finished = store.finish(part, &room.name, None, size, sha256, None);
            if matches!(finished, Err(DiskError::Io(..)))
                && let Ok(part) = store.folder.unfinished(&room.key)
            {
                // What the disk has kept of it is not known.
                part.discard();
            }
            store.uploads.end(&store, &room.key);
            let _ = sender.send(finished);
        };
        self.store.lanes.run(self.host, &lane, 0, finish).map_err(DiskError::from)?;
        match receiver.recv() {
            Ok(finished) => Ok(finished.map(drop)?),
            Err(_) => Err(Problem::Cancelled),
        }
    }

    /// The size of the file here, when it is the one with that SHA-256.
    fn is_here(&self, sha256: &str) -> Result<Option<u64>, Problem> {
        let Some((file, entry)) = self.store.open_file(self.name)? else { return Ok(None) };
        let actual = hash(&file).map_err(|error| DiskError::Io("FETCH_FILE", error))?;
        Ok((actual == sha256).then_some(entry.size))
    }

    fn fetched(&self, size: u64, sha256: &str, sources: Vec<FetchSource>) -> FileFetched {
        FileFetched {
            status: STATUS_OK.to_owned(),
            filename: self.name.to_string(),
            size,
            sha256: sha256.to_owned(),
            sources: only_once(sources),
        }
    }
}

/// What was said first of each peer.
fn only_once(mut sources: Vec<FetchSource>) -> Vec<FetchSource> {
    let mut seen = HashSet::new();
    sources.retain(|source| seen.insert(source.peer.clone()));
    sources
}
