//! Shared files: PUT_FILE, GET_FILE and their chunked twins, DELETE_FILE, LIST_FILES, STAT_FILE, FETCH_FILE; and what the
//! tracker knows of them: REGISTER_FILE, UNREGISTER_FILE, FIND_FILE.
//!
//! A file has one name on a node and belongs to whoever put it there: that node's user, or another node of the pool. The
//! members of a pool can read all of them; only the owner and the node's user can replace or delete one.

use super::STATUS_OK;
use crate::PeerId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Topic on which a node tells that it has a file now: a [`FileEvent`].
pub const STORED_TOPIC: &str = "file.stored";
/// Topic on which a node tells that it has a file no more: a [`FileEvent`].
pub const DELETED_TOPIC: &str = "file.deleted";
/// Topic on which FETCH_FILE tells how far it is: a [`FetchProgress`].
pub const FETCH_TOPIC: &str = "file.fetch";

/// Most files in one REGISTER_FILE or UNREGISTER_FILE.
pub const REGISTERED_FILES_MAX: usize = 1000;
/// Most files in one answer to LIST_FILES.
pub const LISTED_FILES_MAX: usize = 1000;

/// How bytes travel in a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As base64, in the member `data`.
    #[default]
    Base64,
    /// As the attachment.
    Raw,
}

/// PUT_FILE: stores a whole file, as base64 in `data` or as the attachment. A file of that name is replaced.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PUT_FILE")]
pub struct PutFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// The bytes; left out when they are the attachment.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, str>>,
    /// SHA-256 of the bytes in hexadecimal digits; others are refused.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
}

/// Reply to PUT_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FilePut {
    /// `OK`.
    pub status: String,
    /// `PUT_FILE`.
    pub operation: String,
    /// The name, as it was sent.
    pub filename: String,
    /// Bytes of the file.
    pub size: u64,
    /// Their SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// PUT_FILE_CHUNK: stores a file piece by piece. The piece is the attachment, of at most 8 MiB, or `data` in base64; it may
/// be empty. Pieces are sent in order, several may be in flight. What a node has of an unfinished upload survives its
/// restart; whoever goes on sends the same `upload`, and begins where `received_bytes` of the reply says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PUT_FILE_CHUNK")]
pub struct PutFileChunk<'a> {
    /// The name that the file will have.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Names the upload: 1 to 64 letters, digits, hyphens or underscores of the sender's choice. Other senders cannot meet it.
    #[serde(borrow, default)]
    pub upload: Option<Cow<'a, str>>,
    /// Where the piece begins. One that does not begin where the node's part ends is not stored; the reply tells where to
    /// go on.
    #[serde(default)]
    pub offset: u64,
    /// Bytes of the whole file, when they are known: room is reserved for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The piece in base64, when it is not the attachment.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, str>>,
    /// Whether the file ends with this piece.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// With the last piece: SHA-256 of the whole file. If it is another one the upload is thrown away.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
    /// Forget the upload, and what was stored of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abort: bool,
}

/// Reply to PUT_FILE_CHUNK.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ChunkPut {
    /// `OK`.
    pub status: String,
    /// `PUT_FILE_CHUNK`.
    pub operation: String,
    /// The name, as it was sent.
    pub filename: String,
    /// The upload.
    pub upload: String,
    /// What the node has of the file: the next piece begins here.
    pub received_bytes: u64,
    /// Whether this piece was stored.
    pub stored: bool,
    /// Whether the file is complete, and there under its name.
    pub complete: bool,
    /// When it is: its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// GET_FILE: reads a whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GET_FILE")]
pub struct GetFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// How the bytes come. Raw ones, and those for other nodes, are 8 MiB at most; GET_FILE_CHUNK is for larger files.
    #[serde(default)]
    pub encoding: Encoding,
}

/// GET_FILE_CHUNK: reads a piece of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GET_FILE_CHUNK")]
pub struct GetFileChunk<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Where the piece begins.
    #[serde(default)]
    pub offset: u64,
    /// Most bytes to read, 8 MiB at most; fewer come at the end of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The version to read, by its SHA-256: when the file has become another one the answer is `file_changed`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
    /// How the bytes come.
    #[serde(default)]
    pub encoding: Encoding,
}

/// Reply to GET_FILE and GET_FILE_CHUNK. A file that is not there is no error.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "FILE_RESPONSE")]
pub struct FileResponse {
    /// The name, as it was sent.
    pub filename: String,
    /// Whether the file is there.
    pub found: bool,
    /// Bytes of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where the piece begins, in the answer to GET_FILE_CHUNK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The bytes in base64, unless they are the attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// DELETE_FILE: removes a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DELETE_FILE")]
pub struct DeleteFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
}

/// Reply to DELETE_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FileDeleted {
    /// `OK`.
    pub status: String,
    /// The name, as it was sent.
    pub filename: String,
    /// Whether it was there.
    pub deleted: bool,
}

