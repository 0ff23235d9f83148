//! The log of a real step: complete, bounded, resumable.

use std::os::unix::fs::MetadataExt;

use offshoot::process::{ExitCause, LogPosition, StepState, Stream, Tail, Tailed, inspect};

use crate::process_rig::{Rig, bytes_of, eventually, finish, follow, next, text_of, until_says};

#[tokio::test]
async fn a_reader_that_starts_anew_at_its_position_misses_and_repeats_nothing() {
    let rig = Rig::new();
    let script = "i=0; while [ $i -lt 100 ]; do echo line $i; sleep 0.005; i=$((i+1)); done";
    let (step, _) = rig.start(&rig.script(script)).await;
    let (mut records, mut position) = (Vec::new(), LogPosition::default());
    let last = loop {
        let mut tail = Tail::open(&step, position);
        match next(&mut tail).await {
            Tailed::Record(record) => records.push(record),
            Tailed::Ended(state) => break state,
            other => panic!("{other:?}"),
        }
        position = tail.position();
    };
    assert!(matches!(last, StepState::Exited(_)));
    assert!(records.iter().enumerate().all(|(index, record)| record.sequence == index as u64));
    let expected: String = (0..100).map(|index| format!("line {index}\n")).collect();
    assert_eq!(text_of(&records, Stream::Stdout), expected);
    assert!(records.len() > 3, "{} records", records.len());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_that_finds_no_room_goes_on_when_there_is_room_again() {
    let rig = Rig::new();
    let script =
        "head -c 300000 /dev/zero; echo > written; while [ ! -e go ]; do sleep 0.05; done; echo after";
    let step = rig.step();
    let launched = rig.launcher.launch(&step, &rig.script(script)).await.unwrap();
    let pid = launched.identity().pid;
    limit_file_size(pid, 100_001);
    launched.release().await.unwrap();
    eventually("all is written", || rig.worktree().join("written").exists()).await;
    limit_file_size(pid, libc::RLIM_INFINITY);
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    let (records, record) = finish(&step).await;
    assert_eq!((record.cause, record.code, record.log_synced), (ExitCause::Exited, Some(0), true));
    let kept = bytes_of(&records, Stream::Stdout);
    assert!(kept.ends_with(b"\0after\n") || kept.ends_with(b"after\n"));
    assert!(record.dropped_bytes > 100_000, "{record:?}");
    assert_eq!(kept.len() as u64 + record.dropped_bytes, record.output_bytes);
    let told: u64 = records
        .iter()
        .filter(|record| record.stream == Stream::Gap)
        .map(|record| u64::from_le_bytes(record.payload[..8].try_into().unwrap()))
        .sum();
    assert_eq!(told, record.dropped_bytes);
}

/// A write beyond the limit is cut short and then fails, as on a full disk.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no wrapper for prlimit of another process")]
fn limit_file_size(pid: i32, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the new limit is a valid structure, the old one is not asked for.
    let answer = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

#[tokio::test]
async fn a_flood_keeps_its_beginning_and_its_end_and_says_where_it_was_cut() {
    let rig = Rig::new();
    let mut spec = rig.script(
        "echo begin; i=0; while [ $i -lt 40 ]; do head -c 1000000 /dev/zero | tr '\\0' x; i=$((i+1)); done; \
         echo > flooded; while [ ! -e go ]; do sleep 0.05; done; echo the result",
    );
    spec.output_bytes_max = 1 << 20;
    let (step, shim) = rig.start(&spec).await;
    eventually("all is written", || rig.worktree().join("flooded").exists()).await;
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kib < 32 << 10, "{peak_kib} KiB");
    }
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.code), (ExitCause::Exited, Some(0)));
    assert_eq!((record.output_bytes, record.dropped_bytes), (40_000_000 + 6 + 11, 0));
    let size = |name: &str| std::fs::metadata(step.dir().join(name)).unwrap().size();
    assert!(size("log") <= (1 << 20) + 100, "{}", size("log"));
    assert!(size("log.tail.0").max(size("log.tail.1")) <= 8 << 20);
    let (records, _) = follow(&step, LogPosition::default()).await;
    assert_eq!(records.iter().filter(|record| record.stream == Stream::Cut).count(), 1);
    let kept = text_of(&records, Stream::Stdout);
    assert!(kept.starts_with("begin\n") && kept.ends_with("xthe result\n"));
    assert!(kept.len() > 8 << 20, "{}", kept.len());
}

#[tokio::test]
async fn a_giant_line_and_bytes_that_are_no_text_come_back_as_they_were() {
    let rig = Rig::new();
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    std::fs::write(rig.worktree().join("giant"), &bytes).unwrap();
    let (_, records, _) = rig.run(&rig.script("cat giant; printf '\\377\\000\\n' >&2")).await;
    assert!(bytes_of(&records, Stream::Stdout) == bytes);
    assert_eq!(bytes_of(&records, Stream::Stderr), b"\xff\0\n");
}

