//! One thread of a team in a run.

use std::marker::PhantomData;
use std::ops::Range;

use crate::meeting::Meeting;

/// What a phase of a run writes; everything else may be read in it.
///
/// Boards have a class, a number below 32, and a phase names the classes whose boards it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    written: u32,
}

impl Phase {
    /// A phase that writes boards of these classes.
    ///
    /// # Panics
    ///
    /// When a class is not below 32.
    pub fn writing(classes: &[u8]) -> Self {
        let bit = |written, &class| {
            assert!(class < 32, "classes of boards are below 32, not {class}");
            written | (1u32 << class)
        };
        Self { written: classes.iter().fold(0, bit) }
    }

    pub(crate) fn writes(self, class: u8) -> bool {
        self.written & 1 << class != 0
    }
}

/// A thread of a team in a run, with what it may do in the present phase.
///
/// It cannot leave its thread, and what it borrowed of boards ends at the next meeting.
#[derive(Debug)]
pub struct Member<'run> {
    idx: usize,
    n_members: usize,
    team_id: u64,
    /// The number of the run's first phase among all of the team's.
    first_phase: u64,
    phases: &'run [Phase],
    phase_idx: usize,
    meeting: &'run Meeting,
    /// Neither sent nor shared.
    alone: PhantomData<*const ()>,
}

/// Ends the work of a member whose team has lost another one. Nobody sees it.
pub(crate) struct LeftAlone;

impl<'run> Member<'run> {
    pub(crate) fn new(
        idx: usize,
        n_members: usize,
        team_id: u64,
        first_phase: u64,
        phases: &'run [Phase],
        meeting: &'run Meeting,
    ) -> Self {
        let alone = PhantomData;
        Self { idx, n_members, team_id, first_phase, phases, phase_idx: 0, meeting, alone }
    }

    /// Which member this is; the caller of a run is 0.
    pub fn idx(&self) -> usize {
        self.idx
    }

    /// How many members work.
    pub fn n_members(&self) -> usize {
        self.n_members
    }

    /// Wait for all the others, and begin the next phase.
    ///
    /// # Panics
    ///
    /// When there is no further phase. A member that waits for one that panicked ends too, without
    /// a message of its own.
    pub fn meet(&mut self) {
        assert!(
            self.phase_idx + 1 < self.phases.len(),
            "the run has {} phases, and no meeting behind the last",
            self.phases.len()
        );
        if self.meeting.meet(self.phase_idx).is_err() {
            std::panic::resume_unwind(Box::new(LeftAlone));
        }
        self.phase_idx += 1;
    }

    /// This member's part of `n` pieces of work, next to each other: the same for everybody, and
    /// sizes that differ by at most one.
    pub fn share(&self, n: usize) -> Range<usize> {
        let border = |idx: usize| n * idx / self.n_members;
        border(self.idx)..border(self.idx + 1)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phases[self.phase_idx]
    }

    /// The number of the present phase, which no other phase of the team ever has.
    pub(crate) fn phase_number(&self) -> u64 {
        self.first_phase + self.phase_idx as u64
    }

    pub(crate) fn team_id(&self) -> u64 {
        self.team_id
    }

    pub(crate) fn is_in_last_phase(&self) -> bool {
        self.phase_idx + 1 == self.phases.len()
    }
}
