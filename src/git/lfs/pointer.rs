//! What stands in a commit in the place of a large file (the specification of Git LFS, "The Pointer").

use git2::{ObjectType, Oid};

/// Longer files are no pointers, by the specification.
pub(in crate::git) const POINTER_BYTES_MAX: u64 = 1024;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// The name of an object by its content, and its length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::git) struct Pointer {
    oid: String,
    size: u64,
}

impl Pointer {
    pub(in crate::git) fn new(digest: &[u8; 32], size: u64) -> Self {
        Self { oid: hex::encode(digest), size }
    }

    /// The pointer to a file by its name and its length; `None`: it is no name of an object.
    pub(in crate::git) fn named(oid: &str, size: u64) -> Option<Self> {
        // not `Self { .. }`: what a name may be is decided in one place
        Self::parse(Self { oid: oid.to_owned(), size }.text().as_bytes())
    }

    /// Reads exactly what [`Self::text`] writes. Pointers of older versions, with extensions or with further keys are taken
    /// for ordinary text: what they stand for is not the content alone.
    pub(in crate::git) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > POINTER_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        if lines.next()? != VERSION {
            return None;
        }
        let oid = lines.next()?.strip_prefix("oid sha256:")?;
        let size = lines.next()?.strip_prefix("size ")?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_number =
            size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        if lines.next().is_some() || oid.len() != 64 || !oid.bytes().all(is_hex) || !is_number {
            return None;
        }
        // other programs keep it in a signed number
        let size = size.parse::<i64>().ok()?;
        Some(Self { oid: oid.to_owned(), size: u64::try_from(size).ok()? })
    }

    pub(in crate::git) fn text(&self) -> String {
        format!("{VERSION}\noid sha256:{}\nsize {}\n", self.oid, self.size)
    }

    /// The name that git gives to it.
    pub(in crate::git) fn blob(&self) -> Result<Oid, git2::Error> {
        Oid::hash_object(ObjectType::Blob, self.text().as_bytes())
    }

    /// 64 lower-case hexadecimal digits.
    pub(in crate::git) fn oid(&self) -> &str {
        &self.oid
    }

    /// Bytes of the object.
    pub(in crate::git) fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn only_what_is_written_is_read() {
        let pointer = Pointer { oid: OID.to_owned(), size: 12_345 };
        assert_eq!(Pointer::parse(pointer.text().as_bytes()), Some(pointer.clone()));
        let good = pointer.text();
        for bad in [
            String::new(),
            good.trim_end().to_owned(),
            good.replace('\n', "\r\n"),
            format!("{good}\n"),
            format!("{good}x y\n"),
            format!(" {good}"),
            good.replace("/v1", "/v2"),
            good.replace("git-lfs.github.com", "hawser.github.com"),
            good.replace("sha256:4d", "sha256:../../"),
            good.replace("sha256:4d", "sha256:4D"),
            good.replace("sha256", "sha1"),
            good.replace(OID, &OID[1..]),
            good.replace(OID, &format!("..{}", &OID[2..])),
            good.replace(OID, &format!("/{}", &OID[1..])),
            good.replace("12345", "-1"),
            good.replace("12345", "+1"),
            good.replace("12345", "012"),
            good.replace("12345", "0x1"),
            good.replace("12345", ""),
            good.replace("12345", "9223372036854775808"),
            good.replace("12345", "99999999999999999999999999"),
            good.replace("oid ", "ext-0-x sha256:00\noid "),
            format!("{good}{}", "#".repeat(1024)),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(Pointer::parse(good.replace("12345", "9223372036854775807").as_bytes()).is_some());
        assert_eq!(Pointer::parse(&[0xff; 130]), None);
    }
}