#[tokio::test]
async fn what_was_written_just_before_the_end_is_there() {
    let rig = Rig::new();
    for _ in 0..10 {
        let (_, records, _) = rig.run(&rig.script("head -c 60000 /dev/zero; echo last >&2")).await;
        assert_eq!(bytes_of(&records, Stream::Stdout).len(), 60_000);
        assert_eq!(text_of(&records, Stream::Stderr), "last\n");
    }
}

#[tokio::test]
async fn the_torn_end_of_a_dead_shims_log_is_told_once() {
    let rig = Rig::new();
    let (step, shim) = rig.start(&rig.script("echo up; sleep 1000")).await;
    until_says(&step, "up").await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim.pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the shim is dead", || matches!(inspect(&step).unwrap(), StepState::Lost(_))).await;
    let mut bytes = std::fs::read(step.log()).unwrap();
    bytes.extend_from_slice(&[0; 4096]);
    std::fs::write(step.log(), bytes).unwrap();
    let mut tail = Tail::open(&step, LogPosition::default());
    let mut seen = Vec::new();
    while let Some(tailed) = tail.next().await.unwrap() {
        seen.push(tailed);
    }
    assert!(
        matches!(&seen[..], [Tailed::Record(_), Tailed::Record(up), Tailed::Torn, Tailed::Ended(StepState::Lost(_))] if up.payload == b"up\n"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn new_records_arrive_by_the_bell_long_before_the_fallback_look() {
    let rig = Rig::new();
    let (step, _) = rig
        .start(&rig.script("sleep 2; i=0; while [ $i -lt 40 ]; do echo $i; sleep 0.05; i=$((i+1)); done"))
        .await;
    let mut tail = Tail::open(&step, LogPosition::default());
    let mut late_ms = Vec::new();
    loop {
        match next(&mut tail).await {
            Tailed::Record(record) => {
                late_ms.push(offshoot::clock::Clock::system().now_ms() - record.wall_ms);
            }
            Tailed::Ended(_) => break,
            other => panic!("{other:?}"),
        }
    }
    late_ms.sort_unstable();
    // By looks alone half of them would be about 500 ms late; the pause at the beginning makes looks rare.
    assert!(late_ms[late_ms.len() / 2] < 400, "{late_ms:?}");
    assert_eq!(finish(&step).await.1.code, Some(0));
}

/// A disk of its own that is as good as full. Taken away when dropped.
#[cfg(target_os = "linux")]
struct TinyDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl TinyDisk {
    /// `None`, and said so, for users who may not mount: the file size limit above stands for a full disk then.
    fn mount(bytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir.path());
        mount.stderr(std::process::Stdio::null());
        let mounted = mount.status().ok().filter(std::process::ExitStatus::success).map(|_| Self(dir));
        if mounted.is_none() {
            crate::left_out::leave_out(crate::left_out::Need::Mount, "a step's log on a full disk");
        }
        mounted
    }
}

#[cfg(target_os = "linux")]
impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_full_disk_a_step_ends_with_its_record_and_says_what_it_lost() {
    for frees in [false, true] {
        let Some(disk) = TinyDisk::mount(1 << 20) else { return };
        let rig = Rig::new();
        let name = format!("test-{}-{}-agent-1", std::process::id(), u32::from(frees)).parse().unwrap();
        let place = disk.0.path().join("step");
        let step = offshoot::process::StepDir::new(&place, rig.worktree(), name).unwrap();
        let script =
            "head -c 3000000 /dev/zero; : > written; while [ ! -e go ]; do sleep 0.02; done; echo after";
        let launched = rig.launcher.launch(&step, &rig.script(script)).await.unwrap();
        let filler = disk.0.path().join("filler");
        std::fs::write(&filler, vec![7; 300_000]).unwrap();
        launched.release().await.unwrap();
        eventually("all is written", || rig.worktree().join("written").exists()).await;
        if frees {
            std::fs::remove_file(&filler).unwrap();
        } else {
            // to the last byte
            let mut rest = std::fs::File::create(disk.0.path().join("rest")).unwrap();
            while std::io::Write::write_all(&mut rest, &[7; 512]).is_ok() {}
        }
        std::fs::write(rig.worktree().join("go"), "").unwrap();
        let (records, record) = finish(&step).await;
        assert_eq!((record.cause, record.code, record.log_synced), (ExitCause::Exited, Some(0), true));
        assert!(record.dropped_bytes > 1_500_000, "{record:?}");
        let kept = bytes_of(&records, Stream::Stdout);
        assert_eq!(kept.len() as u64 + record.dropped_bytes, record.output_bytes);
        // on the full one a few bytes may still fit behind the last frame, in its block
        let told = records.iter().any(|record| record.stream == Stream::Gap);
        assert!(!frees || (told && kept.ends_with(b"after\n")), "{told}");
    }
}
