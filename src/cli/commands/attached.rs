//! `--attach`: files of this machine that go along with a prompt.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::domain::attachment::{ATTACHMENTS_BYTES_MAX, AttachedFile, check_name};
use crate::wire::attachment::AttachmentRequest;

/// Reads the files; the server checks what they are together.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Option<Vec<AttachmentRequest>>, CliError> {
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    Ok((!files.is_empty()).then_some(files))
}

fn read(path: &Path) -> Result<AttachmentRequest, CliError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    check_name(&name).map_err(|rule| {
        CliError::usage(format!("the name of {} {rule}", path.display()))
            .hint("give it another one", format!("cp {} attachment", path.display()))
    })?;
    let file = std::fs::File::open(path).map_err(|error| CliError::file(path, &error))?;
    let mut content = Vec::new();
    // a byte too many tells a file that is too large from one that fits
    file.take(ATTACHMENTS_BYTES_MAX as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| CliError::file(path, &error))?;
    if content.len() > ATTACHMENTS_BYTES_MAX {
        let message = format!("{} is larger than {ATTACHMENTS_BYTES_MAX} bytes", path.display());
        return Err(CliError::usage(message));
    }
    Ok(AttachmentRequest::of(&AttachedFile { name, content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_along_under_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.png");
        std::fs::write(&path, [0, 255]).unwrap();
        let read = read_all(&[path]).unwrap().unwrap();
        assert_eq!((read[0].name.as_str(), read[0].content_base64.as_str()), ("a b.png", "AP8="));
        assert!(read_all(&[]).unwrap().is_none());
    }

    #[test]
    fn what_would_be_refused_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (hidden, large, missing) =
            (dir.path().join(".env"), dir.path().join("large"), dir.path().join("missing"));
        std::fs::write(&hidden, "x").unwrap();
        std::fs::write(&large, vec![0; ATTACHMENTS_BYTES_MAX + 1]).unwrap();
        for path in [hidden, large, missing, dir.path().to_owned()] {
            assert!(read_all(std::slice::from_ref(&path)).is_err(), "{}", path.display());
        }
    }
}
