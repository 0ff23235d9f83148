//! The stylesheet and the script: one file each, put together from the parts in `assets/ui/`, under a name that changes
//! with their content.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// One file that pages ask for.
#[derive(Debug)]
pub struct Asset {
    stem: &'static str,
    suffix: &'static str,
    /// What it is, for the one who asked.
    pub media_type: &'static str,
    pub text: &'static str,
    name: String,
}

pub(super) const STYLE: usize = 0;
pub(super) const SCRIPT: usize = 1;

/// All of them.
pub static ASSETS: LazyLock<[Asset; 2]> = LazyLock::new(|| {
    [
        Asset::new("style", "css", "text/css; charset=utf-8", CSS),
        Asset::new("app", "js", "text/javascript; charset=utf-8", JS),
    ]
});

const CSS: &str = concat!(
    include_str!("../../assets/ui/base.css"),
    include_str!("../../assets/ui/shell.css"),
    include_str!("../../assets/ui/lists.css"),
    include_str!("../../assets/ui/job.css"),
    include_str!("../../assets/ui/log.css"),
    include_str!("../../assets/ui/diff.css"),
    include_str!("../../assets/ui/forms.css"),
    include_str!("../../assets/ui/api.css"),
);

/// One module: its parts share their names.
const JS: &str = concat!(
    include_str!("../../assets/ui/morph.js"),
    include_str!("../../assets/ui/live.js"),
    include_str!("../../assets/ui/times.js"),
    include_str!("../../assets/ui/log.js"),
    include_str!("../../assets/ui/keys.js"),
    include_str!("../../assets/ui/small.js"),
    include_str!("../../assets/ui/new.js"),
);

impl Asset {
    fn new(stem: &'static str, suffix: &'static str, media_type: &'static str, text: &'static str) -> Self {
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        let name = format!("{stem}-{}.{suffix}", &digest[..12]);
        Self { stem, suffix, media_type, text, name }
    }

    /// The last part of its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a name is that of an earlier or later version of it.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        name.starts_with(self.stem) && name.ends_with(self.suffix)
    }

    pub(super) fn path(&self) -> String {
        format!("/ui/assets/{}", self.name)
    }
}
