//! Configuration, secret, directories, disks.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::AccessFlags;

use super::fault::Fault;
use super::patient::Patient;
use crate::config::how_to_add_a_secret;
use crate::domain::phrases;
use crate::wire::doctor::Finding;

pub(super) fn config(patient: &Patient<'_>) -> Vec<Finding> {
    let file = patient.config_file.as_deref();
    let config = match &patient.config {
        Ok(config) => config,
        Err(error) => {
            let named = file.map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
            let faults = error.problems.iter().map(|problem| {
                let source = match problem.source.as_str() {
                    "" => String::new(),
                    source => format!(" ({source})"),
                };
                let detail = format!("{}{source} {}", problem.key, problem.rule);
                let finding = Finding::of(Fault::ConfigBroken, detail).with("FILE", &named);
                // a permission or a variable is not mended in the file, and its problem knows how
                let is_elsewhere = problem.permission || !problem.source.starts_with("file");
                match problem.remedy.lines().next().filter(|remedy| is_elsewhere && !remedy.is_empty()) {
                    Some(remedy) => finding.mended_by(remedy),
                    None => finding,
                }
            });
            return faults.collect();
        }
    };
    let mut findings = vec![match file {
        Some(file) if file.exists() => Finding::ok("config", file.display().to_string()),
        Some(file) => {
            Finding::ok("config", format!("defaults and environment; {} does not exist", file.display()))
        }
        None => Finding::ok("config", "defaults and environment"),
    }];
    // what the secret is has a check of its own
    let told = config.warnings().iter().filter(|warning| warning.code != "weak_secret");
    findings.extend(told.map(|warning| Finding::of(Fault::ConfigWarning, warning.text.clone())));
    findings
}

pub(super) fn secret(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "secret";
    let config = match patient.config() {
        Ok(config) => config,
        Err(why) => return vec![Finding::skipped(CHECK, why)],
    };
    vec![match (config.admin_secret(), config.server.secret.is_some()) {
        (Ok(_), _) if config.is_secret_weak() => {
            Finding::of(Fault::SecretWeak, "shorter than 32 characters, which is accepted on loopback only")
        }
        (Ok(_), _) => Finding::ok(CHECK, "there, and long enough"),
        (Err(error), true) => Finding::of(Fault::SecretRefused, rule_of(&error)),
        (Err(error), false) => missing(&rule_of(&error), patient.config_file.as_deref()),
    }]
}

/// A file that is there is added to: to make the first one is refused then.
fn missing(rule: &str, file: Option<&Path>) -> Finding {
    let Some(file) = file.filter(|file| file.exists()) else {
        return Finding::of(Fault::SecretMissing, rule);
    };
    let steps = how_to_add_a_secret(file);
    let labels: Vec<&str> = steps.iter().map(|(label, _)| label.as_str()).collect();
    let commands: Vec<&str> = steps.iter().map(|(_, command)| command.as_str()).collect();
    let detail = format!("{rule}; {}", labels.join(", "));
    Finding::of(Fault::SecretMissing, detail).mended_by(commands.join(" && "))
}

fn rule_of(error: &crate::config::ConfigError) -> String {
    error.problems.first().map(|problem| format!("{} {}", problem.key, problem.rule)).unwrap_or_default()
}

pub(super) fn data_dir(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "data_dir";
    match patient.config() {
        Ok(config) => {
            let paths = &config.paths;
            let mut findings = directory(CHECK, &paths.data_dir);
            // what is well with the others needs no line; by default they are not there before the data directory is
            for dir in [&paths.repos_dir, &paths.worktrees_dir, &paths.files_dir] {
                if !dir.starts_with(&paths.data_dir) || dir.exists() {
                    findings.extend(unfit(dir));
                }
            }
            findings
        }
        Err(why) => vec![Finding::skipped(CHECK, why)],
    }
}

/// Whether others get into a directory that is there. The server closes it when it starts; what everybody may write it refuses.
fn open(dir: &Path) -> Option<Finding> {
    let mode = dir.metadata().ok()?.mode() & 0o7777;
    let shown = dir.display().to_string();
    let detail = format!("{shown} has mode {mode:04o}");
    let fault = match mode {
        public if public & 0o002 != 0 => Fault::DataDirPublic,
        open if open & 0o077 != 0 => Fault::DataDirOpen,
        _ => return None,
    };
    Some(Finding::of(fault, detail).with("DIR", &shown))
}

/// What keeps the server from starting with this directory, or what it changes about it.
fn unfit(dir: &Path) -> Option<Finding> {
    let shown = dir.display().to_string();
    let unusable =
        |why: &str| Some(Finding::of(Fault::DataDirUnusable, format!("{shown} {why}")).with("DIR", &shown));
    let Some(there) = nearest(dir) else { return unusable("cannot be made") };
    if !there.is_dir() {
        return unusable(&format!("cannot be made: {} is no directory", there.display()));
    }
    if nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return unusable(if there == dir { "cannot be written" } else { "cannot be made" });
    }
    if there != dir {
        return None;
    }
    let Ok(found) = dir.metadata() else { return unusable("cannot be read") };
    // before its mode: nobody closes what is somebody else's
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return unusable("belongs to another user");
    }
    open(dir)
}

/// It, or the first above it that is there.
fn nearest(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| dir.exists())
}

