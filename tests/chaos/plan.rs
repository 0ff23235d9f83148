//! What will be struck, all of it decided by one number.

use offshoot::failpoint::{Edge, Side};

/// A sequence of numbers that a seed decides (splitmix64, Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of world `index`: its own, whatever the others do.
    pub(crate) fn of_world(seed: u64, index: usize) -> Self {
        let mut dice = Self(seed ^ (index as u64 + 1).wrapping_mul(0xA24B_AED4_963E_E407));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap()].clone()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap();
            all.swap(end, other);
        }
    }
}

/// A named failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Point {
    pub(crate) edge: Edge,
    pub(crate) side: Side,
}

impl Point {
    pub(crate) fn all() -> Vec<Self> {
        Edge::ALL.iter().flat_map(|edge| Side::ALL.map(|side| Self { edge: *edge, side })).collect()
    }

    pub(crate) fn name(self) -> String {
        format!("{}.{}", self.edge.name(), self.side.name())
    }
}

/// What ends one life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Where it passes this failpoint for the so manieth time.
    At { point: Point, passing: u64 },
    /// So many milliseconds after it was started, ready or not.
    Random { after_ms: u64 },
    /// The supervisor of a running step so many milliseconds after the start, and the server a little later.
    Shim { after_ms: u64 },
    /// The agent alone, likewise.
    Agent { after_ms: u64 },
    /// SIGTERM, and SIGKILL while it ends.
    Ending { after_ms: u64 },
}

/// What makes a server pass an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Jobs of all kinds.
    Jobs,
    /// A repository that has no clone yet.
    NewRepository,
    /// A client that is registered, changed and deleted again.
    ClientOfAnHour,
    /// The same, with work that nobody published.
    UnpublishedWork,
    /// A client that is registered twice before it has a clone.
    KnownClient,
    /// A profile that is made, changed and deleted again.
    ProfileOfAnHour,
    /// A token that is made, used and revoked again.
    TokenOfAnHour,
    /// The switches of the queue.
    Switches,
    /// A clone that was tampered with.
    Tampering,
    /// A branch that is there already.
    TakenBranch,
    /// A branch that somebody else moves.
    MovedBranch,
    /// A branch that somebody else moves in the same place.
    TornBranch,
    /// An agent that is cut off and goes on.
    CutOff,
    /// An agent that goes on and does not know its conversation any more.
    LostConversation,
    /// A conversation that is forgotten by hand.
    EndedConversation,
    /// Reviewers that the forge refuses, and labels.
    Decoration,
    /// A pull request.
    PullRequest,
    /// An agent that is told something while it works.
    Words,
    /// A job that is taken over by hand.
    Visit,
    /// A report that is kept, and taken over by a retry.
    Artifacts,
    /// An agent that hangs until it is cancelled.
    Cancel,
    /// A callback that is sent again.
    Redelivery,
    /// An address that takes callbacks again.
    Resume,
    /// A supervisor that is killed.
    LostShim,
    /// A backup.
    Backup,
    /// A clone that is damaged when the next job comes.
    Damage,
    /// A clone that nobody uses, with many loose objects.
    IdleClone,
    /// A job that ended so long ago that it is forgotten, and events of that time.
    OldJob,
    /// Files of the owner and a command before the agent.
    SetUp,
    /// A command that looks at the work of an agent.
    Verification,
    /// More agents than may run, for long enough to be counted.
    Crowd,
    /// SIGTERM.
    Term,
    /// SIGTERM to a server that takes its agents along.
    TermWithAgents,
}

