//! Who has a file of that name, and which of them have the same one.

use super::problem::Problem;
use potluck_sdk::files::{BlockHashes, to_hex};
use potluck_sdk::message::disk::{FetchSource, FilePeer, FilePeers, FileStat, FindFile, StatFile};
use potluck_sdk::message::to_json;
use potluck_sdk::{Host, ProviderError, Response};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Most peers that a file is fetched from.
const PEERS_MAX: usize = 16;
/// Of what was wrong with a peer so much is told.
const REASON_CHARS_MAX: usize = 300;
/// How soon a cancelled wait ends, at the latest.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);
/// How long the tracker may take.
const FIND_PATIENCE: Duration = Duration::from_secs(15);
/// How long peers may take to hash a file, beside what its bytes take.
const STAT_PATIENCE: Duration = Duration::from_secs(15);
/// Even a slow disk reads as much in a second.
const HASHED_BYTES_PER_SECOND: u64 = 16 << 20;
/// How long more than half wait for the others, beside what they took themselves.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(2);

/// A peer that has a file of the name.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Where it is asked.
    pub(super) to: String,
    /// What it is called in the report.
    pub(super) name: String,
}

impl Peer {
    pub(super) fn left_out(&self, reason: &str) -> FetchSource {
        // It may be what the peer says.
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        FetchSource { peer: self.name.clone(), bytes: 0, dropped: Some(reason) }
    }
}

/// Peers that have the same file, to the last block.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) sha256: String,
    pub(super) hashes: BlockHashes,
    pub(super) peers: Vec<Peer>,
}

/// Sends a message somewhere else.
pub(super) fn send(
    host: Host,
    to: &str,
    json: &str,
    done: impl FnOnce(Result<Response, ProviderError>) + Send + 'static,
) {
    let rest = json.strip_prefix('{').unwrap_or_default();
    host.call_with(&format!("{{\"to\":{},{rest}", to_json(to)), &[], done);
}

/// Waits for what comes, until a moment or until nobody wants it any more.
fn wait<T>(receiver: &Receiver<T>, until: Instant, cancel: &AtomicBool) -> Result<Option<T>, Problem> {
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(Problem::Cancelled);
        }
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(CANCEL_INTERVAL)) {
            Ok(arrived) => return Ok(Some(arrived)),
            Err(_) if left.is_zero() => return Ok(None),
            Err(_) => {}
        }
    }
}

/// Asks the tracker who has a file of that name, but for this node.
pub(super) fn find(host: Host, name: &str, cancel: &AtomicBool) -> Result<Vec<FilePeer>, Problem> {
    let (sender, receiver) = channel();
    let json = to_json(&FindFile { filename: Some(name.into()) });
    send(host, "tracker", &json, move |answer| drop(sender.send(answer)));
    let answer = wait(&receiver, Instant::now() + FIND_PATIENCE, cancel)?.ok_or(Problem::TrackerSilent)?;
    let answer = answer.map_err(Problem::Tracker)?;
    let found: FilePeers = serde_json::from_str(&answer.json).map_err(|_| Problem::TrackerUnclear)?;
    let own = host.node();
    let is_own = |peer: &FilePeer| match peer.peer_id {
        Some(peer_id) => peer_id == own.peer_id,
        None => peer.ip == own.ip && peer.port == own.port,
    };
    Ok(found.peers.into_iter().filter(|peer| !is_own(peer)).collect())
}

/// The peers to ask: those that may have the wanted file, those before others that tell what most tell.
pub(super) fn choose(mut found: Vec<FilePeer>, wanted: Option<&str>) -> (Vec<Peer>, u64) {
    found.retain(|peer| wanted.is_none() || peer.sha256.is_none() || peer.sha256.as_deref() == wanted);
    let mut counts: HashMap<Option<String>, usize> = HashMap::new();
    for peer in &found {
        *counts.entry(peer.sha256.clone()).or_default() += 1;
    }
    found.sort_by_key(|peer| std::cmp::Reverse(counts.get(&peer.sha256).copied().unwrap_or(0)));
    found.truncate(PEERS_MAX);
    let size = found.iter().filter_map(|peer| peer.size).max().unwrap_or(0);
    let peer = |peer: FilePeer| {
        let host = if peer.ip.contains(':') { format!("[{}]", peer.ip) } else { peer.ip };
        let to = format!("{host}:{}", peer.port);
        Peer { name: peer.peer_id.map_or_else(|| to.clone(), |id| id.to_string()), to }
    };
    (found.into_iter().map(peer).collect(), size)
}

/// Asks each peer for its file's hashes. Returns the groups, the largest first, and who is in none.
pub(super) fn compare(
    host: Host,
    name: &str,
    peers: Vec<Peer>,
    size: u64,
    cancel: &AtomicBool,
) -> Result<(Vec<Group>, Vec<FetchSource>), Problem> {
    let (sender, receiver) = channel();
    let json = to_json(&StatFile { filename: Some(name.into()), block_hashes: true });
    for (number, peer) in peers.iter().enumerate() {
        let sender = sender.clone();
        send(host, &peer.to, &json, move |answer| drop(sender.send((number, answer))));
    }
    drop(sender);
    let begun = Instant::now();
    let mut until = begun + STAT_PATIENCE + Duration::from_secs(size / HASHED_BYTES_PER_SECOND);
    let mut waiting: Vec<Option<Peer>> = peers.into_iter().map(Some).collect();
    let (mut groups, mut left_out) = (Groups::default(), Vec::new());
    let mut answered = 0;
    while answered < waiting.len() {
        let Some((number, answer)) = wait(&receiver, until, cancel)? else { break };
        let Some(peer) = waiting.get_mut(number).and_then(Option::take) else { continue };
        answered += 1;
        if 2 * answered > waiting.len() {
            let took = begun.elapsed();
            until = until.min(begun + took + took + STRAGGLER_PATIENCE);
        }
        match answer.map_err(|error| error.message).and_then(|answer| read(&answer)) {
            Ok((sha256, hashes)) => groups.add(sha256, hashes, peer),
            Err(reason) => left_out.push(peer.left_out(&reason)),
        }
    }
    left_out.extend(waiting.into_iter().flatten().map(|peer| peer.left_out("it did not answer in time")));
    Ok((groups.largest_first(), left_out))
}

