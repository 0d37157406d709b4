//! The text of a recovery key: the seed of a node's key with a checksum, in Crockford's base32, so that people can write it
//! down and type it again.

use ring::digest::{SHA256, digest};

/// What a key begins with; the digit is the version.
const PREFIX: &str = "POTLUCK1";
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SEED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 3;
/// Characters behind the prefix; 5 bits each are just the bytes.
const CHARACTERS: usize = (SEED_BYTES + CHECKSUM_BYTES) * 8 / 5;
const GROUP_CHARACTERS: usize = 4;

/// Why a text is no recovery key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PhraseError {
    #[error("this recovery key is of another version; restore it with the version of Potluck that printed it")]
    Version,
    #[error("{0:?} is no character of a recovery key; look at it again")]
    Character(char),
    #[error(
        "the recovery key has {0} characters behind {PREFIX}, and should have {CHARACTERS}; look for what is missing or too much"
    )]
    Length(usize),
    #[error("the recovery key's checksum is wrong: a character was mistyped; look at it again")]
    Checksum,
}

/// The text of a seed.
pub(super) fn encode(seed: &[u8; SEED_BYTES]) -> String {
    let mut text = PREFIX.to_owned();
    let bytes = [&seed[..], &checksum(seed)].concat();
    let (mut bits, mut bit_count, mut written) = (0_u32, 0, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(byte);
        bit_count += 8;
        while bit_count >= 5 {
            bit_count -= 5;
            if written % GROUP_CHARACTERS == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[(bits >> bit_count) as usize & 31]));
            written += 1;
        }
    }
    text
}

/// The seed of a text.
pub(super) fn decode(text: &str) -> Result<[u8; SEED_BYTES], PhraseError> {
    let text: String =
        text.chars().filter(|character| !character.is_whitespace() && *character != '-').map(plain).collect();
    let prefix: String = PREFIX.chars().map(plain).collect();
    let body = match text.strip_prefix(&prefix) {
        Some(body) => body,
        // The prefix of another version, whose last character is its number.
        None if text.starts_with(&prefix[..prefix.len() - 1]) => return Err(PhraseError::Version),
        None => &text,
    };
    let mut bytes = Vec::with_capacity(SEED_BYTES + CHECKSUM_BYTES);
    let (mut bits, mut bit_count, mut count) = (0_u32, 0, 0);
    for character in body.chars() {
        let Some(value) = ALPHABET.iter().position(|known| char::from(*known) == character) else {
            return Err(PhraseError::Character(character));
        };
        count += 1;
        bits = bits << 5 | value as u32;
        bit_count += 5;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
        }
    }
    if count != CHARACTERS {
        return Err(PhraseError::Length(count));
    }
    let mut seed = [0; SEED_BYTES];
    seed.copy_from_slice(&bytes[..SEED_BYTES]);
    if checksum(&seed) != bytes[SEED_BYTES..] { Err(PhraseError::Checksum) } else { Ok(seed) }
}

/// A character as the alphabet has it: what looks like a digit is one.
fn plain(character: char) -> char {
    match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    }
}

fn checksum(seed: &[u8; SEED_BYTES]) -> [u8; CHECKSUM_BYTES] {
    let hash = digest(&SHA256, &[b"potluck recovery key 1\0", &seed[..]].concat());
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.as_ref()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [0x5a; 32];

    #[test]
    fn a_seed_survives_its_text() {
        for seed in [SEED, [0; 32], [0xff; 32], std::array::from_fn(|index| index as u8)] {
            let text = encode(&seed);
            assert_eq!(text.len(), PREFIX.len() + CHARACTERS + CHARACTERS / GROUP_CHARACTERS, "{text}");
            assert_eq!(decode(&text), Ok(seed), "{text}");
        }
    }

    #[test]
    fn what_people_make_of_it_is_understood() {
        let text = encode(&std::array::from_fn(|index| index as u8));
        let body = &text[PREFIX.len()..];
        for variant in [
            text.to_lowercase(),
            format!("  {}\n", text.replace('-', " ")),
            text.replace('-', "\n"),
            body.to_owned(),
            format!("{PREFIX}{}", body.replace('0', "O").replace('1', "l")),
            format!("p0t1uck1{}", body.replace('0', "o").replace('1', "I")),
        ] {
            assert_eq!(decode(&variant), decode(&text), "{variant}");
        }
    }

    #[test]
    fn a_mistake_is_told() {
        let text = encode(&SEED);
        assert_eq!(decode(&text.replace("POTLUCK1", "POTLUCK2")), Err(PhraseError::Version));
        assert_eq!(decode(&text[..text.len() - 1]), Err(PhraseError::Length(CHARACTERS - 1)));
        assert_eq!(decode(&format!("{text}0")), Err(PhraseError::Length(CHARACTERS + 1)));
        assert_eq!(decode(""), Err(PhraseError::Length(0)));
        assert_eq!(decode(&format!("{}u", &text[..text.len() - 1])), Err(PhraseError::Character('U')));
        assert_eq!(decode("ключ"), Err(PhraseError::Character('к')));
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let text = encode(&SEED);
        for index in PREFIX.len() + 1..text.len() {
            let mut bytes = text.clone().into_bytes();
            if bytes[index] == b'-' {
                continue;
            }
            bytes[index] = if bytes[index] == b'7' { b'8' } else { b'7' };
            assert_eq!(decode(&String::from_utf8(bytes).unwrap()), Err(PhraseError::Checksum), "{index}");
        }
    }
}
