//! The text of the messages about files, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::PeerId;
use potluck_sdk::message::disk::*;
use potluck_sdk::message::owned_files::*;
use potluck_sdk::message::tracker::TrackerSession;

fn id() -> PeerId {
    PeerId::from_hash([0xab; 16])
}

fn signed() -> Option<SignedManifest> {
    Some(SignedManifest { manifest: "{}".to_owned(), signature: "00".to_owned() })
}

fn ok() -> String {
    "OK".to_owned()
}

#[test]
fn files_are_put() {
    golden(
        &PutFile { filename: Some("a".into()), data: Some("YQ==".into()), sha256: None },
        r#"{"type":"PUT_FILE","filename":"a","data":"YQ=="}"#,
    );
    golden(
        &FilePut::new("a", 1, "ca".to_owned()),
        r#"{"type":"STATUS","status":"OK","operation":"PUT_FILE","filename":"a","size":1,"sha256":"ca"}"#,
    );
    let chunk = PutFileChunk {
        filename: Some("a".into()),
        upload: Some("u".into()),
        offset: 4,
        size: Some(5),
        is_final: true,
        sha256: Some("ca".into()),
        ..PutFileChunk::default()
    };
    golden(
        &chunk,
        r#"{"type":"PUT_FILE_CHUNK","filename":"a","upload":"u","offset":4,"size":5,"final":true,"sha256":"ca"}"#,
    );
    golden(
        &ChunkPut {
            status: ok(),
            operation: "PUT_FILE_CHUNK".to_owned(),
            filename: "a".to_owned(),
            upload: "u".to_owned(),
            received_bytes: 4,
            stored: true,
            complete: false,
            sha256: None,
        },
        r#"{"type":"STATUS","status":"OK","operation":"PUT_FILE_CHUNK","filename":"a","upload":"u","received_bytes":4,"stored":true,"complete":false}"#,
    );
}

