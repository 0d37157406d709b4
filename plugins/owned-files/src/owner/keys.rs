//! What only the owner can do: encrypt and decrypt, name a file by its tag, and sign.

use super::sealing::SealedWriter;
use crate::error::OwnedError;
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::files::{CheckedManifest, FileName, age_identity, to_hex};
use potluck_sdk::message::owned_files::{AGE_IDENTITY_LABEL, Blob, MANIFEST_VERSION, Manifest, NAME_TAG_LABEL, Sealed};
use potluck_sdk::message::to_json;
use potluck_sdk::{Host, ProviderError};
use ring::hmac;
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter;

/// Longest text in a manifest that is decrypted: a name is shorter.
const SEALED_BYTES_MAX: u64 = 16 << 10;

/// The keys of this node's own files; all follow from the node's key.
pub(crate) struct Keys {
    host: Host,
    identity: Identity,
    recipient: Recipient,
    tag_key: hmac::Key,
}

impl Keys {
    pub(crate) fn new(host: Host) -> Result<Keys, ProviderError> {
        let identity: Identity = age_identity(host.secret(AGE_IDENTITY_LABEL))
            .parse()
            .map_err(|error| ProviderError::new(ProviderError::INTERNAL, format!("the key of the files: {error}")))?;
        let recipient = identity.to_public();
        let tag_key = hmac::Key::new(hmac::HMAC_SHA256, &host.secret(NAME_TAG_LABEL));
        Ok(Keys { host, identity, recipient, tag_key })
    }

    /// By what the tracker and holders know a file.
    pub(crate) fn name_tag(&self, name: &FileName) -> String {
        to_hex(hmac::sign(&self.tag_key, name.as_str().as_bytes()).as_ref())
    }

    /// Encrypts a file for this node alone.
    pub(crate) fn seal_file(&self, file: File, expected_bytes: u64) -> io::Result<SealedWriter> {
        SealedWriter::new(file, &self.recipient, expected_bytes)
    }

    /// Encrypts for this node alone.
    fn encrypt<W: Write>(&self, output: W) -> io::Result<age::stream::StreamWriter<W>> {
        let recipient: &dyn age::Recipient = &self.recipient;
        Encryptor::with_recipients(iter::once(recipient)).map_err(io::Error::other)?.wrap_output(output)
    }

    /// Decrypts what was encrypted for this node.
    pub(crate) fn decrypt<R: Read>(&self, input: R) -> io::Result<age::stream::StreamReader<R>> {
        let identity: &dyn age::Identity = &self.identity;
        let invalid = |error| match error {
            DecryptError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be decrypted: {other}")),
        };
        Decryptor::new(input).map_err(invalid)?.decrypt(iter::once(identity)).map_err(invalid)
    }

    /// Signs a version of a file.
    pub(crate) fn manifest(
        &self,
        name_tag: &str,
        revision: u64,
        replicas: u32,
        content: Option<(Blob, &Sealed)>,
    ) -> Result<CheckedManifest, OwnedError> {
        let (blob, sealed) = match content {
            Some((blob, sealed)) => (Some(blob), self.seal(sealed)?),
            None => (None, String::new()),
        };
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            owner_key: to_hex(&self.host.node().public_key),
            name_tag: name_tag.to_owned(),
            revision,
            blob,
            replicas,
            sealed,
        };
        Ok(CheckedManifest::sign(&self.host, &manifest)?)
    }

    fn seal(&self, sealed: &Sealed) -> Result<String, OwnedError> {
        let io = |error| OwnedError::Io("UPLOAD_OWNED_FILE", error);
        let mut writer = self.encrypt(Vec::new()).map_err(io)?;
        writer.write_all(to_json(sealed).as_bytes()).map_err(io)?;
        Ok(STANDARD.encode(writer.finish().map_err(io)?))
    }

    /// Reads what is sealed in a manifest of this node; the name in it must be that of the manifest.
    pub(crate) fn unseal(&self, manifest: &Manifest) -> Option<(FileName, Sealed)> {
        let bytes = STANDARD.decode(&manifest.sealed).ok()?;
        let mut text = Vec::new();
        self.decrypt(bytes.as_slice()).ok()?.take(SEALED_BYTES_MAX).read_to_end(&mut text).ok()?;
        let sealed: Sealed = serde_json::from_slice(&text).ok()?;
        let name = FileName::try_from(sealed.filename.as_str()).ok()?;
        (self.name_tag(&name) == manifest.name_tag).then_some((name, sealed))
    }
}
