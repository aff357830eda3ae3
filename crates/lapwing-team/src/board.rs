//! A buffer that the members of a team write in parts and read whole.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::meeting::Padded;
use crate::{Member, Team};

/// A buffer that the members of one team write in parts in one phase of a run, and read in another.
///
/// It consists of units of equal length. Which class it has, and so which phases may write it, never
/// changes; how long a unit is may change between runs.
///
/// Why no two threads ever hold the same entry while one may write it:
/// * a [`Member`] belongs to one run of one team, and a team has one run at a time;
/// * all members of a run have the same phases, and nobody is in two of them at once: what was
///   borrowed with a member is given back before its [`Member::meet`], as the borrow checker sees to;
/// * in a phase that writes a board nobody reads it, and in any other phase nobody writes it;
/// * a part is a member's own share, which it gets once in a phase, or a unit from a counter that
///   gives each number once in a phase; a phase's first part decides which of both.
#[derive(Debug)]
pub struct Board<T> {
    team_id: u64,
    class: u8,
    entries: Box<[UnsafeCell<T>]>,
    unit: usize,
    n_units: usize,
    /// For each member the number of the phase, from 1 on, in which it had its share last.
    had_share: Box<[Padded<AtomicU64>]>,
    /// In the upper bits the number of a phase, from 1 on; in the lower ones how many units were taken.
    taken: Padded<AtomicU64>,
}

/// Bits of [`Board::taken`] for units.
const UNIT_BITS: u32 = 20;

/// Phases that can be told apart.
pub(crate) const N_PHASES_MAX: u64 = 1 << (64 - UNIT_BITS);

// SAFETY: entries are reached through `&self` in parts only that the rules above keep apart.
unsafe impl<T: Send + Sync> Sync for Board<T> {}

impl<T: Copy + Default> Board<T> {
    /// A board of a class, for `n_max` entries, with no units yet.
    pub fn new(team: &Team, class: u8, n_max: usize) -> Self {
        Self {
            team_id: team.id(),
            class,
            entries: (0..n_max).map(|_| UnsafeCell::new(T::default())).collect(),
            unit: 1,
            n_units: 0,
            had_share: (0..team.n_members()).map(|_| Padded::default()).collect(),
            taken: Padded::default(),
        }
    }

    /// How the entries are used from now on: `n_units` of `unit` each.
    ///
    /// # Panics
    ///
    /// When that is more than there is, or units are empty.
    pub fn shape(&mut self, unit: usize, n_units: usize) {
        let n = unit.checked_mul(n_units);
        assert!(
            unit > 0 && n_units < SHARED as usize && n.is_some_and(|n| n <= self.entries.len()),
            "{n_units} units of {unit} on a board of {}",
            self.entries.len()
        );
        (self.unit, self.n_units) = (unit, n_units);
    }

    /// The entries that are in use, outside of a run.
    pub fn entries_mut(&mut self) -> &mut [T] {
        let n = self.unit * self.n_units;
        // SAFETY: `&mut self` is the only way to the entries, which are as many.
        unsafe { std::slice::from_raw_parts_mut(self.entries.as_mut_ptr().cast(), n) }
    }

    /// The entries that are in use.
    ///
    /// # Panics
    ///
    /// When the member is not of this board's team, or this phase writes the board.
    pub fn read<'a>(&'a self, member: &'a Member<'_>) -> &'a [T] {
        self.check_team(member);
        assert!(!member.phase().writes(self.class), "a board that this phase writes is read");
        let n = self.unit * self.n_units;
        // SAFETY: there are as many entries, and nobody writes any before the member's meeting.
        unsafe { std::slice::from_raw_parts(self.entries.as_ptr().cast(), n) }
    }

    /// The member's own share, as units and as their entries: to be written.
    ///
    /// # Panics
    ///
    /// When the member is not of this board's team, this phase does not write the board, or its
    /// units are taken one by one in this phase, or the member had its share already.
    #[allow(clippy::mut_from_ref, reason = "that is what a board is for")]
    pub fn share<'a>(&'a self, member: &'a Member<'_>) -> (Range<usize>, &'a mut [T]) {
        let phase = self.check_write(member);
        let had = &self.had_share[member.idx()].0;
        assert!(had.load(Ordering::Relaxed) != phase, "a member takes its share twice");
        had.store(phase, Ordering::Relaxed);
        // Whoever shares says so where those look who take, and the other way round.
        let shared = phase << UNIT_BITS | SHARED;
        let before = self.taken.0.load(Ordering::Relaxed);
        assert!(
            before == shared
                || before >> UNIT_BITS != phase && self.announce(before, shared) == shared,
            "a board's units are taken one by one, and shared in the same phase"
        );
        let units = member.share(self.n_units);
        let entries = self.unit * units.start..self.unit * units.end;
        // SAFETY: shares of different members have no entry in common, this member has its own
        // for the first time in this phase, and nobody takes or reads units in it.
        (units, unsafe { self.part(entries) })
    }

    /// The next unit that nobody has, to be written; `None` when all were taken.
    ///
    /// # Panics
    ///
    /// When the member is not of this board's team, this phase does not write the board, or the
    /// board is shared in this phase.
    #[allow(clippy::mut_from_ref, reason = "that is what a board is for")]
    pub fn take<'a>(&'a self, member: &'a Member<'_>) -> Option<(usize, &'a mut [T])> {
        let phase = self.check_write(member);
        let mut before = self.taken.0.load(Ordering::Relaxed);
        let unit_idx = loop {
            let (of, n) = (before >> UNIT_BITS, before & SHARED);
            assert!(of != phase || n != SHARED, "a board is shared, and taken in the same phase");
            let n_taken = if of == phase { n } else { 0 };
            if n_taken >= self.n_units as u64 {
                return None;
            }
            let after = phase << UNIT_BITS | (n_taken + 1);
            match self.taken.0.compare_exchange_weak(
                before,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break usize::try_from(n_taken).expect("below the number of units"),
                Err(now) => before = now,
            }
        };
        let entries = self.unit * unit_idx..self.unit * (unit_idx + 1);
        // SAFETY: the counter gave this unit to nobody else in this phase, and in it nobody
        // shares or reads the board.
        Some((unit_idx, unsafe { self.part(entries) }))
    }

    /// Write `after` over what `taken` was before; what stands there then.
    fn announce(&self, before: u64, after: u64) -> u64 {
        let order = Ordering::Relaxed;
        match self.taken.0.compare_exchange(before, after, order, order) {
            Ok(_) => after,
            Err(now) => now,
        }
    }

    fn check_team(&self, member: &Member<'_>) {
        assert_eq!(self.team_id, member.team_id(), "a board of another team");
    }

    /// The number of the phase, from 1 on.
    fn check_write(&self, member: &Member<'_>) -> u64 {
        self.check_team(member);
        assert!(member.phase().writes(self.class), "a board is written that this phase only reads");
        member.phase_number() + 1
    }

    /// # Safety
    ///
    /// Nobody else has any of these entries as long as the part is there.
    #[allow(clippy::mut_from_ref, reason = "that is what a board is for")]
    unsafe fn part(&self, entries: Range<usize>) -> &mut [T] {
        let cells = &self.entries[entries];
        // SAFETY: the cells are entries side by side, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }
}

/// In the lower bits of [`Board::taken`]: the board is shared in this phase.
const SHARED: u64 = (1 << UNIT_BITS) - 1;
