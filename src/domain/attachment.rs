//! A file that comes with a job: kept with it in the store, and laid out for the agent outside the worktree.

/// Files of one job.
pub const ATTACHMENTS_MAX: usize = 20;
/// Bytes of all files of one job together, as they are on disk.
pub const ATTACHMENTS_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Bytes of a name: every file system that we know takes 255.
const NAME_BYTES_MAX: usize = 100;

/// What is wrong with the name of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttachmentName {
    #[error("must have 1 to {NAME_BYTES_MAX} bytes")]
    Length,
    #[error("must be a plain file name of letters, digits, blanks and . _ - + ( ) @ ,")]
    Character,
    #[error("must begin with a letter, a digit or _, and must not end with a blank or a dot")]
    Edge,
}

/// What is told about a file of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// A plain file name, see [`check_name`].
    pub name: String,
    /// Size of the content.
    pub bytes: u64,
}

/// A file of a job with what is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachedFile {
    pub name: String,
    pub content: Vec<u8>,
}

impl AttachedFile {
    /// What is told about it.
    #[must_use]
    pub fn told(&self) -> Attachment {
        Attachment { name: self.name.clone(), bytes: self.content.len() as u64 }
    }
}

impl std::fmt::Debug for AttachedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AttachedFile({}, {} bytes)", self.name, self.content.len())
    }
}

/// A name becomes a file in a directory of ours and stands in the agent's prompt: nothing in it may lead elsewhere, hide it
/// or be taken for an option, on any file system.
///
/// # Errors
/// The rule that is broken.
pub fn check_name(name: &str) -> Result<(), InvalidAttachmentName> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(InvalidAttachmentName::Length);
    }
    if !name.chars().all(|c| c.is_alphanumeric() || " ._-+()@,".contains(c)) {
        return Err(InvalidAttachmentName::Character);
    }
    let begins = name.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    if begins && !name.ends_with([' ', '.']) { Ok(()) } else { Err(InvalidAttachmentName::Edge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere() {
        for good in ["screen.png", "Bildschirmfoto 2026-11-26.png", "größe.txt", "_x", "a(1).txt", "Makefile"]
        {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let bad = [
            ("", InvalidAttachmentName::Length),
            (&long, InvalidAttachmentName::Length),
            ("../x", InvalidAttachmentName::Character),
            ("a/b", InvalidAttachmentName::Character),
            ("a\\b", InvalidAttachmentName::Character),
            ("a\nb", InvalidAttachmentName::Character),
            ("a\0b", InvalidAttachmentName::Character),
            ("a\u{202e}gnp.exe", InvalidAttachmentName::Character),
            ("$(x)", InvalidAttachmentName::Character),
            (".", InvalidAttachmentName::Edge),
            ("..", InvalidAttachmentName::Edge),
            (".git", InvalidAttachmentName::Edge),
            ("-rf", InvalidAttachmentName::Edge),
            (" x", InvalidAttachmentName::Edge),
            ("x.", InvalidAttachmentName::Edge),
            ("x ", InvalidAttachmentName::Edge),
        ];
        for (name, rule) in bad {
            assert_eq!(check_name(name), Err(rule), "{name:?}");
        }
    }
}
