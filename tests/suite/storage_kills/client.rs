//! A client that stores, uploads and deletes until its node is gone, and knows what was acknowledged to it.

use super::random::{Content, Random, part_name};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_tests::{TestNode, Wire, frame_bytes, with};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of one client: few, so that they are often replaced and deleted.
const NAMES: u64 = 6;
/// Messages that wait for their replies at the same time.
const IN_FLIGHT: usize = 4;
const UPLOADS: usize = 2;
/// No part is as long, so a piece that begins here is not stored, and the reply says how long the part is.
const NOWHERE: u64 = u64::MAX;

/// What is known of one name.
#[derive(Default)]
struct Fate {
    acknowledged: Option<Content>,
    /// What was sent since, in order, and what the name would hold afterwards.
    pending: VecDeque<(u64, Option<Content>)>,
}

struct Upload {
    name: String,
    id: String,
    content: Content,
    bytes: Arc<Vec<u8>>,
    sent: usize,
    acknowledged: usize,
    /// The message that completes it, once it was sent.
    last_message: Option<u64>,
    /// A piece was refused: nothing is sent until the node was asked where to go on.
    is_stopped: bool,
}

enum Sent {
    Change { name: String },
    Piece { upload: String, end: usize },
}

/// A client of the node's own user. Nobody else uses its names.
pub(crate) struct Client {
    number: usize,
    random: Random,
    /// Whether the node's disk fails now and then.
    may_fail: bool,
    next_id: u64,
    files: BTreeMap<String, Fate>,
    uploads: Vec<Upload>,
    /// Uploads that are complete on a disk that fails now and then: it may have refused to remove a part.
    complete: Vec<Upload>,
    sent: HashMap<u64, Sent>,
}

/// What a client's node must have now.
pub(crate) struct Expected {
    pub(crate) files: BTreeMap<String, Content>,
    /// Names of unfinished files, and the room that is kept for them.
    pub(crate) parts: BTreeMap<String, usize>,
}

impl Client {
    pub(crate) fn new(number: usize, seed: u64, may_fail: bool) -> Client {
        Client {
            number,
            random: Random::new(seed),
            may_fail,
            next_id: 1,
            files: BTreeMap::new(),
            uploads: Vec::new(),
            complete: Vec::new(),
            sent: HashMap::new(),
        }
    }

    pub(crate) fn name(client: usize, number: u64) -> String {
        match number % 3 {
            0 => format!("client-{client}/deep/er/{number}"),
            _ => format!("client-{client}-{number}"),
        }
    }

    pub(crate) fn any_name(random: &mut Random, clients: usize) -> String {
        Client::name(random.below(clients as u64) as usize, random.below(NAMES))
    }

