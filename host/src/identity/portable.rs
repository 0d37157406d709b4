//! A node's identity as a file under a passphrase, so that a person can move it to another machine.
//!
//! The file is PEM. `POTLUCK IDENTITY` holds the public key and a checksum of the rest, because the encryption alone
//! cannot tell damage from a wrong passphrase. `ENCRYPTED PRIVATE KEY` is what `openssl pkey -in FILE` reads.
//! `POTLUCK MEMBERSHIP` is whatever the node wants to find again, in the clear. Only the second is needed, so a key
//! that another program made can be imported too.

use crate::key::{KeyPair, PublicKey};
use pem::Pem;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::der::{Decode, Reader, SliceReader, asn1::OctetStringRef};
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::pkcs5::scrypt::Params as ScryptParams;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use ring::digest::{Context as Digest, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Most bytes of a file that is looked at.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Fewest characters of a passphrase.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 8;

const KEY_LABEL: &str = "ENCRYPTED PRIVATE KEY";
const IDENTITY_LABEL: &str = "POTLUCK IDENTITY";
const MEMBERSHIP_LABEL: &str = "POTLUCK MEMBERSHIP";
/// A file that we write has three blocks; a file of another program may carry a few of its own.
const BLOCKS_MAX: usize = 16;

/// 16 MiB of memory, because OpenSSL refuses more than 32; the time comes from doing that eight times over.
const SCRYPT_LOG2_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 8;

const SCRYPT_BYTES_MAX: u64 = 256 << 20;
const SCRYPT_P_MAX: u64 = 16;
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Why an identity was not exported or imported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortableError {
    /// A passphrase for an export that could be guessed.
    #[error("the passphrase is too short; use {PASSPHRASE_CHARACTERS_MIN} characters or more")]
    ShortPassphrase,
    /// Does not happen on a healthy machine.
    #[error("the key could not be encrypted")]
    EncryptionFailed,
    /// More than any identity takes.
    #[error("the file is too large for an identity; was it the right one?")]
    TooLarge,
    /// Nothing in the file is an encrypted key.
    #[error("the file holds no identity; choose one that `potluck id export` wrote")]
    NoIdentity,
    /// Not what was once written.
    #[error("the file is damaged; export the identity again, or use another copy")]
    Damaged,
    /// The key is under a method that this program does not know, or that is not safe.
    #[error("the key in the file is encrypted in a way that is not supported; encrypt it with `openssl pkey -aes256`")]
    UnknownEncryption,
    /// The file asks for more memory or time than is sensible; whoever made it means no good.
    #[error("the file asks for too much memory or time to open it; get another copy from its owner")]
    TooCostly,
    /// In a file without checksum, damage can look like this too.
    #[error("the passphrase does not open the file; try again")]
    WrongPassphrase,
    /// Opened, but it is of no use here.
    #[error("the key in the file is not an Ed25519 key")]
    OtherKindOfKey,
    /// Opened, but it is not the key that the file says it is.
    #[error("the key in the file is not the one that the file names; do not use it")]
    OtherKey,
}

/// What a file held.
pub struct Imported {
    /// The node's key.
    pub key: KeyPair,
    /// The bytes that the exporting node had put beside it.
    pub membership: Option<Vec<u8>>,
}

/// Writes an identity down. Takes a noticeable part of a second, by intent.
pub fn export(key: &KeyPair, membership: Option<&[u8]>, passphrase: &str) -> Result<String, PortableError> {
    if passphrase.chars().count() < PASSPHRASE_CHARACTERS_MIN {
        return Err(PortableError::ShortPassphrase);
    }
    let encrypted = encrypt(key, passphrase).ok_or(PortableError::EncryptionFailed)?;
    let public = key.public();
    let checksum = checksum(&public, &encrypted, membership);
    // The checksum comes first: a file that was cut short then shows it.
    let mut blocks =
        vec![Pem::new(IDENTITY_LABEL, [&public.0[..], &checksum[..]].concat()), Pem::new(KEY_LABEL, encrypted)];
    blocks.extend(membership.map(|bytes| Pem::new(MEMBERSHIP_LABEL, bytes)));
    let text = pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
    // What cannot be read back must not be written.
    if text.len() > FILE_BYTES_MAX { Err(PortableError::TooLarge) } else { Ok(text) }
}

/// Reads what [`export`] wrote, or an Ed25519 key that another program encrypted by PKCS#8 and PBES2.
pub fn import(text: &str, passphrase: &str) -> Result<Imported, PortableError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(PortableError::TooLarge);
    }
    if !text.contains(KEY_LABEL) {
        return Err(PortableError::NoIdentity);
    }
    let blocks = pem::parse_many(text).map_err(|_| PortableError::Damaged)?;
    if blocks.len() > BLOCKS_MAX {
        return Err(PortableError::Damaged);
    }
    let encrypted = block(&blocks, KEY_LABEL)?.ok_or(PortableError::NoIdentity)?;
    let membership = block(&blocks, MEMBERSHIP_LABEL)?;
    let named = match block(&blocks, IDENTITY_LABEL)? {
        Some(identity) => Some(check_identity(identity, encrypted, membership)?),
        None => None,
    };
    let key = decrypt(encrypted, passphrase)?;
    if named.is_some_and(|named| named != key.public()) {
        return Err(PortableError::OtherKey);
    }
    Ok(Imported { key, membership: membership.map(<[u8]>::to_vec) })
}