#[test]
fn files_are_read() {
    golden(
        &GetFile { filename: Some("a".into()), encoding: Encoding::Base64 },
        r#"{"type":"GET_FILE","filename":"a","encoding":"base64"}"#,
    );
    let chunk =
        GetFileChunk { filename: Some("a".into()), offset: 4, length: Some(2), sha256: None, encoding: Encoding::Raw };
    golden(&chunk, r#"{"type":"GET_FILE_CHUNK","filename":"a","offset":4,"length":2,"encoding":"raw"}"#);
    golden(
        &FileResponse { filename: "a".to_owned(), ..FileResponse::default() },
        r#"{"type":"FILE_RESPONSE","filename":"a","found":false}"#,
    );
    let found = FileResponse {
        filename: "a".to_owned(),
        found: true,
        size: Some(1),
        sha256: Some("ca".to_owned()),
        offset: Some(0),
        data: Some("YQ==".to_owned()),
    };
    golden(
        &found,
        r#"{"type":"FILE_RESPONSE","filename":"a","found":true,"size":1,"sha256":"ca","offset":0,"data":"YQ=="}"#,
    );
}

#[test]
fn files_are_listed_and_deleted() {
    let entry = FileEntry {
        filename: "a".to_owned(),
        size: 1,
        sha256: Some("ca".to_owned()),
        modified_unix_seconds: 7,
        owner: None,
    };
    golden(
        &FileList { status: ok(), files: vec![entry.clone()], next: None, file_count: 1, total_bytes: 1 },
        r#"{"type":"STATUS","status":"OK","files":[{"filename":"a","size":1,"sha256":"ca","modified_unix_seconds":7,"owner":null}],"next":null,"file_count":1,"total_bytes":1}"#,
    );
    golden(
        &ListFiles { prefix: Some("a".into()), after: None, limit: Some(5) },
        r#"{"type":"LIST_FILES","prefix":"a","limit":5}"#,
    );
    golden(
        &StatFile { filename: Some("a".into()), block_hashes: true },
        r#"{"type":"STAT_FILE","filename":"a","block_hashes":true}"#,
    );
    golden(&DeleteFile { filename: Some("a".into()) }, r#"{"type":"DELETE_FILE","filename":"a"}"#);
    golden(
        &FileDeleted { status: ok(), filename: "a".to_owned(), deleted: true },
        r#"{"type":"STATUS","status":"OK","filename":"a","deleted":true}"#,
    );
    let facts = FileFacts { size: 1, sha256: Some("ab".to_owned()), modified_unix_seconds: 7, owner: None };
    golden(
        &FileStat { status: ok(), filename: "a".to_owned(), found: true, file: Some(facts), block_bytes: Some(8) },
        r#"{"type":"STATUS","status":"OK","filename":"a","found":true,"size":1,"sha256":"ab","modified_unix_seconds":7,"owner":null,"block_bytes":8}"#,
    );
    golden(
        &FileStat { status: ok(), filename: "a".to_owned(), ..FileStat::default() },
        r#"{"type":"STATUS","status":"OK","filename":"a","found":false}"#,
    );
    golden(
        &FetchFile { filename: Some("a".into()), sha256: Some("ab".into()) },
        r#"{"type":"FETCH_FILE","filename":"a","sha256":"ab"}"#,
    );
    let source =
        |dropped: Option<&str>| FetchSource { peer: "p".to_owned(), bytes: 1, dropped: dropped.map(str::to_owned) };
    golden(
        &FileFetched {
            status: ok(),
            filename: "a".to_owned(),
            size: 1,
            sha256: "ab".to_owned(),
            sources: vec![source(None), source(Some("why"))],
        },
        r#"{"type":"STATUS","status":"OK","filename":"a","size":1,"sha256":"ab","sources":[{"peer":"p","bytes":1},{"peer":"p","bytes":1,"dropped":"why"}]}"#,
    );
}

#[test]
fn the_tracker_knows_who_has_a_file() {
    golden(&FindFile { filename: Some("a".into()) }, r#"{"type":"FIND_FILE","filename":"a"}"#);
    let peer = FilePeer { ip: "10.0.0.7".to_owned(), port: 9000, peer_id: Some(id()), size: Some(1), sha256: None };
    golden(
        &FilePeers { filename: "a".to_owned(), peers: vec![peer], found: true },
        r#"{"type":"FILE_PEERS","filename":"a","peers":[{"ip":"10.0.0.7","port":9000,"peer_id":"abababab-abab-8bab-abab-abababababab","size":1}],"found":true}"#,
    );
    let original = r#"{"type":"REGISTER_FILE","filename":"a","port":9000}"#;
    assert_eq!(serde_json::from_str::<RegisterFile>(original).unwrap().port, Some(9000));
    golden(
        &RegisterFile {
            files: vec![RegisteredFile { filename: "a".into(), size: 1, sha256: None }],
            replace: true,
            ..RegisterFile::default()
        },
        r#"{"type":"REGISTER_FILE","files":[{"filename":"a","size":1}],"replace":true}"#,
    );
    golden(
        &UnregisterFile { filenames: vec!["a".into()], ..UnregisterFile::default() },
        r#"{"type":"UNREGISTER_FILE","filenames":["a"]}"#,
    );
    golden(&TrackerSession { peer_id: Some(id()) }, r#"{"peer_id":"abababab-abab-8bab-abab-abababababab"}"#);
}

#[test]
fn a_manifest_is_signed_as_text() {
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        owner_key: "0a".to_owned(),
        name_tag: "0b".to_owned(),
        revision: 3,
        blob: Some(Blob { id: "0c".to_owned(), size: 9, block_bytes: 8, root: "0d".to_owned() }),
        replicas: 2,
        sealed: "YQ==".to_owned(),
    };
    golden(
        &manifest,
        r#"{"version":1,"owner_key":"0a","name_tag":"0b","revision":3,"blob":{"id":"0c","size":9,"block_bytes":8,"root":"0d"},"replicas":2,"sealed":"YQ=="}"#,
    );
}

#[test]
fn owned_files_are_stored_found_and_deleted() {
    golden(
        &UploadToPeer { blob: Some("0c".into()), manifest: signed(), ..UploadToPeer::default() },
        r#"{"type":"UPLOAD_TO_PEER","blob":"0c","manifest":"{}","signature":"00"}"#,
    );
    golden(
        &UploadToPeer { blob: Some("0c".into()), block: Some(4), ..UploadToPeer::default() },
        r#"{"type":"UPLOAD_TO_PEER","blob":"0c","block":4}"#,
    );
    golden(
        &RegisterOwnedFile { manifest: signed(), holders: vec![id()], ..RegisterOwnedFile::default() },
        r#"{"type":"REGISTER_OWNED_FILE","manifest":"{}","signature":"00","holders":["abababab-abab-8bab-abab-abababababab"]}"#,
    );
    golden(
        &FindOwnedFile { name_tag: Some("0b".into()), ..FindOwnedFile::default() },
        r#"{"type":"FIND_OWNED_FILE","name_tag":"0b"}"#,
    );
    golden(
        &DeleteOwnedFile { manifest: signed(), owner_id: Some("x".into()), ..DeleteOwnedFile::default() },
        r#"{"type":"DELETE_OWNED_FILE","manifest":"{}","signature":"00","owner_id":"x"}"#,
    );
    let report = ReportedReplica { manifest: signed().unwrap(), damaged: true };
    golden(
        &ReportOwnedFiles { replicas: vec![report], free_bytes: Some(5), ..ReportOwnedFiles::default() },
        r#"{"type":"REPORT_OWNED_FILES","replicas":[{"manifest":"{}","signature":"00","damaged":true}],"free_bytes":5}"#,
    );
    golden(
        &ReplicateOwnedFile { blob: Some("0c".into()), target: Some(id()) },
        r#"{"type":"REPLICATE_OWNED_FILE","blob":"0c","target":"abababab-abab-8bab-abab-abababababab"}"#,
    );
    golden(
        &AuditOwnedFile { blob: Some("0c".into()), block: Some(1) },
        r#"{"type":"AUDIT_OWNED_FILE","blob":"0c","block":1}"#,
    );
    let original = r#"{"type":"REQUEST_STORAGE_PEERS","owner_ip":"10.0.0.7","owner_port":9000,"replication":-1}"#;
    assert_eq!(serde_json::from_str::<RequestStoragePeers>(original).unwrap().replication, Some(-1));
}
