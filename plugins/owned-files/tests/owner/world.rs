//! A tracker and holders that the test makes up, and a node among them.

use potluck_sdk::testing::Harness;
use potluck_sdk::{Provider, ProviderError};
use provider_owned_files::OwnedFiles;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub(crate) const FIRST: &str = "6f0c6b1e-0000-8000-8000-000000000001";
pub(crate) const SECOND: &str = "6f0c6b1e-0000-8000-8000-000000000002";
/// Bytes of a block.
pub(crate) const PIECE: usize = 1 << 20;

/// How a holder behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Manner {
    #[default]
    Honest,
    Away,
    /// It has no room.
    Full,
    /// It takes everything, and sends other bytes than it has got.
    Liar,
    /// It takes everything, and has no time for the next questions.
    Busy(u32),
    /// It takes a block and asks for the same one again.
    Insatiable,
    /// It lacks blocks that the file does not have.
    Boundless,
}

#[derive(Default)]
pub(crate) struct World {
    /// The tracker's registry: manifests, their holders, and what is known of all.
    pub(crate) files: BTreeMap<String, (Value, Vec<String>)>,
    pub(crate) manners: BTreeMap<String, Manner>,
    /// Blocks that holders have, by blob.
    pub(crate) stored: BTreeMap<(String, String), BTreeSet<u64>>,
    pub(crate) sizes: BTreeMap<String, u64>,
    /// What the tracker answers instead.
    pub(crate) tracker_error: Option<&'static str>,
    /// What the tracker says it has found, whatever is asked for.
    pub(crate) lie: Option<Value>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

/// By blob and block.
type Bytes = BTreeMap<(String, Option<u64>), Vec<u8>>;

pub(crate) struct Node {
    pub(crate) harness: Harness,
    /// What holders have got: blocks and, as the last one, the list of hashes.
    pub(crate) bytes: Arc<Mutex<Bytes>>,
    pub(crate) world: Shared,
}

pub(crate) fn ok() -> Value {
    json!({"type": "STATUS", "status": "OK"})
}

pub(crate) fn error(code: &str) -> Value {
    json!({"type": "ERROR", "code": code, "message": "as the test says"})
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn manifest_of(message: &Value) -> Value {
    serde_json::from_str(message["manifest"].as_str().unwrap_or("null")).unwrap()
}

impl World {
    pub(crate) fn peers(&self) -> Vec<Value> {
        let peer = |(number, id): (usize, &String)| json!({"ip": "192.0.2.1", "port": 9000 + number, "peer_id": id});
        self.manners.keys().enumerate().map(peer).collect()
    }

    pub(crate) fn is_tracker(message: &Value) -> bool {
        message["to"] == "tracker"
    }

    pub(crate) fn find(&self, message: &Value) -> Value {
        if let Some(lie) = &self.lie {
            return lie.clone();
        }
        match self.files.get(&text(&message["name_tag"])) {
            Some((signed, holders)) => {
                let peers: Vec<Value> = holders.iter().map(|id| json!({"ip": "", "port": 0, "peer_id": id})).collect();
                json!({"type": "OWNED_FILE_RESPONSE", "found": true, "manifest": signed["manifest"],
                    "signature": signed["signature"], "storage_peers": peers})
            }
            None => json!({"type": "OWNED_FILE_RESPONSE", "found": false}),
        }
    }

    /// Takes a manifest as the tracker does; the later one when there is one.
    pub(crate) fn apply(&mut self, signed: &Value, holders: Vec<String>) -> Option<Value> {
        let said = manifest_of(signed);
        let tag = text(&said["name_tag"]);
        if let Some((known, _)) = self.files.get(&tag) {
            let is_same = known["manifest"] == signed["manifest"];
            if !is_same && manifest_of(known)["revision"].as_u64() >= said["revision"].as_u64() {
                return Some(known.clone());
            }
        }
        let signed = json!({"manifest": signed["manifest"], "signature": signed["signature"]});
        self.files.insert(tag, (signed, holders));
        None
    }

    pub(crate) fn holder(&mut self, message: &Value) -> Value {
        let id = text(&message["to"]);
        let manner = self.manners.get(&id).copied().unwrap_or(Manner::Away);
        if manner == Manner::Away {
            return error(ProviderError::PEER_LOST);
        }
        if manner == Manner::Full {
            return error(ProviderError::LIMIT_REACHED);
        }
        let blob = text(&message["blob"]);
        if message["manifest"].is_string() {
            let size = manifest_of(message)["blob"]["size"].as_u64().unwrap();
            self.sizes.insert(blob.clone(), size);
        }
        let count = self.sizes[&blob].div_ceil(PIECE as u64);
        let here = self.stored.entry((id, blob)).or_default();
        if let Some(block) = message["block"].as_u64() {
            assert!(block < count, "block {block} of {count}");
            here.insert(block);
        }
        let missing: Vec<Value> = match manner {
            Manner::Insatiable => vec![json!([0, 1])],
            Manner::Boundless => vec![json!([0, u64::MAX])],
            _ => (0..count).filter(|block| !here.contains(block)).map(|block| json!([block, block + 1])).collect(),
        };
        let complete = missing.is_empty();
        json!({"type": "STATUS", "status": "OK", "size": 1, "complete": complete, "missing": missing})
    }
}

impl Node {
    pub(crate) fn start() -> Node {
        Node::with(json!({}), Shared::default())
    }

    pub(crate) fn with(config: Value, world: Shared) -> Node {
        Node::of(Harness::start::<OwnedFiles>(config).unwrap(), world)
    }

    pub(crate) fn of(harness: Harness, world: Shared) -> Node {
        let node = Node { harness, world, bytes: Arc::default() };
        node.script();
        node
    }

    /// Notes what holders have got so far, for what they will be asked.
    pub(crate) fn note_bytes(&self) {
        let mut bytes = self.bytes.lock().unwrap();
        for sent in self.harness.sent() {
            let message: Value = serde_json::from_str(&sent.json).unwrap();
            if message["type"] == "UPLOAD_TO_PEER" {
                bytes.insert((text(&message["blob"]), message["block"].as_u64()), sent.attachment);
            }
        }
    }

    /// How a holder answers GET_OWNED_FILE and AUDIT_OWNED_FILE.
    fn script_reading(&self, message_type: &str) {
        let (world, bytes) = (Arc::clone(&self.world), Arc::clone(&self.bytes));
        self.harness.answer_with_attachment(message_type, move |message| {
            let mut world = world.lock().unwrap();
            let manner = world.manners.get_mut(&text(&message["to"]));
            let key = (text(&message["blob"]), message["block"].as_u64());
            let Some(mut bytes) = bytes.lock().unwrap().get(&key).cloned() else {
                return (error("not_found"), Vec::new());
            };
            match manner {
                None | Some(Manner::Away) => return (error(ProviderError::PEER_LOST), Vec::new()),
                Some(Manner::Busy(count @ 1..)) => {
                    *count -= 1;
                    return (error("busy"), Vec::new());
                }
                Some(Manner::Liar) => bytes[0] ^= 1,
                Some(_) => {}
            }
            (json!({"type": "OWNED_FILE_RESPONSE", "found": true}), bytes)
        });
    }

    /// A piece of a file, or the code of the refusal.
    pub(crate) fn download(&self, name: &str, offset: usize, length: usize, more: Value) -> Result<Vec<u8>, String> {
        let mut message = json!({"type": "DOWNLOAD_OWNED_FILE", "filename": name, "offset": offset, "length": length,
            "encoding": "raw"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.harness.begin(message).wait_response();
        answer.map(|response| response.attachment).map_err(|error| error.code.into_owned())
    }

    /// The node begins anew with what the disk has at this moment; without its list when that was lost.
    pub(crate) fn reopened(&self, keeps_list: bool) -> Node {
        let from = self.harness.data_dir().to_owned();
        let harness = Harness::start_with_clock::<OwnedFiles>(json!({}), move |host, config, _| {
            let to = host.node().node_dir;
            std::fs::create_dir_all(to.join("owned_outgoing")).unwrap();
            for entry in std::fs::read_dir(from.join("owned_outgoing")).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join("owned_outgoing").join(entry.file_name())).unwrap();
            }
            for suffix in ["", "-wal", "-shm"] {
                let name = format!("owned_files.sqlite{suffix}");
                if keeps_list && from.join(&name).exists() {
                    std::fs::copy(from.join(&name), to.join(&name)).unwrap();
                }
            }
            OwnedFiles::start(host, config)
        });
        let node = Node::of(harness.unwrap(), Arc::clone(&self.world));
        *node.bytes.lock().unwrap() = self.bytes.lock().unwrap().clone();
        node
    }

    pub(crate) fn script(&self) {
        self.answer(
            "LIST_PEERS",
            |world, _| json!({"type": "PEER_LIST", "peers": world.peers(), "tracker_connected": true}),
        );
        self.answer("REQUEST_STORAGE_PEERS", |world, message| {
            let is_excluded =
                |peer: &Value| message["exclude"].as_array().is_some_and(|all| all.contains(&peer["peer_id"]));
            let peers: Vec<Value> = world.peers().into_iter().filter(|peer| !is_excluded(peer)).collect();
            json!({"type": "STORAGE_PEERS_RESPONSE", "owner_ip": "", "owner_port": 0, "replication": 1, "peers": peers})
        });
        self.answer("FIND_OWNED_FILE", |world, message| world.find(message));
        self.answer("REGISTER_OWNED_FILE", |world, message| {
            let holders = message["holders"].as_array().into_iter().flatten().map(text).collect();
            if world.apply(message, holders).is_some() { error("superseded") } else { ok() }
        });
        self.answer("REPORT_OWNED_FILES", |world, message| {
            let mut superseded = Vec::new();
            for file in message["files"].as_array().into_iter().flatten() {
                let holders = file["holders"].as_array().into_iter().flatten().map(text).collect();
                superseded.extend(world.apply(file, holders));
            }
            json!({"type": "STATUS", "status": "OK", "updated_count": 0, "superseded": superseded})
        });
        self.answer("LIST_OWNED_FILES", |world, _| {
            let entry = |(signed, holders): &(Value, Vec<String>)| {
                let peers: Vec<Value> = holders.iter().map(|id| json!({"ip": "", "port": 0, "peer_id": id})).collect();
                json!({"manifest": signed["manifest"], "signature": signed["signature"], "storage_peers": peers})
            };
            let files: Vec<Value> = world.files.values().map(entry).collect();
            json!({"type": "STATUS", "status": "OK", "owned_files": files, "next": null})
        });
        self.answer("DELETE_OWNED_FILE", |world, message| {
            if !World::is_tracker(message) {
                let manner = world.manners.get(&text(&message["to"])).copied().unwrap_or(Manner::Away);
                let done = json!({"type": "STATUS", "status": "OK", "deleted": true});
                return if manner == Manner::Away { error(ProviderError::PEER_LOST) } else { done };
            }
            match world.apply(message, Vec::new()) {
                Some(_) => error("superseded"),
                None => json!({"type": "STATUS", "status": "OK", "deleted": true}),
            }
        });
        self.answer("UPLOAD_TO_PEER", |world, message| world.holder(message));
        self.script_reading("GET_OWNED_FILE");
        self.script_reading("AUDIT_OWNED_FILE");
    }

    pub(crate) fn answer(
        &self,
        message_type: &str,
        script: impl Fn(&mut World, &Value) -> Value + Send + Sync + 'static,
    ) {
        let world = Arc::clone(&self.world);
        self.harness.answer(message_type, move |message| {
            let mut world = world.lock().unwrap();
            match world.tracker_error {
                Some(code) if World::is_tracker(message) => error(code),
                _ => script(&mut world, message),
            }
        });
    }

    pub(crate) fn holders(&self, manners: &[(&str, Manner)]) {
        let manners = manners.iter().map(|(id, manner)| ((*id).to_owned(), *manner));
        self.world.lock().unwrap().manners = manners.collect();
    }

    pub(crate) fn tracker_error(&self, code: Option<&'static str>) {
        self.world.lock().unwrap().tracker_error = code;
    }

    /// The whole file in one piece, as a client sends a small one.
    pub(crate) fn upload(&self, upload: &str, name: &str, bytes: &[u8], more: Value) -> Result<Value, ProviderError> {
        let mut message = json!({"type": "UPLOAD_OWNED_FILE", "filename": name, "upload": upload, "offset": 0,
            "final": true, "size": bytes.len()});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.harness.message(message).attachment(bytes).call()
    }

    /// The names and revisions of all files.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let list = self.harness.call(json!({"type": "LIST_OWNED_FILES"})).unwrap();
        let entry = |file: &Value| (text(&file["filename"]), file["revision"].as_u64().unwrap());
        list["owned_files"].as_array().unwrap().iter().map(entry).collect()
    }

    pub(crate) fn delete(&self, name: &str) -> Result<Value, ProviderError> {
        self.harness.call(json!({"type": "DELETE_OWNED_FILE", "filename": name}))
    }

    pub(crate) fn sent(&self, message_type: &str) -> Vec<Value> {
        let all = self.harness.sent();
        let parsed = all.iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
        parsed.filter(|message| message["type"] == message_type).collect()
    }

    pub(crate) fn meet_tracker(&self) {
        self.harness.emit("tracker.session", json!({"peer_id": FIRST}));
    }

    pub(crate) fn outgoing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.harness.data_dir().join("owned_outgoing")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