/// By which calls, jobs and signals an edge is reached; all that is not named comes with jobs of all kinds.
pub(crate) fn need(edge: Edge) -> Need {
    match edge {
        Edge::LayOutClone | Edge::SettleClone | Edge::CreateClient => Need::NewRepository,
        Edge::UpdateClient
        | Edge::DeleteClient
        | Edge::RemoveClone
        | Edge::DeleteClone
        | Edge::ForgetClone => Need::ClientOfAnHour,
        Edge::Bundle => Need::UnpublishedWork,
        Edge::KeepAnswer => Need::KnownClient,
        Edge::CreateProfile | Edge::UpdateProfile | Edge::DeleteProfile => Need::ProfileOfAnHour,
        Edge::CreateToken | Edge::RevokeToken | Edge::NoteTokenUse | Edge::WriteAudit => Need::TokenOfAnHour,
        Edge::PauseQueue | Edge::ResumeQueue | Edge::TryNow => Need::Switches,
        Edge::PauseClient | Edge::RepairClone => Need::Tampering,
        Edge::RecordBranch => Need::TakenBranch,
        Edge::ReplayCommits => Need::MovedBranch,
        Edge::StartOver => Need::TornBranch,
        Edge::RestoreFiles => Need::CutOff,
        Edge::ForgetSession => Need::LostConversation,
        Edge::DeleteSession => Need::EndedConversation,
        Edge::AddWarning | Edge::AddLabels | Edge::RequestReviewers => Need::Decoration,
        Edge::OpenPullRequest => Need::PullRequest,
        Edge::RequestCancel | Edge::AskCancel => Need::Cancel,
        Edge::SayToAgent => Need::Words,
        Edge::Attach | Edge::ProlongVisit | Edge::HandBack | Edge::EndVisits | Edge::EndVisit => Need::Visit,
        Edge::CopyOut | Edge::RecordArtifacts | Edge::TakeOverArtifacts => Need::Artifacts,
        Edge::Redeliver => Need::Redelivery,
        Edge::ResumeUrl => Need::Resume,
        Edge::EndLostTree => Need::LostShim,
        Edge::Drain | Edge::StopOperations | Edge::StopLoops | Edge::NoteStop => Need::Term,
        Edge::BackUp => Need::Backup,
        Edge::SetCloneAside | Edge::CarryOver => Need::Damage,
        Edge::PackClone | Edge::SweepLeftovers => Need::IdleClone,
        Edge::ForgetOutput
        | Edge::DeleteOutput
        | Edge::BeginForgetting
        | Edge::ForgetArtifacts
        | Edge::DeleteArtifacts
        | Edge::ForgetMessages
        | Edge::ForgetJobs
        | Edge::ForgetEvents
        | Edge::ForgetAudit => Need::OldJob,
        Edge::CopyIn => Need::SetUp,
        Edge::RecordVerification => Need::Verification,
        Edge::AskStop => Need::TermWithAgents,
        _ => Need::Jobs,
    }
}

/// Edges that a life passes many times: which passing is struck makes a difference.
fn passings(edge: Edge) -> u64 {
    match edge {
        Edge::RecordEffects => 8,
        Edge::ReachPhase | Edge::AddMessage | Edge::RecordFetch => 5,
        Edge::Submit | Edge::Claim | Edge::Finish | Edge::RecordTry | Edge::Ingest | Edge::SendCallback => 4,
        Edge::Fetch | Edge::Push | Edge::RegisterWorktree | Edge::RenameWorktree | Edge::SpawnShim => 3,
        _ => 1,
    }
}

/// What one run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How often every failpoint is struck.
    pub(crate) each: usize,
    /// Kills at random moments.
    pub(crate) random: usize,
    /// Installations under fire at the same time.
    pub(crate) at_once: usize,
    /// Only this world, to look at it again.
    pub(crate) only: Option<usize>,
    /// Only failpoints whose name begins like this.
    pub(crate) named: String,
    /// The directories of the worlds stay.
    pub(crate) keep: bool,
}

/// Lives of one world: enough to meet what earlier ones left, few enough to be looked at closely in a moment.
const LIVES: usize = 24;

impl Plan {
    /// The strikes of every world, in their order.
    pub(crate) fn worlds(&self) -> Vec<Vec<Strike>> {
        let mut dice = Dice::new(self.seed);
        let mut strikes = Vec::new();
        for point in Point::all().into_iter().filter(|point| point.name().starts_with(&self.named)) {
            for round in 0..self.each as u64 {
                let passing = if round == 0 { 1 } else { 1 + dice.below(passings(point.edge)) };
                strikes.push(Strike::At { point, passing });
            }
        }
        for _ in 0..self.random {
            let after_ms = dice.below(1_500);
            strikes.push(match dice.below(10) {
                0 | 1 => Strike::Shim { after_ms },
                2 => Strike::Agent { after_ms },
                3 => Strike::Ending { after_ms },
                _ => Strike::Random { after_ms },
            });
        }
        dice.shuffle(&mut strikes);
        let count = strikes.len().div_ceil(LIVES);
        (0..count).map(|first| strikes.iter().copied().skip(first).step_by(count).collect()).collect()
    }
}