/// LIST_FILES: the files of a node, in the order of their names.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_FILES")]
pub struct ListFiles<'a> {
    /// Only names that begin with this.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Cow<'a, str>>,
    /// Only names behind this one: `next` of the answer before.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cow<'a, str>>,
    /// Most files to list, 1000 at most; 100 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Reply to LIST_FILES.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FileList {
    /// `OK`.
    pub status: String,
    /// The files.
    pub files: Vec<FileEntry>,
    /// Name of the last one when more follow.
    pub next: Option<String>,
    /// All files of the node.
    pub file_count: usize,
    /// Bytes of all files of the node.
    pub total_bytes: u64,
}

/// One file of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal digits; missing as long as nobody has asked for that of a file that came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was last written.
    pub modified_unix_seconds: u64,
    /// The node whose file it is; null for this node's user.
    pub owner: Option<PeerId>,
}

/// STAT_FILE: what is known of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STAT_FILE")]
pub struct StatFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Send the BLAKE3 hashes of its blocks as the attachment, 32 bytes each.
    #[serde(default, skip_serializing_if = "is_false")]
    pub block_hashes: bool,
}

/// Reply to STAT_FILE.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FileStat {
    /// `OK`.
    pub status: String,
    /// The name, as it was sent.
    pub filename: String,
    /// Whether the file is there.
    pub found: bool,
    /// What is known of it. Its SHA-256 is always told here.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFacts>,
    /// Bytes of a block, when hashes of blocks were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_bytes: Option<u64>,
}

/// What STAT_FILE tells of a file beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was last written.
    pub modified_unix_seconds: u64,
    /// The node whose file it is; null for the user of the node that has it.
    pub owner: Option<PeerId>,
}

/// FETCH_FILE: downloads a file from all peers that have it, into this node's files.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "FETCH_FILE")]
pub struct FetchFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
    /// Which file of that name, by its SHA-256; that of most peers when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
}

/// Reply to FETCH_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FileFetched {
    /// `OK`.
    pub status: String,
    /// Its name.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: String,
    /// Who was asked, and what came of it.
    pub sources: Vec<FetchSource>,
}

/// A peer that a file was fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSource {
    /// Its id, or its address where it has proven none.
    pub peer: String,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Why nothing more was asked of it, if it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// Body of an event on [`FETCH_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchProgress {
    /// Its name.
    pub filename: String,
    /// Bytes that are here.
    pub received_bytes: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Peers that it comes from.
    pub source_count: usize,
}

/// Body of an event on [`STORED_TOPIC`] and [`DELETED_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEvent {
    /// The file's name.
    pub filename: String,
    /// Bytes.
    pub size: u64,
}

/// REGISTER_FILE: tells the tracker of files that the sender has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REGISTER_FILE")]
pub struct RegisterFile<'a> {
    /// One file by name, as the original system does it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// Several files, 1000 at most.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RegisteredFile<'a>>,
    /// Forget first what the sender has registered before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replace: bool,
    /// Port of the node that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its address; where the message comes from when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Cow<'a, str>>,
}

/// A file in REGISTER_FILE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredFile<'a> {
    /// Its name.
    #[serde(borrow)]
    pub filename: Cow<'a, str>,
    /// Bytes.
    pub size: u64,
    /// SHA-256, when it is known.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
}

/// UNREGISTER_FILE: tells the tracker that the sender has files no more.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UNREGISTER_FILE")]
pub struct UnregisterFile<'a> {
    /// One file by name, as the original system does it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// Several names, 1000 at most.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub filenames: Vec<Cow<'a, str>>,
    /// Port of the node that had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its address; where the message comes from when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Cow<'a, str>>,
}

/// Reply to REGISTER_FILE and UNREGISTER_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct FileRegistered {
    /// `OK`.
    pub status: String,
    /// The name, when one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// How many files of the sender the tracker knows now.
    pub file_count: usize,
}

/// FIND_FILE: who has a file? Asked of the tracker, by a peer's own users with `"to": "tracker"`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "FIND_FILE")]
pub struct FindFile<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub filename: Option<Cow<'a, str>>,
}

/// Reply to FIND_FILE.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "FILE_PEERS")]
pub struct FilePeers {
    /// The name, as it was sent.
    pub filename: String,
    /// Peers that are alive and have a file of that name, 64 at most.
    pub peers: Vec<FilePeer>,
    /// Whether there is any.
    pub found: bool,
}

/// A peer that has a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePeer {
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// Its id, when it has proven one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its SHA-256, when the peer knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FilePut {
    /// The file is stored.
    pub fn new(filename: impl Into<String>, size: u64, sha256: String) -> FilePut {
        FilePut {
            status: STATUS_OK.to_owned(),
            operation: "PUT_FILE".to_owned(),
            filename: filename.into(),
            size,
            sha256,
        }
    }
}

pub(in crate::message) fn is_false(flag: &bool) -> bool {
    !*flag
}