/// The content of the one block with a label. Of two, nobody could say which one counts.
fn block<'a>(blocks: &'a [Pem], label: &str) -> Result<Option<&'a [u8]>, PortableError> {
    let mut found = blocks.iter().filter(|block| block.tag() == label).map(Pem::contents);
    let first = found.next();
    if found.next().is_some() { Err(PortableError::Damaged) } else { Ok(first) }
}

/// The key that the file names, if the file is as it was written.
fn check_identity(identity: &[u8], encrypted: &[u8], membership: Option<&[u8]>) -> Result<PublicKey, PortableError> {
    let (key, sum) = identity.split_first_chunk().ok_or(PortableError::Damaged)?;
    let named = PublicKey(*key);
    if sum != checksum(&named, encrypted, membership) {
        return Err(PortableError::Damaged);
    }
    Ok(named)
}

/// Against accidents only: whoever changes a file on purpose can compute it, but not the key that then comes out.
fn checksum(public: &PublicKey, encrypted: &[u8], membership: Option<&[u8]>) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    digest.update(&public.0);
    digest.update(&(encrypted.len() as u64).to_be_bytes());
    digest.update(encrypted);
    digest.update(membership.unwrap_or_default());
    let mut sum = [0; 32];
    sum.copy_from_slice(digest.finish().as_ref());
    sum
}

fn encrypt(key: &KeyPair, passphrase: &str) -> Option<Vec<u8>> {
    let mut full = PrivateKeyInfoRef::try_from(key.pkcs8()).ok()?;
    // OpenSSL 3.0 does not read documents with a public key in them.
    full.public_key = None;
    let random = SystemRandom::new();
    let (mut salt, mut start) = ([0; 16], [0; 16]);
    random.fill(&mut salt).ok()?;
    random.fill(&mut start).ok()?;
    let cost = ScryptParams::new(SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P).ok()?;
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, start).ok()?;
    Some(full.encrypt_with_params(scheme, passphrase).ok()?.as_bytes().to_vec())
}

