//! Owned files: encrypted by their owner, kept by other nodes (the *holders*), found through the tracker.
//!
//! | who asks whom | message |
//! |---|---|
//! | a client its own node | UPLOAD_OWNED_FILE, DOWNLOAD_OWNED_FILE, LIST_OWNED_FILES, DELETE_OWNED_FILE, REPAIR_OWNED_FILES |
//! | the owner a holder | UPLOAD_TO_PEER, GET_OWNED_FILE, DELETE_OWNED_FILE |
//! | the owner the tracker | REQUEST_STORAGE_PEERS, REGISTER_, FIND_, LIST_, DELETE_, REPAIR_OWNED_FILES |
//! | a holder, or an owner, the tracker | REPORT_OWNED_FILES |
//! | the tracker a holder | AUDIT_OWNED_FILE, REPLICATE_OWNED_FILE, DELETE_OWNED_FILE |
//!
//! What is known of a file to others than its owner stands in its [`Manifest`], which the owner has signed. Whoever shows a
//! signed manifest shows what its owner wants, whoever it comes from: a holder stores no blob without one and deletes none
//! without a later one, and a tracker that has lost everything learns of all files from the manifests that holders kept.

use super::disk::{Encoding, is_false};
use crate::PeerId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

mod registry;

pub use registry::*;

/// Label of the secret ([`crate::Host::secret`]) that is the owner's age identity: an X25519 key.
pub const AGE_IDENTITY_LABEL: &str = "owned-files age identity 1";
/// Label of the secret that name tags are made with (HMAC-SHA-256 of the file's name).
pub const NAME_TAG_LABEL: &str = "owned-files name tag 1";
/// Label under which manifests are signed ([`crate::Host::sign`]).
pub const MANIFEST_LABEL: &str = "owned-files manifest 1";

/// Topic on which a node tells how far an upload is: an [`UploadProgress`].
pub const UPLOAD_TOPIC: &str = "file.upload";
/// Topic on which the tracker tells of replicas that were lost or repaired: a [`ReplicaEvent`].
pub const REPLICA_TOPIC: &str = "file.replica";

/// Most entries in one REPORT_OWNED_FILES, and in one answer to LIST_OWNED_FILES.
pub const ENTRIES_MAX: usize = 200;
/// Most replicas of one file.
pub const REPLICAS_MAX: u32 = 16;
/// Longest text of a manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 16 << 10;
/// Version of [`Manifest`].
pub const MANIFEST_VERSION: u32 = 1;

/// What an owner says of one version of a file. Its JSON text is signed, and travels as text, so that it stays what was
/// signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The owner's Ed25519 key in hexadecimal digits; the owner's id follows from it.
    pub owner_key: String,
    /// Keyed hash of the file's name, 64 hexadecimal digits: only the owner can tell which name it is.
    pub name_tag: String,
    /// Versions of a file count up; a higher one replaces all lower ones.
    pub revision: u64,
    /// What holders keep; null once the file is deleted.
    pub blob: Option<Blob>,
    /// How many replicas the owner wants.
    pub replicas: u32,
    /// Name, size and hash of the file ([`Sealed`]) as JSON, encrypted for the owner (age), in base64; empty once deleted.
    pub sealed: String,
}

/// The encrypted bytes that holders keep: one file in the age v1 format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Random: 32 hexadecimal digits.
    pub id: String,
    /// Bytes, encrypted.
    pub size: u64,
    /// Bytes of each block but the last.
    pub block_bytes: u64,
    /// Hash of the list of BLAKE3 hashes of the blocks, as `files::BlockHashes::root` makes it, in hexadecimal digits.
    pub root: String,
}

/// The part of a manifest that only the owner can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The file's name.
    pub filename: String,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
    /// When it was uploaded.
    pub uploaded_unix_seconds: u64,
}

/// A manifest and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// The JSON text of a [`Manifest`].
    pub manifest: String,
    /// The owner's signature of that text, in hexadecimal digits.
    pub signature: String,
}

/// UPLOAD_OWNED_FILE: a client hands its node a file to encrypt and to store on other peers. Pieces as for PUT_FILE_CHUNK:
/// in order, as attachment or base64 `data`, resumed by the same `upload`. The answer to the last piece comes when all
/// replicas are stored and registered; the work goes on when the client goes away, and sending the last piece again (empty,
/// at the end) waits for it again.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UPLOAD_OWNED_FILE")]
pub struct UploadOwnedFile<'a> {
    /// The file's name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Names the upload: 1 to 64 letters, digits, hyphens or underscores.
    #[serde(borrow, default)]
    pub upload: Option<Cow<'a, str>>,
    /// Where the piece begins.
    #[serde(default)]
    pub offset: u64,
    /// Bytes of the whole file, when they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The piece in base64, when it is not the attachment.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, str>>,
    /// Whether the file ends with this piece.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// With the last piece: SHA-256 of the whole file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
    /// The last piece will have `blake3`: the node checks the content by that, which costs it a fourth, and takes `sha256`,
    /// by which the file is checked when it comes back, from the sender. The same for all pieces of an upload.
    #[serde(default, skip_serializing_if = "is_false")]
    pub with_blake3: bool,
    /// With the last piece: BLAKE3 of the whole file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Cow<'a, str>>,
    /// How many peers should keep it; 1 when missing, or as many as `holders` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Who should keep it: ids or addresses of peers. The tracker chooses when missing.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Cow<'a, str>>,
    /// Forget the upload, and what was stored of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abort: bool,
}

