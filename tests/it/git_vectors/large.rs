//! What an agent can prepare for git-lfs.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Place, Vector};
use crate::left_out::has_program;

pub(super) const VECTORS: &[Vector] = &[
    Vector {
        name: "lfs.customtransfer and lfs.url",
        place: Place::Clone,
        prepare: |t| {
            t.attributes("*.bin filter=lfs\n");
            t.clone_config("lfs.customtransfer.evil.path", t.program());
            t.clone_config("lfs.standalonetransferagent", "evil");
            t.clone_config("lfs.url", &format!("file://{}", t.foreign.display()));
            t.clone_config("filter.lfs.process", t.program());
        },
    },
    Vector {
        name: "a link in the place of the large files",
        place: Place::Clone,
        prepare: |t| symlink(t.foreign.join("objects"), t.clone.join("lfs")).unwrap(),
    },
    Vector {
        name: ".lfsconfig, and a link that is to be a large file",
        place: Place::Worktree,
        prepare: |t| {
            t.attributes("*.bin filter=lfs\n");
            let text = format!(
                "[lfs]\nurl = file://{0}\nstandalonetransferagent = evil\n[lfs \"customtransfer.evil\"]\npath = {1}\n",
                t.foreign.display(),
                t.program()
            );
            fs::write(t.worktree.join(".lfsconfig"), text).unwrap();
            // without the program the work could not be published, whatever else is in it
            if has_program("git-lfs") {
                fs::write(t.worktree.join("new.bin"), "content").unwrap();
            }
            symlink("/etc/passwd", t.worktree.join("link.bin")).unwrap();
        },
    },
];