fn decrypt(encrypted: &[u8], passphrase: &str) -> Result<KeyPair, PortableError> {
    let envelope = EncryptedPrivateKeyInfoRef::try_from(encrypted).map_err(|_| refusal(encrypted))?;
    let scheme = envelope.encryption_algorithm.pbes2().ok_or(PortableError::UnknownEncryption)?;
    check_cost(scheme)?;
    let document = scheme.decrypt(passphrase, envelope.encrypted_data.as_bytes()).map_err(|error| match error {
        pkcs8::pkcs5::Error::DecryptFailed => PortableError::WrongPassphrase,
        _ => PortableError::UnknownEncryption,
    })?;
    let document = Zeroizing::new(document);
    // A wrong passphrase passes the test of the padding once in 256 times, and then gives noise.
    if PrivateKeyInfoRef::try_from(document.as_slice()).is_err() {
        return Err(PortableError::WrongPassphrase);
    }
    KeyPair::from_pkcs8(&document).ok_or(PortableError::OtherKindOfKey)
}

/// Why an envelope could not be read: it is one, but of a method that is not known, or it is none.
fn refusal(encrypted: &[u8]) -> PortableError {
    let parts = SliceReader::new(encrypted).and_then(|mut reader| {
        reader.sequence(|parts| {
            AlgorithmIdentifierRef::decode(parts)?;
            <&OctetStringRef>::decode(parts)
        })
    });
    if parts.is_ok() { PortableError::UnknownEncryption } else { PortableError::Damaged }
}

