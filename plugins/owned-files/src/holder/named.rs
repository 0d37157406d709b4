//! Files in the original's form: bytes that the caller has encrypted itself, kept for it under a name that only the two
//! know. On the disk there is a keyed hash in the name's place.

use super::Holder;
use crate::error::OwnedError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::files::{FileName, to_hex};
use potluck_sdk::message::owned_files::{OwnedFileDeleted, OwnedFileResponse, UploadedToPeer};
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, STATUS_OK, to_json};
use potluck_sdk::{PeerId, PendingReply};
use std::fs::File;
use std::io::{self, Cursor, Read};

/// A name of a caller's.
pub(super) struct Named {
    pub(super) owner: PeerId,
    name: String,
    hash: [u8; 32],
}

/// Bytes that came in the message, behind it, or in a file beside it.
pub(super) enum Source {
    Base64(String),
    Bytes(Vec<u8>),
    File(File),
}

impl Named {
    pub(super) fn new(
        holder: &Holder,
        owner: PeerId,
        name: &str,
        operation: &'static str,
    ) -> Result<Named, OwnedError> {
        // Nothing is opened by it here; its owner may do so.
        FileName::try_from(name).map_err(|error| OwnedError::Name(operation, error))?;
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::hmac::sign(&holder.named_key, name.as_bytes()).as_ref());
        Ok(Named { owner, name: name.to_owned(), hash })
    }

    /// What is done with one name is done in its lane.
    pub(super) fn lane(&self) -> String {
        format!("{}/named/{}", self.owner, to_hex(&self.hash))
    }

    pub(super) fn put(&self, holder: &Holder, source: Source) -> Result<UploadedToPeer, OwnedError> {
        let io = |error| OwnedError::Io("UPLOAD_TO_PEER", error);
        let decoded;
        let (size, mut bytes): (u64, Box<dyn Read>) = match source {
            Source::File(file) => (file.metadata().map_err(io)?.len(), Box::new(file)),
            Source::Bytes(bytes) => (bytes.len() as u64, Box::new(Cursor::new(bytes))),
            Source::Base64(text) => {
                decoded = STANDARD.decode(text).map_err(|_| OwnedError::Base64)?;
                (decoded.len() as u64, Box::new(decoded.as_slice()))
            }
        };
        let key = (self.owner, self.hash);
        let old = holder.index.lock().named(&key);
        holder.index.lock().reserve_named(&holder.config, key, size)?;
        if let Err(error) = holder.storage.write_named(self.owner, &self.hash, &mut bytes) {
            let mut index = holder.index.lock();
            match old {
                Some(old) => index.insert_named(key, old),
                None => {
                    index.remove_named(&key);
                }
            }
            return Err(io(error));
        }
        let status = STATUS_OK.to_owned();
        Ok(UploadedToPeer { status, filename: self.name.clone(), size, complete: true, missing: Vec::new() })
    }

    /// Only the node's own user gets more than 8 MiB at once.
    pub(super) fn get(&self, holder: &Holder, is_local: bool, reply: PendingReply) {
        let opened = holder.storage.open_named(self.owner, &self.hash);
        let sized = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        match sized {
            Ok((size, _)) if size > ATTACHMENT_BYTES_MAX && !is_local => {
                reply.error(&OwnedError::TooLarge(ATTACHMENT_BYTES_MAX).into());
            }
            Ok((size, file)) => {
                let filename = self.name.clone();
                let response = OwnedFileResponse { filename, found: true, size: Some(size), ..Default::default() };
                reply.send_file(to_json(&response).into_bytes(), "data", file, 0, size);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => reply.error(&OwnedError::NotHere.into()),
            Err(error) => reply.error(&OwnedError::Io("GET_OWNED_FILE", error).into()),
        }
    }

    pub(super) fn delete(&self, holder: &Holder) -> Result<OwnedFileDeleted, OwnedError> {
        let removed = holder.storage.remove_named(self.owner, &self.hash);
        let was_there = match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            other => other.map_err(|error| OwnedError::Io("DELETE_OWNED_FILE", error))?,
        };
        holder.index.lock().remove_named(&(self.owner, self.hash));
        if !was_there {
            return Err(OwnedError::NotHere);
        }
        let status = STATUS_OK.to_owned();
        Ok(OwnedFileDeleted { status, filename: self.name.clone(), deleted: true, ..Default::default() })
    }
}