fn directory(check: &'static str, dir: &Path) -> Vec<Finding> {
    let shown = dir.display().to_string();
    let mut findings: Vec<Finding> = unfit(dir).into_iter().collect();
    let there = nearest(dir);
    let is_unusable = findings.iter().any(|found| found.code == Some(Fault::DataDirUnusable.code()));
    if let Some(kind) = there.filter(|_| !is_unusable).and_then(network_file_system) {
        findings.push(Finding::of(Fault::DataDirRemote, format!("{shown} lies on {kind}")));
    }
    if findings.is_empty() {
        let words = if there == Some(dir) { shown } else { format!("{shown}, made at the first start") };
        findings.push(Finding::ok(check, words));
    }
    findings
}

/// The name of the file system when it is one of a network, by statfs(2).
#[cfg(target_os = "linux")]
fn network_file_system(dir: &Path) -> Option<&'static str> {
    let kind = nix::sys::statfs::statfs(dir).ok()?.filesystem_type().0;
    is_remote(kind)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// The numbers of linux/magic.h; one is signed where longs have 32 bits.
fn is_remote(magic: impl Into<i64>) -> Option<&'static str> {
    match magic.into() & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x5346_414f => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

pub(super) fn disk(patient: &Patient<'_>) -> Vec<Finding> {
    const CHECK: &str = "disk";
    let config = match patient.config() {
        Ok(config) => config,
        Err(why) => return vec![Finding::skipped(CHECK, why)],
    };
    let dirs = [&config.paths.data_dir, &config.paths.repos_dir, &config.paths.worktrees_dir];
    let free = dirs.into_iter().filter_map(|dir| Some((dir, free_bytes(dir)?)));
    match free.min_by_key(|(_, free)| *free) {
        Some((dir, free)) => vec![judge_disk(dir, free, config.limits.disk_free_bytes_min)],
        None => vec![Finding::skipped(CHECK, "the free space could not be asked for")],
    }
}

fn judge_disk(dir: &Path, free: u64, floor: u64) -> Finding {
    let detail = format!(
        "{} free for {}; jobs start while {} are",
        phrases::size(free),
        dir.display(),
        phrases::size(floor)
    );
    match free {
        _ if free < floor => Finding::of(Fault::DiskLow, detail),
        _ if free < floor.saturating_mul(2) => Finding::of(Fault::DiskTight, detail),
        _ => Finding::ok("disk", detail),
    }
}

/// Of the disk of `dir`, or of the nearest directory above it that is there.
fn free_bytes(dir: &Path) -> Option<u64> {
    let at = nix::sys::statvfs::statvfs(nearest(dir)?).ok()?;
    // what they count in differs between systems
    #[allow(clippy::useless_conversion, reason = "u32 on macOS")]
    Some(u64::from(at.blocks_available()).saturating_mul(at.fragment_size()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Config, Environment, Flags};
    use crate::doctor::ServerLook;

    fn codes(findings: &[Finding]) -> Vec<Option<&str>> {
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_directory_is_judged_without_being_made() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        assert_eq!(codes(&directory("data_dir", &dir)), [None]);
        assert!(!home.path().join("a").exists(), "looking makes nothing");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(codes(&directory("data_dir", &dir)), [Some("data_dir_open")]);
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o757)).unwrap();
        assert_eq!(codes(&directory("data_dir", &dir)), [Some("data_dir_public")]);
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(codes(&directory("data_dir", &dir)), [None]);
        std::fs::write(home.path().join("file"), "").unwrap();
        assert_eq!(codes(&directory("data_dir", &home.path().join("file/b"))), [Some("data_dir_unusable")]);
    }

    /// As the server will: whose it is counts before who gets in.
    #[test]
    fn a_directory_in_which_nothing_can_be_put_is_not_only_closed() {
        let home = tempfile::tempdir().unwrap();
        let [dir, file] = ["dir", "file"].map(|name| home.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o555)).unwrap();
        if nix::unistd::geteuid().is_root() {
            // root writes everywhere, but not as the owner
            std::os::unix::fs::chown(&dir, Some(65_534), None).unwrap();
        }
        let env = |key: &str, place: &Path| {
            let place = place.to_str().unwrap();
            let home = home.path().to_str().unwrap();
            Environment::from_pairs([("HOME", home), (key, place)])
        };
        for key in ["REPOS", "WORKTREES", "FILES"] {
            for place in [&dir, &file, &file.join("below")] {
                let env = env(&format!("OFFSHOOT_PATHS_{key}_DIR"), place);
                let patient = Patient {
                    config: Config::load(&Flags::default(), &env, None),
                    env: &env,
                    config_file: None,
                    server: ServerLook::NotAsked { why: String::new() },
                    within: None,
                    service: None,
                    clock: Clock::system(),
                    online: false,
                };
                let found = data_dir(&patient);
                assert_eq!(codes(&found), [None, Some("data_dir_unusable")], "{key} {place:?}: {found:?}");
            }
        }
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn file_systems_of_a_network_are_known_by_their_number() {
        assert_eq!(is_remote(0x6969_i64), Some("NFS"));
        assert_eq!(is_remote(i64::from(0xff53_4d42_u32.cast_signed())), Some("SMB"));
        assert_eq!(is_remote(0xef53_i64), None, "ext4");
    }

    #[test]
    fn a_disk_is_low_below_its_floor_and_tight_below_twice_that() {
        let codes = [99, 100, 199, 200].map(|free| judge_disk(Path::new("/d"), free, 100).code);
        assert_eq!(codes, [Some("disk_low"), Some("disk_tight"), Some("disk_tight"), None]);
    }
}
