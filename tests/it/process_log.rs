//! The log of a real step: complete, bounded, resumable.

use std::os::unix::fs::MetadataExt;

use offshoot::process::{ExitCause, LogPosition, StepState, Stream, Tail, Tailed, inspect};

use crate::process_rig::{Rig, bytes_of, eventually, finish, follow, next, text_of, until_says};

#[tokio::test]
async fn a_reader_that_starts_anew_at_its_position_misses_and_repeats_nothing() {
    let rig = Rig::new();
    let (step, _) =
        rig.start(&rig.script("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")).await;
    let (mut records, mut position) = (Vec::new(), LogPosition::default());
    let last = 'steps: loop {
        let mut tail = Tail::open(&step, position);
        for _ in 0..37 {
            match next(&mut tail).await {
                Tailed::Record(record) => records.push(record),
                Tailed::Ended(state) => break 'steps state,
                other => panic!("{other:?}"),
            }
        }
        position = tail.position();
    };
    assert!(matches!(last, StepState::Exited(_)));
    assert!(records.iter().enumerate().all(|(index, record)| record.sequence == index as u64));
    let expected: String = (0..2000).map(|index| format!("line {index}\n")).collect();
    assert_eq!(text_of(&records, Stream::Stdout), expected);
    assert!(records.len() > 100, "restarted only {} times", records.len() / 37);
}

#[tokio::test]
async fn a_flood_keeps_its_beginning_and_its_end_and_says_where_it_was_cut() {
    let rig = Rig::new();
    let mut spec = rig.script(
        "echo begin; i=0; while [ $i -lt 40 ]; do head -c 1000000 /dev/zero | tr '\\0' x; i=$((i+1)); done; echo the result",
    );
    spec.output_bytes_max = 1 << 20;
    let (step, _, record) = rig.run(&spec).await;
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
    let (step, _) =
        rig.start(&rig.script("i=0; while [ $i -lt 40 ]; do echo $i; sleep 0.05; i=$((i+1)); done")).await;
    let mut tail = Tail::open(&step, LogPosition::default());
    let mut late_ms = Vec::new();
    loop {
        match next(&mut tail).await {
            Tailed::Record(record) => {
                late_ms.push(offshoot::clock::Clock::system().now_ms() - record.wall_ms)
            }
            Tailed::Ended(_) => break,
            other => panic!("{other:?}"),
        }
    }
    late_ms.sort_unstable();
    // By looks alone half of them would be about 500 ms late.
    assert!(late_ms[late_ms.len() / 2] < 250, "{late_ms:?}");
    assert_eq!(finish(&step).await.1.code, Some(0));
}
