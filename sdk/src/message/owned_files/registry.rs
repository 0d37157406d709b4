//! What owners and holders tell and ask the tracker: REGISTER_, FIND_ and REPORT_OWNED_FILES, REQUEST_STORAGE_PEERS, BIND_OWNER.

use super::super::STATUS_OK;
use super::super::disk::is_false;
use super::{SignedManifest, StoragePeer};
use crate::PeerId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// REGISTER_OWNED_FILE: the owner tells the tracker of a new version, once its replicas are stored. The hashes of the
/// blob's blocks are the attachment.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REGISTER_OWNED_FILE")]
pub struct RegisterOwnedFile<'a> {
    /// The manifest.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// Who keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<PeerId>,
    /// In the original's form: the name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// In the original's form: where the owner is.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_ip: Option<Cow<'a, str>>,
    /// In the original's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_port: Option<u16>,
    /// In the original's form; a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Cow<'a, str>>,
    /// In the original's form: where the file is kept.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub storage_ip: Option<Cow<'a, str>>,
    /// In the original's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_port: Option<u16>,
}

/// Reply to REGISTER_OWNED_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFileRegistered {
    /// `OK`.
    pub status: String,
    /// The name, as it was sent.
    #[serde(default)]
    pub filename: String,
}

/// FIND_OWNED_FILE: the owner asks the tracker who keeps a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "FIND_OWNED_FILE")]
pub struct FindOwnedFile<'a> {
    /// The tag of the file's name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<Cow<'a, str>>,
    /// In the original's form: the name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// The asker's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_id: Option<Cow<'a, str>>,
    /// The asker's port, a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_port: Option<u16>,
    /// The asker's address, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_ip: Option<Cow<'a, str>>,
}

/// REPORT_OWNED_FILES: a holder tells the tracker what it keeps, and an owner what it has; when either has registered anew,
/// and when something is damaged.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REPORT_OWNED_FILES")]
pub struct ReportOwnedFiles<'a> {
    /// Replicas that the sender keeps, 200 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReportedReplica>,
    /// Files of the sender's own, deleted ones too, 200 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ReportedFile>,
    /// Bytes that the sender has room for as a holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// In the original's form.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub owned_files: Vec<LegacyReport<'a>>,
    /// In the original's form: port of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_port: Option<u16>,
    /// In the original's form: address of the sender.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub storage_ip: Option<Cow<'a, str>>,
}

/// A replica in REPORT_OWNED_FILES.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedReplica {
    /// Its manifest.
    #[serde(flatten)]
    pub manifest: SignedManifest,
    /// Whether the holder has found it damaged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub damaged: bool,
}

/// A file in REPORT_OWNED_FILES.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedFile {
    /// Its manifest.
    #[serde(flatten)]
    pub manifest: SignedManifest,
    /// Who keeps it, as far as its owner knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<PeerId>,
}

/// An entry of REPORT_OWNED_FILES in the original's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyReport<'a> {
    /// The name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Where its owner is.
    #[serde(borrow, default)]
    pub owner_ip: Option<Cow<'a, str>>,
    /// See `owner_ip`.
    #[serde(default)]
    pub owner_port: Option<u16>,
    /// The owner's id, as it was told to the holder.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Cow<'a, str>>,
}

/// Reply to REPORT_OWNED_FILES.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFilesReported {
    /// `OK`.
    pub status: String,
    /// Entries that were taken.
    pub updated_count: u64,
    /// Later manifests of files of which the sender reported earlier versions: a holder deletes what they have replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<SignedManifest>,
}

/// REQUEST_STORAGE_PEERS: which peers could keep a file of the caller's?
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REQUEST_STORAGE_PEERS")]
pub struct RequestStoragePeers<'a> {
    /// How many; 1 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<i64>,
    /// Bytes that each must have room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Peers that are not wanted: they have failed, or have a replica already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<PeerId>,
    /// Where the caller is, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_ip: Option<Cow<'a, str>>,
    /// See `owner_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_port: Option<u16>,
}

/// Reply to REQUEST_STORAGE_PEERS.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STORAGE_PEERS_RESPONSE")]
pub struct StoragePeers {
    /// As it was sent.
    pub owner_ip: String,
    /// As it was sent.
    pub owner_port: u16,
    /// As many as were asked for.
    pub replication: u32,
    /// The peers: those on machines that have none yet come first, then those with the most room. There may be fewer.
    pub peers: Vec<StoragePeer>,
}

/// BIND_OWNER: the tracker's administrator says whose the files of an owner are that an older system knew by port or by a
/// random id, neither of which proves anything.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "BIND_OWNER")]
pub struct BindOwner<'a> {
    /// The owner as the old registry has it: `port_9000`, or a UUID.
    #[serde(borrow, default)]
    pub owner: Option<Cow<'a, str>>,
    /// The member of the pool that it is.
    #[serde(default)]
    pub peer_id: Option<PeerId>,
}

/// Reply to BIND_OWNER.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnerBound {
    /// `OK`.
    pub status: String,
    /// Files that have an owner by that.
    pub file_count: u64,
}

impl OwnedFileRegistered {
    /// The file is registered.
    pub fn new(filename: impl Into<String>) -> OwnedFileRegistered {
        OwnedFileRegistered { status: STATUS_OK.to_owned(), filename: filename.into() }
    }
}