/// Reply to UPLOAD_OWNED_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFileUploaded {
    /// `OK`.
    pub status: String,
    /// The file's name.
    pub filename: String,
    /// The upload.
    pub upload: String,
    /// What the node has of the file: the next piece begins here.
    pub received_bytes: u64,
    /// Whether this piece was stored.
    pub stored: bool,
    /// Whether the file is stored and registered.
    pub complete: bool,
    /// When it is: SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it is: who keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_peers: Vec<StoragePeer>,
    /// When it is: why there are fewer replicas than wanted, one sentence for each that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Body of an event on [`UPLOAD_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadProgress {
    /// The upload.
    pub upload: String,
    /// Who stores it.
    pub peer: String,
    /// Bytes that this peer has.
    pub stored_bytes: u64,
    /// Bytes that it will have.
    pub size: u64,
}

/// DOWNLOAD_OWNED_FILE: a client reads a piece of an owned file, decrypted, through its own node.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DOWNLOAD_OWNED_FILE")]
pub struct DownloadOwnedFile<'a> {
    /// The file's name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Where the piece begins.
    #[serde(default)]
    pub offset: u64,
    /// Most bytes to read, 8 MiB at most; fewer come at the end of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The version to read; when there is another one the answer is `file_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// How the bytes come.
    #[serde(default)]
    pub encoding: Encoding,
}

/// Reply to DOWNLOAD_OWNED_FILE and GET_OWNED_FILE, and of the tracker to FIND_OWNED_FILE.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "OWNED_FILE_RESPONSE")]
pub struct OwnedFileResponse {
    /// The name, as it was sent; empty when a blob or a tag was asked for.
    #[serde(default)]
    pub filename: String,
    /// Whether it is there.
    pub found: bool,
    /// Bytes of the file, or of the blob when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the file, to its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The file's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The bytes in base64, unless they are the attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// From the tracker: the file's manifest. The hashes of the blob's blocks are the attachment, if the tracker has them.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// From the tracker: who keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_peers: Vec<StoragePeer>,
    /// From the tracker, as the original system has it: the owner's address as last known, and the owner's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_ip: Option<String>,
    /// See `owner_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_port: Option<u16>,
    /// See `owner_ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Why it is not found, in the original's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a replica fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// It was there when it was last checked.
    Ok,
    /// It is said to be there and was not checked yet.
    #[default]
    Unchecked,
    /// Its holder cannot be reached.
    Away,
    /// It is not what was stored.
    Damaged,
    /// Its holder does not have it.
    Missing,
}

/// A peer that keeps a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoragePeer {
    /// Its address; empty while it is not known.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// How the replica fares.
    #[serde(default)]
    pub state: ReplicaState,
    /// When it was last found in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_unix_seconds: Option<u64>,
    /// How many replicas of others it keeps, in the answer to REQUEST_STORAGE_PEERS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_files: Option<u64>,
    /// Bytes that it has room for, in the answer to REQUEST_STORAGE_PEERS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

/// LIST_OWNED_FILES: the files of the caller. At its own node a client gets names; the tracker answers the owner's node
/// with manifests.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_OWNED_FILES")]
pub struct ListOwnedFiles<'a> {
    /// At the own node: only this file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// Only files behind this name (or, at the tracker, name tag): `next` of the answer before.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cow<'a, str>>,
    /// Most files to list, 200 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// To the tracker: the asker's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_id: Option<Cow<'a, str>>,
    /// To the tracker: the asker's port, a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_port: Option<u16>,
}

/// Reply to LIST_OWNED_FILES.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFileList {
    /// `OK`.
    pub status: String,
    /// The files.
    pub owned_files: Vec<OwnedFileEntry>,
    /// Where to go on when more follow.
    pub next: Option<String>,
}

/// One file of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedFileEntry {
    /// Its name; from the tracker only where the owner has not hidden it, as with files of the original system.
    #[serde(default)]
    pub filename: String,
    /// From the tracker.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// When this version was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_unix_seconds: Option<u64>,
    /// How many replicas its owner wants.
    #[serde(default)]
    pub replicas: u32,
    /// Who keeps it.
    pub storage_peers: Vec<StoragePeer>,
}

