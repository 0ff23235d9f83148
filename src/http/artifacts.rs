//! `/jobs/:id/artifacts/…`: files that a job has kept. They were made by an agent: nobody's browser is to show them as ours.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::auth::Token;
use super::openapi::FileBytes;
use super::problem::ApiError;
use crate::app::App;

/// Read at once: a file of a gigabyte in a few thousand pieces, and one of them in memory for each download.
const PIECE_BYTES: usize = 256 * 1024;

/// A file that the job has kept, as it was in the worktree.
#[utoipa::path(get, path = "/jobs/{id}/artifacts/{*path}", tag = "jobs",
    params(("id" = String, Path), ("path" = String, Path, description = "As the job's `artifacts` have it, with its slashes")),
    responses((status = 200, body = FileBytes, content_type = "application/octet-stream")))]
pub(super) async fn get_artifact(
    State(app): State<App>,
    Token(caller): Token,
    Path((id, path)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (file, bytes) = app.open_artifact(&caller, &id, &path).await?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let disposition = HeaderValue::from_str(&disposition(name)).ok();
    let head = [
        (header::CONTENT_TYPE, Some(HeaderValue::from_static("application/octet-stream"))),
        (header::CONTENT_LENGTH, Some(HeaderValue::from(bytes))),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    let mut response =
        Body::from_stream(ReaderStream::with_capacity(file.take(bytes), PIECE_BYTES)).into_response();
    let set = head.into_iter().filter_map(|(name, value)| Some((name, value?)));
    response.headers_mut().extend(set);
    Ok(response)
}

/// To be saved under its name (RFC 6266, with the encoding of RFC 8187).
fn disposition(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped: String = name
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("attachment; filename*=UTF-8''{escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_gets_out_of_its_place() {
        for (name, expected) in [
            ("report.html", "report.html"),
            ("a\"; x=\"b", "a%22%3B%20x%3D%22b"),
            ("\u{e4}\r\nSet-Cookie: a", "%C3%A4%0D%0ASet-Cookie%3A%20a"),
        ] {
            assert_eq!(disposition(name), format!("attachment; filename*=UTF-8''{expected}"));
        }
    }
}
