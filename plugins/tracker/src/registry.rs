//! The registry of owned files: which versions there are, who keeps them, and what has to be deleted where.
//!
//! What counts is a manifest that its owner has signed. Whoever shows one is believed what it says, and nothing else: ids,
//! ports and addresses in messages are hints. An owner sees its own files only.
//!
//! All that is known is in a database, on whose [`worker`] all work with it is done; [`messages`] and [`report`] decode and
//! answer, [`store`] knows the rows, [`plain`] the files in the original system's form. [`placement`] chooses holders,
//! [`deletions`] reach those that were away, [`audit`] finds replicas that are lost and [`repair`] has them made anew.
//! [`export`] writes `owned_files.json`, [`import`] reads one of the original system.

mod audit;
mod calls;
mod database;
mod deletions;
mod error;
mod export;
mod import;
mod messages;
mod placement;
mod plain;
mod repair;
mod report;
mod store;
mod worker;

use crate::config::TrackerConfig;
use crate::service::Service;
use deletions::Deletions;
use error::RegistryError;
use parking_lot::{Condvar, Mutex};
use potluck_sdk::files::Lanes;
use potluck_sdk::message::owned_files::{ReplicaState, StoragePeer};
use potluck_sdk::message::to_json;
use potluck_sdk::{Caller, Host, PeerId, ProviderError, Reply, Request};
use rusqlite::{Connection, params};
use serde::Serialize;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Limits, ReplicaRow};
use worker::Worker;

