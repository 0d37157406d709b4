//! Manifests of owned files: made by their owner, checked by everybody else.

use super::{BlockHashes, HashesError, from_hex, to_hex};
use crate::message::owned_files::{
    MANIFEST_BYTES_MAX, MANIFEST_LABEL, MANIFEST_VERSION, Manifest, REPLICAS_MAX, SignedManifest,
};
use crate::{Host, PeerId, signature};

/// Why a manifest is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest has more than {MANIFEST_BYTES_MAX} bytes; send the one that the owner has signed")]
    TooLong,
    /// It is no JSON of that form, or of another version.
    #[error("the manifest cannot be read by this version; the node that signed it may be newer: update this one")]
    Unreadable,
    /// A member has a value that no owner of good will writes.
    #[error("the manifest's `{0}` cannot be right; ask its owner to upload the file again")]
    Member(&'static str),
    /// It was changed, or somebody else signed it.
    #[error("the manifest's signature is not that of its owner; only the owner's key can make one")]
    Signature,
}

/// A manifest whose owner has signed it, and whose members are within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// Who has signed it.
    pub owner: PeerId,
    /// As it travels.
    pub signed: SignedManifest,
}

impl CheckedManifest {
    /// Signs a manifest with the node's key.
    ///
    /// # Errors
    /// When a member is out of bounds, or `owner_key` is not the node's.
    pub fn sign(host: &Host, manifest: &Manifest) -> Result<CheckedManifest, ManifestError> {
        let text = crate::message::to_json(manifest);
        let signature = to_hex(&host.sign(MANIFEST_LABEL, text.as_bytes()));
        CheckedManifest::try_from(SignedManifest { manifest: text, signature })
    }

    /// The hashes of the blocks of its blob, once they are found to be those that the owner means.
    ///
    /// # Errors
    /// When they are not, or there is no blob.
    pub fn block_hashes(&self, bytes: &[u8]) -> Result<BlockHashes, HashesError> {
        let blob = self.manifest.blob.as_ref().ok_or(HashesError)?;
        let hashes = BlockHashes::from_bytes(blob.size, bytes)?;
        if to_hex(&hashes.root()) == blob.root { Ok(hashes) } else { Err(HashesError) }
    }

    /// Whether it replaces another one: it is of the same file and later.
    pub fn replaces(&self, other: &CheckedManifest) -> bool {
        self.owner == other.owner
            && self.manifest.name_tag == other.manifest.name_tag
            && self.manifest.revision > other.manifest.revision
    }
}

impl TryFrom<SignedManifest> for CheckedManifest {
    type Error = ManifestError;

    fn try_from(signed: SignedManifest) -> Result<CheckedManifest, ManifestError> {
        if signed.manifest.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        let manifest: Manifest = serde_json::from_str(&signed.manifest).map_err(|_| ManifestError::Unreadable)?;
        if manifest.version != MANIFEST_VERSION {
            return Err(ManifestError::Unreadable);
        }
        let key: [u8; 32] = from_hex(&manifest.owner_key).ok_or(ManifestError::Member("owner_key"))?;
        from_hex::<32>(&manifest.name_tag).ok_or(ManifestError::Member("name_tag"))?;
        if !(1..=REPLICAS_MAX).contains(&manifest.replicas) {
            return Err(ManifestError::Member("replicas"));
        }
        if let Some(blob) = &manifest.blob {
            from_hex::<16>(&blob.id).ok_or(ManifestError::Member("blob.id"))?;
            from_hex::<32>(&blob.root).ok_or(ManifestError::Member("blob.root"))?;
            if blob.block_bytes != BlockHashes::block_bytes_for(blob.size) {
                return Err(ManifestError::Member("blob.block_bytes"));
            }
        }
        let signature: [u8; 64] = from_hex(&signed.signature).ok_or(ManifestError::Signature)?;
        if !signature::verify(&key, MANIFEST_LABEL, signed.manifest.as_bytes(), &signature) {
            return Err(ManifestError::Signature);
        }
        Ok(CheckedManifest { manifest, owner: signature::peer_id(&key), signed })
    }
}
