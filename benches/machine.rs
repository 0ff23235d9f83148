//! What this was measured on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Plan;

/// A directory in memory where there is one: on some disks making files after a removal is ten times slower than the work.
pub(crate) fn memory_dir() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

pub(crate) fn described(plan: &Plan) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!(
        "{cores} × {}, {} {}; database on {}; repositories on {}; load when it began {load}; {} rounds",
        processor(),
        std::env::consts::OS,
        release(),
        file_system(&plan.dir),
        file_system(&plan.git_dir),
        plan.rounds,
    )
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned())
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The kind of the file system, and of ext4 whether it keeps a journal, as far as the machine tells.
fn file_system(dir: &Path) -> String {
    let Ok(dir) = dir.canonicalize() else { return "unknown".to_owned() };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let found = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(place).then(|| (place.len(), device.to_owned(), kind.to_owned()))
    });
    let Some((_, device, kind)) = found.max() else { return "unknown".to_owned() };
    if kind != "ext4" {
        return kind;
    }
    let name = device.rsplit('/').next().unwrap_or_default();
    // its journal has a thread of the kernel, named after the device
    let mut threads = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let journal = format!("jbd2/{name}");
    let has_journal = threads.any(|entry| {
        fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.starts_with(&journal))
    });
    format!("ext4 {}", if has_journal { "with a journal" } else { "without a journal that shows" })
}
