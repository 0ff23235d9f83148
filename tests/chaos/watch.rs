//! The process table, looked at from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::evidence::{Evidence, Watched};
use crate::stand::SETPRIV;

/// Short beside an agent's life, long beside a look.
const LOOK: Duration = Duration::from_millis(40);

/// One living process of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    /// With the pid unique, in clock ticks since the start of the machine.
    pub(crate) started: u64,
    pub(crate) parent: i32,
    pub(crate) command: Vec<String>,
    /// The step that it is marked with.
    pub(crate) marker: Option<String>,
    /// A secret is in its environment or its arguments.
    leaks: bool,
}

impl Seen {
    pub(crate) fn is_server(&self) -> bool {
        self.command.get(1).is_some_and(|verb| verb == "serve")
    }

    /// Just becoming a server: the program that starts it, or its arguments are not all there yet.
    fn is_beginning(&self) -> bool {
        let whole = format!("{} serve", env!("CARGO_BIN_EXE_offshoot"));
        let command = self.command.join(" ");
        whole.starts_with(&command) || (command.starts_with(SETPRIV) && command.contains(&whole))
    }

    /// The step that it supervises.
    pub(crate) fn supervises(&self) -> Option<&str> {
        self.command.get(1).filter(|verb| *verb == "shim")?;
        self.command.last().map(String::as_str)
    }

    pub(crate) fn shown(&self) -> String {
        format!("{} {:?} {}", self.pid, self.marker, self.command.join(" "))
    }
}

/// Every living process with the directory in its environment, arguments or working directory.
pub(crate) fn look(dir: &Path, secrets: &[String]) -> Vec<Seen> {
    let own = std::process::id().cast_signed();
    let mark = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| look_at(pid, dir, &mark, secrets)).collect()
}

fn look_at(pid: i32, dir: &Path, mark: &str, secrets: &[String]) -> Option<Seen> {
    let read = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (before, environment, arguments) = (read("cmdline"), read("environ"), read("cmdline"));
    let is_inside =
        || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place: PathBuf| place.starts_with(dir));
    if !arguments.contains(mark) && !environment.contains(mark) && !is_inside() {
        return None;
    }
    let stat = read("stat");
    // behind the name, which may contain anything: proc(5)
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let marker = environment.split('\0').find_map(|pair| pair.strip_prefix("OFFSHOOT_STEP="));
    Some(Seen {
        pid,
        started: fields.get(19)?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        command: arguments.split_terminator('\0').map(str::to_owned).collect(),
        marker: marker.map(str::to_owned),
        // who was just becoming another program still had the environment of the one before
        leaks: before == arguments
            && secrets.iter().any(|secret| arguments.contains(secret) || environment.contains(secret)),
    })
}

/// Notes what two looks one after the other have shown: who was in both has lived all the time between them.
pub(crate) fn note(watched: &mut Watched, before: &[Seen], now: &[Seen]) {
    watched.looks += 1;
    let mut attempts: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
    let mut visited = BTreeSet::new();
    let lived = |seen: &&Seen| before.iter().any(|old| old.pid == seen.pid && old.started == seen.started);
    for seen in now.iter().filter(lived) {
        if let Some((job, attempt)) = seen.marker.as_deref().and_then(Evidence::marker) {
            attempts.entry(job).or_default().insert(attempt);
            // whoever has taken a job over has no slot
            if seen.marker.as_deref().is_some_and(|marker| marker.ends_with("-attached")) {
                visited.insert(job);
            }
        }
    }
    watched.most = watched.most.max(attempts.len() - visited.len());
    let twins = attempts.iter().filter(|(_, attempts)| attempts.len() > 1);
    watched.twins.extend(twins.map(|(job, attempts)| format!("job {job}: {attempts:?}")));
    // the server has its own secrets, and so has what it is just about to start
    let leaks = now.iter().filter(|seen| seen.leaks && !seen.is_server() && !seen.is_beginning());
    watched.leaks.extend(leaks.map(|seen| format!("shown to {}", seen.command.join(" "))));
}

/// Looks until told to stop.
pub(crate) async fn watch(
    dir: PathBuf,
    secrets: Vec<String>,
    watched: Arc<Mutex<Watched>>,
    stop: CancellationToken,
) {
    let mut before = Vec::new();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let (place, hidden) = (dir.clone(), secrets.clone());
        let now = tokio::task::spawn_blocking(move || look(&place, &hidden)).await.unwrap();
        note(&mut watched.lock().unwrap(), &before, &now);
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand::poll;

    fn seen(pid: i32, marker: &str) -> Seen {
        let command = vec!["sh".to_owned()];
        Seen { pid, started: 1, parent: 1, command, marker: Some(marker.to_owned()), leaks: false }
    }

    #[test]
    fn who_is_in_two_looks_lived_between_them() {
        let mut watched = Watched::default();
        let [one, two] = [seen(1, "x-1-1-agent-1"), seen(2, "x-2-1-agent-1")];
        note(&mut watched, std::slice::from_ref(&one), std::slice::from_ref(&two));
        assert_eq!(watched.most, 0, "one came when the other had gone");
        note(&mut watched, &[one.clone(), two.clone()], &[one, two]);
        assert_eq!((watched.most, watched.twins.len()), (2, 0));
    }

    #[test]
    fn who_works_by_hand_has_no_slot_and_is_no_part_of_the_next_attempt() {
        let mut watched = Watched::default();
        let by_hand = [seen(1, "x-1-1-attached"), seen(2, "x-2-1-agent-1")];
        note(&mut watched, &by_hand, &by_hand);
        assert_eq!((watched.most, watched.twins.len()), (1, 0));
        let beside = [seen(1, "x-1-1-attached"), seen(3, "x-1-2-verify-1")];
        note(&mut watched, &beside, &beside);
        assert_eq!(watched.twins.len(), 1);
    }

    #[test]
    fn two_attempts_and_a_secret_are_noted() {
        let mut watched = Watched::default();
        let both = [seen(1, "x-1-1-agent-1"), seen(2, "x-1-2-agent-1")];
        note(&mut watched, &both, &both);
        assert_eq!((watched.most, watched.twins.len(), watched.leaks.len()), (1, 1, 0));
        let told = Seen { leaks: true, ..seen(3, "x-1-1-agent-1") };
        note(&mut watched, &[], &[told]);
        assert_eq!(watched.leaks.len(), 1);
    }

    #[tokio::test]
    async fn a_process_of_the_directory_is_seen_with_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(dir.path())
            .envs([("OFFSHOOT_STEP", "x-7-2-agent-1"), ("TOLD", "sesame")])
            .spawn()
            .unwrap();
        // at first it may still be becoming what it is
        let is_it = |seen: &Seen| seen.leaks && seen.marker.as_deref() == Some("x-7-2-agent-1");
        let seen = poll(Duration::from_secs(10), async || {
            look(dir.path(), &["sesame".to_owned()]).iter().any(is_it).then_some(())
        });
        let seen = seen.await;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.is_some());
    }
}