/// DELETE_OWNED_FILE: deletes a file of the caller's. A client asks its own node, by name. The node asks the tracker, with a
/// manifest that says so, and holders; and the tracker asks holders that were away, with the same.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DELETE_OWNED_FILE")]
pub struct DeleteOwnedFile<'a> {
    /// The file's name, at the own node, or where the owner has not hidden it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// To a holder: what to delete. It deletes whatever the manifest has replaced.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Cow<'a, str>>,
    /// The manifest that replaces the file: without blob when it is deleted, else that of its next version.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// To the tracker: the owner's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Cow<'a, str>>,
    /// To the tracker: the owner's port, a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_port: Option<u16>,
    /// To a holder: the asker's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_id: Option<Cow<'a, str>>,
    /// To a holder: the asker's port, a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_port: Option<u16>,
}

/// Reply to DELETE_OWNED_FILE.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFileDeleted {
    /// `OK`.
    pub status: String,
    /// The name, as it was sent.
    #[serde(default)]
    pub filename: String,
    /// Whether it was there.
    pub deleted: bool,
    /// In the original's words, when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Those that kept it, from the tracker; those that have deleted it, from the own node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_peers: Vec<StoragePeer>,
    /// Those that will delete it when they are back, from the own node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<StoragePeer>,
}

/// REPAIR_OWNED_FILES: checks all replicas of the caller's files now, and has those that are lost made anew.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REPAIR_OWNED_FILES")]
pub struct RepairOwnedFiles<'a> {
    /// At the own node: only this file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// To the tracker: only this file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<Cow<'a, str>>,
    /// To the tracker: the asker's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_id: Option<Cow<'a, str>>,
}

/// Reply to REPAIR_OWNED_FILES, once it is done.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct OwnedFilesRepaired {
    /// `OK`.
    pub status: String,
    /// Files that were looked at.
    pub checked_files: u64,
    /// Replicas that were not in order.
    pub damaged_replicas: u64,
    /// Replicas that were made anew.
    pub repaired_replicas: u64,
    /// Why others were not, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Body of an event on [`REPLICA_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEvent {
    /// The blob.
    pub blob: String,
    /// Who keeps the replica.
    pub peer: PeerId,
    /// How it fares now.
    pub state: ReplicaState,
}

/// UPLOAD_TO_PEER: stores a replica on a holder. First with the manifest, and the hashes of the blocks as the attachment;
/// the answer tells which blocks are missing. Then once for each of those, with the block as the attachment. Any peer may
/// bring what an owner has signed; that is how replicas are repaired while their owner is away.
///
/// With `filename` and `data`, as in the original system, it stores bytes that the caller has encrypted itself, under that
/// name, for the caller.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UPLOAD_TO_PEER")]
pub struct UploadToPeer<'a> {
    /// The blob.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Cow<'a, str>>,
    /// The manifest, at first.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// Number of the block, afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// In the original's form: the name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// In the original's form: the bytes in base64.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, str>>,
}

/// Reply to UPLOAD_TO_PEER.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct UploadedToPeer {
    /// `OK`.
    pub status: String,
    /// In the original's form: the name, as it was sent.
    #[serde(default)]
    pub filename: String,
    /// Bytes that are stored.
    pub size: u64,
    /// Whether the replica is complete, and on the disk.
    #[serde(default)]
    pub complete: bool,
    /// To the manifest: ranges of blocks that are missing, each from its first to before its end; 1000 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u64, u64)>,
}

/// GET_OWNED_FILE: the owner reads a block of a replica; or, in the original's form, what it has stored under a name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GET_OWNED_FILE")]
pub struct GetOwnedFile<'a> {
    /// The blob.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Cow<'a, str>>,
    /// Number of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// In the original's form: the name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// The asker's id, a hint.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requester_id: Option<Cow<'a, str>>,
    /// The asker's port, a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_port: Option<u16>,
}

/// AUDIT_OWNED_FILE: the tracker, or the owner, has a holder prove that it has a block: the block is the attachment of the
/// [`OwnedFileResponse`]. Without `block` the attachment holds the hashes of all blocks.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "AUDIT_OWNED_FILE")]
pub struct AuditOwnedFile<'a> {
    /// The blob.
    #[serde(borrow, default)]
    pub blob: Option<Cow<'a, str>>,
    /// Number of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
}

/// REPLICATE_OWNED_FILE: the tracker asks a holder to bring its replica to another peer. Answered when that has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REPLICATE_OWNED_FILE")]
pub struct ReplicateOwnedFile<'a> {
    /// The blob.
    #[serde(borrow, default)]
    pub blob: Option<Cow<'a, str>>,
    /// The peer that should get it.
    #[serde(default)]
    pub target: Option<PeerId>,
}
