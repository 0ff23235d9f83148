//! A link that lets a browser in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;

/// Lets a browser in once, as whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// The path of the link, to be put behind the address of the server. It is a secret until it is used.
    pub path: String,
    /// From then on it opens nothing.
    pub expires_at: UtcTime,
}