/// What a peer tells of its file.
fn read(answer: &Response) -> Result<(String, BlockHashes), String> {
    let unclear = || "its answer is unclear".to_owned();
    let stat: FileStat = serde_json::from_str(&answer.json).map_err(|_| unclear())?;
    let Some(file) = stat.file.filter(|_| stat.found) else { return Err("it has the file no more".to_owned()) };
    let sha256 = file.sha256.filter(|text| potluck_sdk::files::from_hex::<32>(text).is_some()).ok_or_else(unclear)?;
    let hashes = BlockHashes::from_bytes(file.size, &answer.attachment).map_err(|_| unclear())?;
    Ok((sha256, hashes))
}

#[derive(Default)]
struct Groups(HashMap<(u64, String, String), Group>);

impl Groups {
    fn add(&mut self, sha256: String, hashes: BlockHashes, peer: Peer) {
        let key = (hashes.file_bytes(), sha256.clone(), to_hex(&hashes.root()));
        let group = self.0.entry(key).or_insert_with(|| Group { sha256, hashes, peers: Vec::new() });
        group.peers.push(peer);
    }

    fn largest_first(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_iter().collect();
        // Among equals the order is at least always the same.
        groups.sort_by(|(one, a), (other, b)| b.peers.len().cmp(&a.peers.len()).then_with(|| one.cmp(other)));
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16, sha256: Option<&str>) -> FilePeer {
        FilePeer { ip: "10.0.0.7".to_owned(), port, peer_id: None, size: Some(3), sha256: sha256.map(str::to_owned) }
    }

    fn chosen(found: Vec<FilePeer>, wanted: Option<&str>) -> Vec<String> {
        choose(found, wanted).0.into_iter().map(|peer| peer.to).collect()
    }

    #[test]
    fn those_are_asked_that_may_have_the_wanted_file() {
        let found = || vec![peer(1, Some("a")), peer(2, Some("b")), peer(3, None), peer(4, Some("b"))];
        assert_eq!(chosen(found(), Some("b")), ["10.0.0.7:2", "10.0.0.7:4", "10.0.0.7:3"]);
        assert_eq!(chosen(found(), None), ["10.0.0.7:2", "10.0.0.7:4", "10.0.0.7:1", "10.0.0.7:3"]);
        let many = (0..40).map(|port| peer(port, None)).collect();
        assert_eq!(chosen(many, None).len(), PEERS_MAX);
        let six = FilePeer { ip: "fd00::1".to_owned(), ..peer(5, None) };
        assert_eq!(chosen(vec![six], None), ["[fd00::1]:5"]);
    }

    #[test]
    fn a_group_has_the_same_file_to_the_last_block() {
        let hashes = |bytes: &[u8]| BlockHashes::read(bytes.len() as u64, bytes).unwrap();
        let named = |name: &str| Peer { to: String::new(), name: name.to_owned() };
        let mut groups = Groups::default();
        groups.add("s".to_owned(), hashes(b"damaged"), named("a"));
        groups.add("s".to_owned(), hashes(b"correct"), named("b"));
        groups.add("t".to_owned(), hashes(b"correct"), named("c"));
        groups.add("s".to_owned(), hashes(b"correct"), named("d"));
        let groups = groups.largest_first();
        let names: Vec<Vec<&str>> =
            groups.iter().map(|group| group.peers.iter().map(|peer| peer.name.as_str()).collect()).collect();
        assert_eq!((names.len(), &names[0]), (3, &vec!["b", "d"]));
    }

    #[test]
    fn answers_that_cannot_be_right_are_told_from_files_that_are_gone() {
        let answer =
            |json: &str, attachment: &[u8]| Response { json: json.to_owned(), attachment: attachment.to_vec() };
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let found = |size: u64, sha256: &str| {
            format!(
                r#"{{"type":"STATUS","status":"OK","filename":"a","found":true,"size":{size},"sha256":"{sha256}","modified_unix_seconds":1,"owner":null}}"#
            )
        };
        assert_eq!(read(&answer(&found(3, sha256), &[1; 32])).unwrap().0, sha256);
        for unclear in [
            answer(&found(3, sha256), &[1; 64]),
            answer(&found(3, sha256), b""),
            answer(&found(u64::MAX, sha256), &[1; 32]),
            answer(&found(3, "no hash"), &[1; 32]),
            answer("{}", b""),
        ] {
            assert_eq!(read(&unclear).unwrap_err(), "its answer is unclear");
        }
        let gone = r#"{"type":"STATUS","status":"OK","filename":"a","found":false}"#;
        assert_eq!(read(&answer(gone, b"")).unwrap_err(), "it has the file no more");
    }
}
