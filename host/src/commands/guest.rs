//! Guests: WebAssembly files that tasks run. A node is told their SHA-256; only one that has never seen the guest gets its
//! bytes too.

use crate::net::client::Client;
use crate::output::units;
use anyhow::{Context, bail, ensure};
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::message::cpu::outcome;
use potluck_sdk::{ProviderError, Response};
use ring::digest;
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

/// How often a task may find that another one has just sent its guest, before it sends the guest itself.
const ROUNDS_MAX: usize = 32;

/// A guest in a file. Its bytes are read again when a node asks for them, so that a batch with many guests takes no more
/// memory than one with a few.
#[derive(Debug)]
pub(super) struct Guest {
    path: PathBuf,
    /// SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
    /// How often its bytes were sent; shared by tasks that are in flight at the same time.
    uploads: AtomicU64,
}

impl Guest {
    /// Looks at a guest's file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Guest> {
        let bytes = read_bytes(path)?;
        check(&bytes).with_context(|| format!("{} cannot be a guest", path.display()))?;
        Ok(Guest { path: path.to_owned(), sha256: sha256(&bytes), uploads: AtomicU64::new(0) })
    }

    /// The bytes that the SHA-256 stands for.
    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = read_bytes(&self.path)?;
        ensure!(sha256(&bytes) == self.sha256, "{} has changed meanwhile; start again", self.path.display());
        Ok(bytes)
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a task that names `guest` by its SHA-256, and once more with the guest's bytes if the node does not have it.
pub(super) async fn request(client: &Client, message: &str, guest: Option<&Guest>) -> Result<Response, ProviderError> {
    let Some(guest) = guest else { return client.request(message, &[]).await };
    for _ in 0..ROUNDS_MAX {
        let uploads = guest.uploads.load(Ordering::Relaxed);
        let reply = client.request(message, &[]).await;
        if !is_module_unknown(&reply) {
            return reply;
        }
        // A batch has many tasks in flight that are told so at the same time. One of them sends the bytes; the others ask
        // once more.
        if guest.uploads.compare_exchange(uploads, uploads + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            break;
        }
    }
    match guest.bytes() {
        Ok(bytes) => client.request(message, &bytes).await,
        Err(error) => Err(ProviderError::new(outcome::MODULE_UNKNOWN, format!("{error:#}"))),
    }
}

/// Whether a node does not have the guest: it says so in the result of the task, or refuses the message.
fn is_module_unknown(reply: &Result<Response, ProviderError>) -> bool {
    #[derive(serde::Deserialize)]
    struct Outcome<'a> {
        #[serde(borrow, default)]
        code: Option<Cow<'a, str>>,
    }
    match reply {
        Err(error) => error.code == outcome::MODULE_UNKNOWN,
        Ok(response) => serde_json::from_str::<Outcome<'_>>(&response.json)
            .is_ok_and(|outcome| outcome.code.as_deref() == Some(outcome::MODULE_UNKNOWN)),
    }
}

/// A file that can be an attachment.
pub(super) fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut bytes = Vec::new();
    // One byte more than may be sent tells a file that is too large from one that just fits.
    file.take(ATTACHMENT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > ATTACHMENT_BYTES_MAX {
        bail!("{name} is larger than {}; send it in pieces", units::bytes(ATTACHMENT_BYTES_MAX));
    }
    Ok(bytes)
}

/// Says at once what a node would say after the upload.
fn check(bytes: &[u8]) -> anyhow::Result<()> {
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    if bytes.trim_ascii_start().starts_with(b"(") || bytes.starts_with(b";;") {
        bail!("it is WebAssembly as text; translate it with `wasm-tools parse FILE.wat -o FILE.wasm`");
    }
    bail!("it is no WebAssembly; build the program for wasm32-wasip1 or wasm32-wasip2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_named_by_its_hash() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_guest_is_told_before_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest");
        for (content, words) in [(&b"\n(module)"[..], "wasm-tools"), (b"#!/bin/sh", "no WebAssembly"), (b"", "no Web")]
        {
            std::fs::write(&path, content).unwrap();
            let error = format!("{:#}", Guest::read(&path).unwrap_err());
            assert!(error.contains(words) && error.contains("guest"), "{error}");
        }
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        let guest = Guest::read(&path).unwrap();
        assert_eq!(guest.bytes().unwrap().len(), 8);
        std::fs::write(&path, b"\0asm\x01\0\0\0\0").unwrap();
        assert!(guest.bytes().unwrap_err().to_string().contains("changed"));
        std::fs::write(&path, vec![0; ATTACHMENT_BYTES_MAX as usize + 1]).unwrap();
        assert!(Guest::read(&path).unwrap_err().to_string().contains("8.0 MiB"));
    }

    #[test]
    fn a_node_says_in_a_result_or_an_error_that_it_lacks_a_guest() {
        let reply = |json: &str| Ok(Response { json: json.to_owned(), attachment: Vec::new() });
        assert!(is_module_unknown(&reply(r#"{"type":"CPU_RESULT","code":"module_unknown"}"#)));
        assert!(is_module_unknown(&Err(ProviderError::new(outcome::MODULE_UNKNOWN, "x"))));
        assert!(!is_module_unknown(&reply(r#"{"type":"CPU_RESULT","result":"module_unknown","code":null}"#)));
        assert!(!is_module_unknown(&Err(ProviderError::invalid("x"))));
    }
}