    /// Works until the connection is gone. Counts the replies.
    pub(crate) fn work(&mut self, mut wire: Wire, replies: &AtomicU64) {
        loop {
            while self.sent.len() < IN_FLIGHT {
                if self.send_something(&mut wire).is_err() {
                    return;
                }
            }
            let Ok((reply, _)) = read(&wire) else { return };
            self.acknowledge(&reply);
            replies.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send_something(&mut self, wire: &mut Wire) -> io::Result<()> {
        let name = Client::name(self.number, self.random.below(NAMES));
        let id = self.next_id;
        self.next_id += 1;
        match self.random.below(100) {
            0..20 => self.change(id, &name, None, json!({ "type": "DELETE_FILE" }), Vec::new(), wire),
            20..45 => {
                let content = self.content(20_000);
                let members = json!({ "type": "PUT_FILE", "data": STANDARD.encode(content.bytes()) });
                self.change(id, &name, Some(content), members, Vec::new(), wire)
            }
            45..65 => {
                let content = self.content(1 << 20);
                let members = json!({ "type": "PUT_FILE", "sha256": content.sha256() });
                self.change(id, &name, Some(content), members, content.bytes(), wire)
            }
            // Larger than a frame: the host writes it into a file first.
            65 if self.random.one_in(6) => {
                let content = Content::new(self.random.next(), 13 << 20);
                let members = json!({ "type": "PUT_FILE", "data": STANDARD.encode(content.bytes()) });
                self.change(id, &name, Some(content), members, Vec::new(), wire)
            }
            _ => {
                if self.uploads.len() < UPLOADS {
                    self.begin_upload(name);
                }
                let open: Vec<usize> = (0..self.uploads.len()).filter(|at| self.uploads[*at].may_go_on()).collect();
                if open.is_empty() {
                    return Ok(());
                }
                let at = open[self.random.below(open.len() as u64) as usize];
                self.send_piece(id, at, wire)
            }
        }
    }

    /// Small ones more often than large ones; some are empty.
    fn content(&mut self, below: u64) -> Content {
        let seed = self.random.next();
        match self.random.below(10) {
            0 => Content::new(seed, 0),
            1..8 => Content::new(seed, 16 + self.random.below(2_000) as usize),
            _ => Content::new(seed, 16 + self.random.below(below) as usize),
        }
    }

    fn change(
        &mut self,
        id: u64,
        name: &str,
        after: Option<Content>,
        members: Value,
        attachment: Vec<u8>,
        wire: &mut Wire,
    ) -> io::Result<()> {
        // An attachment of no bytes is none; an empty file is sent as no data.
        let members = match (&after, attachment.is_empty(), members.get("data")) {
            (Some(_), true, None) => with(members, json!({ "data": "" })),
            _ => members,
        };
        self.files.entry(name.to_owned()).or_default().pending.push_back((id, after));
        self.sent.insert(id, Sent::Change { name: name.to_owned() });
        send(wire, id, name, members, &attachment)
    }

    fn begin_upload(&mut self, name: String) {
        let content = self.content(2 << 20);
        self.uploads.push(Upload {
            name,
            id: format!("upload-{}", self.random.next()),
            content,
            bytes: Arc::new(content.bytes()),
            sent: 0,
            acknowledged: 0,
            last_message: None,
            is_stopped: false,
        });
    }

    fn send_piece(&mut self, id: u64, at: usize, wire: &mut Wire) -> io::Result<()> {
        let upload = &mut self.uploads[at];
        let (begin, bytes) = (upload.sent, Arc::clone(&upload.bytes));
        let end = (begin + 1 + self.random.below(256 << 10) as usize).min(bytes.len());
        let mut members = upload.members(begin);
        upload.sent = end;
        if end == bytes.len() {
            upload.last_message = Some(id);
            members = with(members, json!({ "final": true, "sha256": upload.content.sha256() }));
            self.files.entry(upload.name.clone()).or_default().pending.push_back((id, Some(upload.content)));
        }
        self.sent.insert(id, Sent::Piece { upload: upload.id.clone(), end });
        send(wire, id, &upload.name.clone(), members, &bytes[begin..end])
    }

    fn acknowledge(&mut self, reply: &Value) {
        let is_refused = is_disk_error(reply);
        assert!(reply["error"].is_null() || self.may_fail && is_refused, "{reply}");
        let id = reply["id"].as_u64().unwrap();
        match self.sent.remove(&id).unwrap_or_else(|| panic!("nobody asked for {reply}")) {
            // It may have happened or not, like one without an answer.
            Sent::Change { .. } if is_refused => {}
            Sent::Change { name } => self.settle(&name, id),
            Sent::Piece { upload, end } => {
                let at = self.uploads.iter().position(|candidate| candidate.id == upload).unwrap();
                if is_refused || self.uploads[at].is_stopped && reply["stored"] == false {
                    self.uploads[at].is_stopped = true;
                    return;
                }
                assert_eq!((&reply["stored"], &reply["received_bytes"]), (&json!(true), &json!(end)), "{reply}");
                self.uploads[at].acknowledged = end;
                assert_eq!(reply["complete"], json!(self.uploads[at].last_message == Some(id)), "{reply}");
                if reply["complete"] == true {
                    let upload = self.uploads.remove(at);
                    assert_eq!(reply["sha256"], upload.content.sha256(), "{reply}");
                    self.settle(&upload.name, id);
                    if self.may_fail {
                        self.complete.push(upload);
                    }
                }
            }
        }
    }

    /// A change of a name is acknowledged, and with it those before.
    fn settle(&mut self, name: &str, id: u64) {
        let fate = self.files.get_mut(name).unwrap();
        let at = fate.pending.iter().position(|(pending, _)| *pending == id).unwrap();
        fate.acknowledged = fate.pending[at].1;
        fate.pending.drain(..=at);
    }

    /// Checks all names on the node that was started again, and ends what was begun. Some uploads are left for later.
    pub(crate) fn check(&mut self, node: &TestNode) -> Expected {
        let mut wire = node.wire();
        self.sent.clear();
        // Changes that have not happened, nor any behind them.
        let mut missing = HashSet::new();
        let mut expected = Expected { files: BTreeMap::new(), parts: BTreeMap::new() };
        for (name, fate) in &mut self.files {
            let found = fetch(&mut wire, name);
            let holds = |content: Option<Content>| match (&found, content) {
                (None, None) => true,
                (Some(bytes), Some(content)) => content.length == bytes.len() && content.bytes() == *bytes,
                _ => false,
            };
            let last = fate.pending.iter().rposition(|(_, content)| holds(*content));
            let now = match last {
                Some(at) => fate.pending[at].1,
                None => fate.acknowledged,
            };
            assert!(
                holds(now),
                "{name} holds {:?} bytes, but {:?} was acknowledged, and since then {:?} was sent",
                found.map(|bytes| bytes.len()),
                fate.acknowledged,
                fate.pending
            );
            missing.extend(fate.pending.drain(..).skip(last.map_or(0, |at| at + 1)).map(|(id, _)| id));
            fate.acknowledged = now;
        }
        for mut upload in std::mem::take(&mut self.uploads) {
            let received = upload.received(&mut wire);
            let may_be_complete = upload.last_message.is_some_and(|last| !missing.contains(&last));
            if received == 0 && may_be_complete {
                continue;
            }
            assert!(
                (upload.acknowledged..=upload.sent).contains(&received),
                "{} bytes of {} were acknowledged, {} sent, and {received} are there",
                upload.acknowledged,
                upload.name,
                upload.sent
            );
            match self.random.below(4) {
                _ if received == 0 => {}
                0 => {
                    (upload.sent, upload.acknowledged, upload.last_message) = (received, received, None);
                    upload.is_stopped = false;
                    expected.parts.insert(part_name(&upload.id, &upload.name), upload.content.length);
                    self.uploads.push(upload);
                }
                1 => upload.abort(&mut wire),
                _ => {
                    upload.finish(&mut wire, received);
                    self.files.entry(upload.name).or_default().acknowledged = Some(upload.content);
                }
            }
        }
        for upload in self.complete.drain(..) {
            upload.abort(&mut wire);
        }
        let there = self.files.iter().filter_map(|(name, fate)| Some((name.clone(), fate.acknowledged?)));
        expected.files.extend(there);
        expected
    }
}

impl Upload {
    fn may_go_on(&self) -> bool {
        self.last_message.is_none() && !self.is_stopped
    }

    fn members(&self, offset: usize) -> Value {
        json!({ "type": "PUT_FILE_CHUNK", "upload": self.id, "offset": offset, "size": self.content.length })
    }

    fn received(&self, wire: &mut Wire) -> usize {
        let reply = wire.call(with(self.members(0), json!({ "offset": NOWHERE, "filename": self.name })));
        assert_eq!(reply["stored"], false, "{reply}");
        reply["received_bytes"].as_u64().unwrap() as usize
    }

    fn abort(&self, wire: &mut Wire) {
        let reply = wire.call(with(self.members(0), json!({ "abort": true, "filename": self.name })));
        assert_eq!(reply["status"], "OK", "{reply}");
    }

    fn finish(&self, wire: &mut Wire, received: usize) {
        let rest = &self.bytes[received..];
        let members = json!({
            "filename": self.name, "final": true, "sha256": self.content.sha256(), "attachment": rest.len(),
        });
        wire.send_with(with(self.members(received), members), rest);
        let reply = wire.read();
        assert_eq!((&reply["complete"], &reply["sha256"]), (&json!(true), &json!(self.content.sha256())), "{reply}");
    }
}

/// The bytes of a file, which are those that its hash tells; nothing when it is not there.
pub(crate) fn fetch(wire: &mut Wire, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let (offset, encoding) = (bytes.len(), "raw");
        wire.send(json!({ "type": "GET_FILE_CHUNK", "filename": name, "offset": offset, "encoding": encoding }));
        let (reply, piece) = read(wire).unwrap();
        assert_eq!(reply["error"], Value::Null, "{reply}");
        if reply["found"] == false {
            return None;
        }
        bytes.extend(piece);
        if bytes.len() as u64 >= reply["size"].as_u64().unwrap() {
            assert_eq!(reply["sha256"], super::random::sha256(&bytes), "{name}: {reply}");
            return Some(bytes);
        }
    }
}

pub(crate) fn is_disk_error(reply: &Value) -> bool {
    reply["code"] == "disk_failed"
        || reply["code"] == "limit_reached" && reply["error"].as_str().unwrap().contains("the disk is full")
}

fn send(wire: &mut Wire, id: u64, name: &str, members: Value, attachment: &[u8]) -> io::Result<()> {
    let mut message = with(members, json!({ "id": id, "filename": name }));
    if !attachment.is_empty() {
        message = with(message, json!({ "attachment": attachment.len() }));
    }
    let mut bytes = frame_bytes(&message.to_string());
    bytes.extend_from_slice(attachment);
    wire.try_send_bytes(&bytes)
}

/// The next reply and its attachment, from a node that may be gone at any byte.
pub(crate) fn read(wire: &Wire) -> io::Result<(Value, Vec<u8>)> {
    let mut stream = wire.stream();
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut json = vec![0; u32::from_be_bytes(header) as usize];
    stream.read_exact(&mut json)?;
    let reply: Value = serde_json::from_slice(&json)?;
    let mut attachment = vec![0; reply["attachment"].as_u64().unwrap_or(0) as usize];
    stream.read_exact(&mut attachment)?;
    Ok((reply, attachment))
}