/// The registry behind its handlers.
pub(crate) struct Registry {
    host: Host,
    service: Arc<Service>,
    own_id: PeerId,
    own_port: u16,
    worker: Worker,
    limits: Limits,
    deletions: Deletions,
    /// The start, by the clock that measures and in Unix seconds.
    started: (Instant, u64),
    stopped: AtomicBool,
    audit_pause: Duration,
    repair_after: Duration,
    /// Whether a round of audits is to come, or under way.
    round_armed: AtomicBool,
    /// Whether somebody waits to fetch block hashes.
    fetch_waits: AtomicBool,
    fetching: Mutex<()>,
    unproven: Mutex<audit::Unproven>,
    /// Files whose replicas are being made anew.
    being_mended: Mutex<HashSet<i64>>,
    /// One of them is not any more.
    is_mended: Condvar,
    mending: Lanes,
    repairs_running: AtomicUsize,
    folder: PathBuf,
    /// Whether `owned_files.json` is to be written, or is being written.
    export_armed: AtomicBool,
    export_pause: Mutex<Duration>,
    /// Counts what was written.
    changes: AtomicU64,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asker {
    id: PeerId,
    /// Where it is, if it is known to be alive.
    port: Option<u16>,
}

/// Whether the registry answers that type of message.
pub(crate) fn answers(message_type: &str) -> bool {
    matches!(message_type, "REQUEST_STORAGE_PEERS" | "BIND_OWNER")
        || message_type.ends_with("_OWNED_FILE")
        || message_type.ends_with("_OWNED_FILES")
}

/// Answers one message. Nothing here waits for the disk.
pub(crate) fn answer(registry: &Arc<Registry>, request: Request<'_>, reply: Reply<'_>) {
    let asker = match registry.asker(request.caller) {
        Ok(asker) => asker,
        Err(error) => return reply.error(&error.into()),
    };
    deletions::heard(registry, asker.id);
    match request.message_type {
        "REGISTER_OWNED_FILE" => messages::register(registry, asker, request, reply),
        "FIND_OWNED_FILE" => messages::find(registry, asker, request, reply),
        "LIST_OWNED_FILES" => messages::list(registry, asker, request, reply),
        "DELETE_OWNED_FILE" => messages::delete(registry, asker, request, reply),
        "REPORT_OWNED_FILES" => report::report(registry, asker, request, reply),
        "REQUEST_STORAGE_PEERS" => placement::request(registry, asker, request, reply),
        "BIND_OWNER" => plain::bind(registry, request, reply),
        "REPAIR_OWNED_FILES" => repair::request(registry, asker, request, reply),
        other => {
            let text = format!("the tracker does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

impl Registry {
    /// Opens the registry of the node, or makes one.
    pub(crate) fn open(
        host: Host,
        config: &TrackerConfig,
        service: &Arc<Service>,
    ) -> Result<Arc<Registry>, ProviderError> {
        let node = host.node();
        let folder = database::folder(&node.node_dir);
        let connection = database::open(&folder, |connection| import::import(host, connection, &folder))?;
        let deletions = Deletions::load(&connection)?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let has_something = has_something(&connection)?;
        let registry = Arc::new_cyclic(|weak: &Weak<Registry>| {
            let weak = weak.clone();
            let changed = move || {
                if let Some(registry) = weak.upgrade() {
                    registry.changed();
                }
            };
            Registry {
                host,
                service: Arc::clone(service),
                own_id: node.peer_id,
                own_port: node.port,
                worker: Worker::new(host, connection, changed),
                limits: Limits { files: config.owned_files_max, files_of_one: config.owner_files_max },
                deletions,
                started: (service.instant(), unix),
                stopped: AtomicBool::new(false),
                audit_pause: config.audit(),
                repair_after: config.repair_after(),
                round_armed: AtomicBool::new(false),
                fetch_waits: AtomicBool::new(false),
                fetching: Mutex::default(),
                unproven: Mutex::default(),
                being_mended: Mutex::default(),
                is_mended: Condvar::new(),
                mending: Lanes::default(),
                repairs_running: AtomicUsize::new(0),
                folder,
                export_armed: AtomicBool::new(false),
                export_pause: Mutex::default(),
                changes: AtomicU64::new(0),
            }
        });
        if has_something {
            registry.changed();
        }
        Ok(registry)
    }

    /// Something was written.
    fn changed(self: &Arc<Self>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        audit::arm(self);
        export::arm(self);
    }

    /// A peer is there: what it did not hear while it was away is sent to it.
    pub(crate) fn heard(self: &Arc<Self>, caller: Caller<'_>) {
        if let Caller::Member(id) = caller
            && let Ok(id) = id.parse()
        {
            deletions::heard(self, id);
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Who is behind a message, as the host has established it. What the node's own user or plugins ask, the node asks.
    fn asker(&self, caller: Caller<'_>) -> Result<Asker, RegistryError> {
        match caller {
            Caller::Member(id) => {
                let id = id.parse().map_err(|_| RegistryError::NoOwner)?;
                Ok(Asker { id, port: self.address(id).map(|(_, port)| port) })
            }
            Caller::Task(_) => Err(RegistryError::NoOwner),
            Caller::Local | Caller::Plugin(_) | Caller::Web(_) => {
                Ok(Asker { id: self.own_id, port: Some(self.own_port) })
            }
        }
    }

    /// Where a peer is; nothing when it is not alive.
    fn address(&self, peer_id: PeerId) -> Option<(String, u16)> {
        self.service.with_state(|state, _, _| state.directory.peer(peer_id).map(|entry| (entry.ip.clone(), entry.port)))
    }

    /// A message for another peer, and nobody else. Its address is that of the directory: the node of a tracker has no table
    /// of peers that it could look up an id in.
    fn addressed<T: Serialize>(&self, to: PeerId, message: &T) -> String {
        let json = to_json(message);
        if to == self.own_id {
            return json;
        }
        let address = self.address(to).map(|(ip, port)| format!("{to}@{ip}:{port}"));
        let rest = json.strip_prefix('{').unwrap_or(&json);
        format!("{{\"to\":{},{rest}", to_json(&address.unwrap_or_else(|| to.to_string())))
    }

    /// Unix seconds, by the clock of the service.
    fn now(&self) -> u64 {
        self.started.1 + self.service.instant().saturating_duration_since(self.started.0).as_secs()
    }

    /// Replicas as they are shown: with the address that their holder has now, or had last.
    fn shown(&self, rows: Vec<ReplicaRow>) -> Vec<StoragePeer> {
        let shown = |row: ReplicaRow, now: Option<(String, u16)>| {
            let is_alive = now.is_some();
            let (ip, port) = now.unwrap_or((row.ip, row.port));
            StoragePeer {
                ip,
                port,
                peer_id: Some(row.holder),
                state: if is_alive { row.state } else { ReplicaState::Away },
                checked_unix_seconds: row.checked,
                owned_files: None,
                free_bytes: None,
            }
        };
        self.service.with_state(|state, _, _| {
            let address = |id| state.directory.peer(id).map(|entry| (entry.ip.clone(), entry.port));
            rows.into_iter()
                .map(|row| {
                    let now = address(row.holder);
                    shown(row, now)
                })
                .collect()
        })
    }
}

impl Asker {
    /// Whether an id that a message states may be the asker's.
    fn check_hint(&self, stated: Option<&str>) -> Result<(), RegistryError> {
        match stated {
            Some(stated) if !stated.is_empty() && stated != self.id.to_string() => Err(RegistryError::NotOwner),
            _ => Ok(()),
        }
    }
}

/// Whether the registry has anything at all.
fn has_something(connection: &Connection) -> Result<bool, RegistryError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM files) OR EXISTS (SELECT 1 FROM plain_files)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// A number below `bound`, or 0, that nobody can foresee: each hasher of the standard library has secret keys.
fn random_below(bound: u64) -> u64 {
    let random = RandomState::new().hash_one(Instant::now());
    random % bound.max(1)
}

/// Notes where a peer is that keeps or owns something, and that it is there now.
fn note_peer(
    connection: &Connection,
    peer_id: PeerId,
    address: Option<&(String, u16)>,
    now: u64,
    free_bytes: Option<u64>,
) -> Result<(), RegistryError> {
    let (ip, port) = address.map(|(ip, port)| (Some(ip), Some(port))).unwrap_or_default();
    let sql = "INSERT INTO peers (peer_id, ip, port, heard, free_bytes)
               VALUES (?1, COALESCE(?2, ''), COALESCE(?3, 0), ?4, ?5)
               ON CONFLICT (peer_id) DO UPDATE SET ip = COALESCE(?2, ip), port = COALESCE(?3, port),
                   heard = MAX(heard, ?4), free_bytes = COALESCE(?5, free_bytes)";
    let values = params![peer_id.to_string(), ip, port, store::signed(now), free_bytes.map(store::signed)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}