/// The file says how much work it takes to open it, so it is asked before that work begins.
fn check_cost(scheme: &pbes2::Parameters) -> Result<(), PortableError> {
    let (possible, bearable) = match &scheme.kdf {
        Kdf::Scrypt(cost) => {
            let (n, r, p) = (cost.cost_parameter, u64::from(cost.block_size), u64::from(cost.parallelization));
            let memory_bytes = n.saturating_add(p).saturating_mul(128 * r);
            let possible = n.is_power_of_two() && n >= 2 && r >= 1 && p >= 1;
            (possible, memory_bytes <= SCRYPT_BYTES_MAX && p <= SCRYPT_P_MAX)
        }
        Kdf::Pbkdf2(cost) => (cost.iteration_count >= 1, cost.iteration_count <= PBKDF2_ITERATIONS_MAX),
        _ => return Err(PortableError::UnknownEncryption),
    };
    match (possible, bearable) {
        (false, _) => Err(PortableError::Damaged),
        (true, false) => Err(PortableError::TooCostly),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkcs8::der::Encode;
    use pkcs8::pkcs5::EncryptionScheme;
    use std::path::Path;
    use std::process::Command;

    const PASSPHRASE: &str = "correct horse, größer";

    fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn refused(text: &str, passphrase: &str) -> PortableError {
        import(text, passphrase).err().unwrap()
    }

    /// A file like that of another program, with these costs.
    fn foreign(kdf: Kdf, document: &[u8]) -> String {
        let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv: [7; 16] };
        let scheme = EncryptionScheme::Pbes2(pbes2::Parameters { kdf, encryption });
        let encrypted_data = OctetStringRef::new(document).unwrap();
        let envelope = EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme, encrypted_data };
        pem::encode(&Pem::new(KEY_LABEL, envelope.to_der().unwrap()))
    }

    fn scrypt(n: u64, r: u16, p: u16) -> Kdf {
        let salt = [1; 16].as_slice().try_into().unwrap();
        pbes2::ScryptParams { salt, cost_parameter: n, block_size: r, parallelization: p, key_length: None }.into()
    }

    fn pbkdf2(iterations: u32) -> Kdf {
        pbes2::Pbkdf2Params {
            salt: [1; 16].as_slice().try_into().unwrap(),
            iteration_count: iterations,
            key_length: None,
            prf: pbes2::Pbkdf2Prf::HmacWithSha256,
        }
        .into()
    }

    #[test]
    fn an_identity_survives_its_file() {
        let key = KeyPair::generate().unwrap();
        for membership in [None, Some(&b"{\"pool\": 1}"[..]), Some(&[])] {
            let text = export(&key, membership, PASSPHRASE).unwrap();
            let imported = import(&text, PASSPHRASE).unwrap();
            assert_eq!(imported.key.public(), key.public());
            assert_eq!(imported.membership.as_deref(), membership);
            let again = KeyPair::from_pkcs8(imported.key.pkcs8()).unwrap();
            assert_eq!(again.public(), key.public());
        }
    }

    #[test]
    fn an_imported_key_can_be_exported_again() {
        let key = KeyPair::generate().unwrap();
        let imported = import(&export(&key, None, PASSPHRASE).unwrap(), PASSPHRASE).unwrap();
        let second = import(&export(&imported.key, None, PASSPHRASE).unwrap(), PASSPHRASE).unwrap();
        assert_eq!(second.key.public(), key.public());
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_damage() {
        let key = KeyPair::generate().unwrap();
        let text = export(&key, Some(b"pool"), PASSPHRASE).unwrap();
        assert_eq!(refused(&text, "correct horse"), PortableError::WrongPassphrase);

        let blocks = pem::parse_many(&text).unwrap();
        for (position, label) in [IDENTITY_LABEL, KEY_LABEL, MEMBERSHIP_LABEL].into_iter().enumerate() {
            let mut damaged = blocks.clone();
            let mut content = damaged[position].contents().to_vec();
            *content.last_mut().unwrap() ^= 1;
            damaged[position] = Pem::new(label, content);
            assert_eq!(refused(&pem::encode_many(&damaged), PASSPHRASE), PortableError::Damaged, "{label}");
        }
        let doubled = [&blocks[..], &blocks[1..2]].concat();
        assert_eq!(refused(&pem::encode_many(&doubled), PASSPHRASE), PortableError::Damaged);
    }

    #[test]
    fn a_file_that_was_cut_short_is_refused_wherever_the_cut_is() {
        let text = export(&KeyPair::generate().unwrap(), Some(b"pool"), PASSPHRASE).unwrap();
        for length in 0..text.trim_end().len() {
            let error = refused(&text[..length], PASSPHRASE);
            assert!(matches!(error, PortableError::Damaged | PortableError::NoIdentity), "{length}: {error}");
        }
    }

    #[test]
    fn a_key_other_than_the_named_one_is_refused() {
        let other = KeyPair::generate().unwrap().public();
        let text = export(&KeyPair::generate().unwrap(), None, PASSPHRASE).unwrap();
        let mut blocks = pem::parse_many(&text).unwrap();
        let sum = checksum(&other, blocks[1].contents(), None);
        blocks[0] = Pem::new(IDENTITY_LABEL, [other.0, sum].concat());
        assert_eq!(refused(&pem::encode_many(&blocks), PASSPHRASE), PortableError::OtherKey);
    }

    #[test]
    fn a_passphrase_that_could_be_guessed_is_refused_for_export() {
        let key = KeyPair::generate().unwrap();
        // Characters, not bytes: this is fourteen bytes.
        assert_eq!(export(&key, None, "ööööööö").err(), Some(PortableError::ShortPassphrase));
        assert_eq!(export(&key, Some(&vec![0; FILE_BYTES_MAX]), PASSPHRASE).err(), Some(PortableError::TooLarge));
    }

    #[test]
    fn a_costly_or_impossible_derivation_is_refused_before_it_is_begun() {
        let block = [0; 64];
        for kdf in [
            scrypt(1 << 40, 8, 1),
            scrypt(1 << 63, u16::MAX, u16::MAX),
            scrypt(1 << 18, 8, 1 + (1 << 4)),
            scrypt(2, u16::MAX, 100),
            scrypt(1 << 14, 8, 17),
            pbkdf2(10_000_001),
            pbkdf2(u32::MAX),
        ] {
            assert_eq!(refused(&foreign(kdf.clone(), &block), PASSPHRASE), PortableError::TooCostly, "{kdf:?}");
        }
        for kdf in [scrypt(0, 8, 1), scrypt(1, 8, 1), scrypt(1000, 8, 1), scrypt(16, 0, 1), scrypt(16, 8, 0), pbkdf2(0)]
        {
            assert_eq!(refused(&foreign(kdf.clone(), &block), PASSPHRASE), PortableError::Damaged, "{kdf:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_without_a_panic() {
        let mut seed = 1_u64;
        let envelope = pem::parse(foreign(pbkdf2(1), &[0; 64])).unwrap().into_contents();
        for length in 0..envelope.len() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut changed = envelope.clone();
            changed[length] ^= (seed >> 33) as u8 | 1;
            refused(&pem::encode(&Pem::new(KEY_LABEL, changed)), PASSPHRASE);
            refused(&pem::encode(&Pem::new(KEY_LABEL, &envelope[..length])), PASSPHRASE);
        }
        for text in ["", "hello", "-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n"] {
            refused(text, PASSPHRASE);
        }
        assert_eq!(refused(&" ".repeat(FILE_BYTES_MAX + 1), PASSPHRASE), PortableError::TooLarge);
    }

    #[test]
    fn a_wrong_passphrase_is_one_even_when_the_padding_happens_to_fit() {
        let mut errors = Vec::new();
        for number in 0..2000_u32 {
            let block: Vec<u8> = number.to_be_bytes().repeat(16);
            errors.push(refused(&foreign(pbkdf2(1), &block), PASSPHRASE));
        }
        assert!(errors.iter().all(|error| *error == PortableError::WrongPassphrase));
    }

    #[test]
    fn openssl_reads_an_exported_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let text = export(&key, Some(b"{}"), PASSPHRASE).unwrap();
        std::fs::write(folder.path().join("identity.pem"), text).unwrap();
        std::fs::write(folder.path().join("passphrase"), PASSPHRASE).unwrap();
        let arguments = ["pkey", "-in", "identity.pem", "-passin", "file:passphrase", "-pubout", "-outform", "DER"];
        assert_eq!(openssl(folder.path(), &arguments), key.public().spki());
    }

    #[test]
    fn a_key_that_openssl_made_is_imported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("passphrase"), PASSPHRASE).unwrap();
        let pass = ["-pass", "file:passphrase", "-out", "key.pem"];
        openssl(path, &[&["genpkey", "-algorithm", "ed25519", "-aes256"][..], &pass].concat());
        let text = std::fs::read_to_string(path.join("key.pem")).unwrap();
        let imported = import(&text, PASSPHRASE).unwrap();
        let spki =
            openssl(path, &["pkey", "-in", "key.pem", "-passin", "file:passphrase", "-pubout", "-outform", "DER"]);
        assert_eq!(imported.key.public().spki(), spki);
        assert_eq!(imported.membership, None);
        assert_eq!(refused(&text, "something else"), PortableError::WrongPassphrase);
        // It becomes an identity like any other.
        let exported = export(&imported.key, None, PASSPHRASE).unwrap();
        assert_eq!(import(&exported, PASSPHRASE).unwrap().key.public().spki(), spki);
    }

    #[test]
    fn keys_and_methods_that_are_of_no_use_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("passphrase"), PASSPHRASE).unwrap();
        let pass = ["-pass", "file:passphrase", "-out", "key.pem"];
        openssl(path, &[&["genpkey", "-algorithm", "x25519", "-aes256"][..], &pass].concat());
        let text = std::fs::read_to_string(path.join("key.pem")).unwrap();
        assert_eq!(refused(&text, PASSPHRASE), PortableError::OtherKindOfKey);
        openssl(path, &[&["genpkey", "-algorithm", "ed25519", "-des3"][..], &pass].concat());
        let text = std::fs::read_to_string(path.join("key.pem")).unwrap();
        assert_eq!(refused(&text, PASSPHRASE), PortableError::UnknownEncryption);
    }
}
