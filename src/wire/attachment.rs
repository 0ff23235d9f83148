//! Files that come with a job: how they are sent, and what answers tell about them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, Reading};
use crate::domain;
use crate::domain::attachment::{ATTACHMENTS_MAX, AttachedFile};

/// A file to be sent along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentRequest {
    /// A plain file name of 1 to 100 bytes.
    pub name: String,
    /// The content in base64 (RFC 4648, section 4), padded, without line breaks.
    pub content_base64: String,
}

impl AttachmentRequest {
    #[must_use]
    pub fn of(file: &AttachedFile) -> Self {
        Self { name: file.name.clone(), content_base64: BASE64_STANDARD.encode(&file.content) }
    }
}

/// A file of a job, in answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    pub name: String,
    pub bytes: u64,
}

impl From<&domain::attachment::Attachment> for Attachment {
    fn from(attachment: &domain::attachment::Attachment) -> Self {
        Self { name: attachment.name.clone(), bytes: attachment.bytes }
    }
}

/// Reads the member `attachments`, with a gap for each that could not be read; the rules for names and sizes are not
/// checked yet.
pub(super) fn read(f: &mut Fields<'_>) -> Vec<Option<AttachedFile>> {
    let pointer = f.at("attachments");
    let list = match f.value("attachments") {
        None => return Vec::new(),
        // each may be megabytes, or a fault: they are counted before they are looked at
        Some(Value::Array(list)) if list.len() > ATTACHMENTS_MAX => {
            f.fault("attachments", format!("must have at most {ATTACHMENTS_MAX} entries"));
            return Vec::new();
        }
        Some(Value::Array(list)) => list,
        Some(_) => {
            f.fault("attachments", "must be an array of objects with name and contentBase64");
            return Vec::new();
        }
    };
    let read = |(index, value)| read_one(value, &format!("{pointer}/{index}"), f.reading());
    list.iter().enumerate().map(read).collect()
}

fn read_one(value: &Value, pointer: &str, reading: &mut Reading) -> Option<AttachedFile> {
    let mut f = Fields::of(value, pointer, reading)?;
    let (name, text) = (f.text("name"), f.text("contentBase64"));
    for (member, is_there) in
        [("name", f.value("name").is_some()), ("contentBase64", f.value("contentBase64").is_some())]
    {
        if !is_there {
            f.fault(member, "is required");
        }
    }
    let content = text.and_then(|text| match BASE64_STANDARD.decode(text) {
        Ok(content) => Some(content),
        Err(error) => {
            f.fault("contentBase64", format!("must be base64 with padding and without line breaks: {error}"));
            None
        }
    });
    f.finish();
    Some(AttachedFile { name: name?, content: content? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_all(body: &Value) -> (Vec<Option<AttachedFile>>, Reading) {
        let mut reading = Reading::default();
        let files = {
            let mut f = Fields::of(body, "", &mut reading).unwrap();
            let files = read(&mut f);
            f.finish();
            files
        };
        (files, reading)
    }

    #[test]
    fn what_is_written_is_read() {
        let file = AttachedFile { name: "a.bin".to_owned(), content: vec![0, 255, 10] };
        let (files, reading) = read_all(&json!({"attachments": [AttachmentRequest::of(&file)]}));
        assert_eq!((files, reading), (vec![Some(file)], Reading::default()));
        assert_eq!(read_all(&json!({"attachments": null})).0, []);
    }

    #[test]
    fn each_fault_has_its_place() {
        let body = json!({"attachments": [
            7, {"name": "a"}, {"contentBase64": "AA=="}, {"name": "a", "contentBase64": "A A="},
            {"name": 1, "contentBase64": "AA"}, {"name": "ok", "contentBase64": "AA==", "mode": 7},
        ]});
        let (files, reading) = read_all(&body);
        assert_eq!(files[..5], [None, None, None, None, None]);
        assert_eq!(files[5], Some(AttachedFile { name: "ok".to_owned(), content: vec![0] }));
        let places: Vec<_> = reading.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/attachments/0",
                "/attachments/1/contentBase64",
                "/attachments/2/name",
                "/attachments/3/contentBase64",
                "/attachments/4/name",
                "/attachments/4/contentBase64",
            ]
        );
        assert_eq!(reading.warnings.len(), 1);
        assert_eq!(read_all(&json!({"attachments": {}})).1.faults[0].pointer, "/attachments");
    }
}
