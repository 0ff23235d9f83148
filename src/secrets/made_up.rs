//! Values that have the shape of a key and are none: placeholders, examples of documentation, checksums that do not fit.

/// Words of placeholders. A random key of 40 characters has one of them once in some thousand.
const WORDS: &[&str] = &[
    "example",
    "xxxxx",
    "placeholder",
    "changeme",
    "change_me",
    "change-me",
    "your_",
    "your-",
    "yourtoken",
    "dummy",
    "redacted",
    "sample",
    "replace",
    "foobar",
    "notreal",
    "not-a-real",
    "not_a_real",
    "thisisnot",
    "00000000",
    "11111111",
    "12345678",
    "23456789",
    "abcdefgh",
    "deadbeef",
    "cafebabe",
    "01234567",
    "fakekey",
    "faketoken",
    "fake-",
    "fake_",
    "-fake",
    "_fake",
    "mysecret",
    "my-secret",
    "my_secret",
    "testtest",
    "secretkey",
];

/// A run of one character that no random key has: once in 60 million places.
const RUN_MAX: usize = 5;

/// Whether nobody drew this value by lot.
pub(super) fn is_made_up(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |word: &&str| memchr::memmem::find(&lower, word.as_bytes()).is_some();
    WORDS.iter().any(has) || has_template(value) || longest_run(value) > RUN_MAX
}

/// Stands for a value that somebody else fills in.
pub(super) fn has_template(value: &[u8]) -> bool {
    ["${", "{{", "}}", "$(", "<", ">", "***", "...", "%s", "%v", "#{"]
        .iter()
        .any(|sign| memchr::memmem::find(value, sign.as_bytes()).is_some())
}

fn longest_run(value: &[u8]) -> usize {
    value.chunk_by(|a, b| a == b).map(<[u8]>::len).max().unwrap_or(0)
}

/// Bits per character, by how often each occurs in the value itself (Shannon). 20 random letters and digits have about 4,
/// 32 hexadecimal digits 3.6, words of a language of that length 3.3 or less.
pub(super) fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let length = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    let part = |count: &u32| f64::from(*count) / length;
    -counts.iter().filter(|count| **count > 0).map(|count| part(count) * part(count).log2()).sum::<f64>()
}

/// Whether the last six characters of a token's random part are the checksum of the others, as in all tokens of GitHub with
/// 36 of them and in those of npm: CRC-32 in base 62, with zeros before it
/// (github.blog/2021-04-05-behind-githubs-new-authentication-token-formats).
pub(super) fn has_github_checksum(random: &[u8]) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((body, stored)) = random.split_last_chunk::<6>() else { return false };
    let mut rest = crc32(body);
    let mut expected = [b'0'; 6];
    for digit in expected.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 62).unwrap_or_default()];
        rest /= 62;
    }
    *stored == expected
}

/// CRC-32 of ISO-HDLC, as in zip. Bit by bit: it is for 30 bytes at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of the standard");
        let random = ["zQWBuTSOoRi4A9spHcVY5ncn", "sDkxkJ0mLq17"].concat();
        assert!(has_github_checksum(random.as_bytes()));
        assert!(!has_github_checksum(random.replace('z', "y").as_bytes()) && !has_github_checksum(b"short"));
    }

    #[test]
    fn randomness_is_told_from_words() {
        assert!((entropy(b"abab") - 1.0).abs() < 1e-9 && entropy(b"aaaa").abs() < 1e-9);
        assert!(entropy(b"k3Xv9QpLmZ7rT2wYb8Nc") > 4.0);
        for value in
            ["sk-xxxxxxxxxxxx", "AKIAIOSFODNN7EXAMPLE", "${TOKEN}", "aaaaaaaaaaaaaaaaaaaa", "<your token>"]
        {
            assert!(is_made_up(value.as_bytes()), "{value}");
        }
    }
}
