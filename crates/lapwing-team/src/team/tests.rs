use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::Board;

fn team(n_members: usize) -> Team {
    Team::new(n_members, &Placement::default()).unwrap()
}

const A: u8 = 0;
const B: u8 = 1;

/// Phases that write the one board and read the other, in turn.
fn back_and_forth(n: usize) -> Vec<Phase> {
    (0..n).map(|idx| Phase::writing(&[if idx % 2 == 0 { A } else { B }])).collect()
}

#[test]
fn what_one_phase_writes_the_next_reads() {
    for n_members in 1..=4 {
        let mut team = team(n_members);
        let (mut a, mut b) = (Board::<u64>::new(&team, A, 70), Board::<u64>::new(&team, B, 70));
        for (unit, n_units) in [(1, 70), (10, 7), (35, 2), (3, 1)] {
            a.shape(unit, n_units);
            b.shape(unit, n_units);
            a.entries_mut().fill(0);
            b.entries_mut().fill(1);
            let n_phases = if cfg!(miri) { 6 } else { 200 };
            team.run(&back_and_forth(n_phases), |member| {
                for phase_idx in 0..n_phases {
                    let (from, to) = if phase_idx % 2 == 0 { (&b, &a) } else { (&a, &b) };
                    let sum: u64 = from.read(member).iter().sum();
                    if phase_idx % 3 == 0 {
                        to.share(member).1.fill(sum % 1009);
                    } else {
                        while let Some((unit_idx, entries)) = to.take(member) {
                            entries.fill((sum + unit_idx as u64) % 1009);
                        }
                    }
                    if phase_idx + 1 < n_phases {
                        member.meet();
                    }
                }
            })
            .unwrap();
            // The same by one thread.
            let mut rows = [vec![0; unit * n_units], vec![1; unit * n_units]];
            for phase_idx in 0..n_phases {
                let sum: u64 = rows[1 - phase_idx % 2].iter().sum();
                for (idx, entry) in rows[phase_idx % 2].iter_mut().enumerate() {
                    let more = if phase_idx % 3 == 0 { 0 } else { (idx / unit) as u64 };
                    *entry = (sum + more) % 1009;
                }
            }
            assert_eq!(a.entries_mut(), rows[0], "{n_members} members, {n_units} units of {unit}");
            assert_eq!(b.entries_mut(), rows[1], "{n_members} members, {n_units} units of {unit}");
        }
    }
}

#[test]
fn shares_are_everything_once() {
    let mut team = team(3);
    let seen: Vec<_> = (0..10).map(|_| AtomicUsize::new(0)).collect();
    for n in 0..10 {
        team.run(&[Phase::default()], |member| {
            for idx in member.share(n) {
                seen[idx].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
    }
    let seen: Vec<_> = seen.into_iter().map(AtomicUsize::into_inner).collect();
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

/// A member that panics ends the run with what it said, the others go home, and the next run is
/// a run like any other.
#[test]
fn a_member_that_panics_ends_the_run_with_an_error() {
    for n_members in [1, 2, 4] {
        let mut team = team(n_members);
        for who in 0..n_members {
            let error = team
                .run(&back_and_forth(3), |member| {
                    member.meet();
                    assert!(member.idx() != who, "number {who} gives up");
                    member.meet();
                })
                .unwrap_err();
            assert!(error.to_string().contains(&format!("number {who} gives up")), "{error}");
            team.run(&back_and_forth(2), |member| member.meet()).unwrap();
        }
    }
}

#[test]
fn a_member_that_ends_too_early_ends_the_run_with_an_error() {
    let mut team = team(2);
    let error = team
        .run(&back_and_forth(2), |member| {
            if member.idx() == 0 {
                member.meet();
            }
        })
        .unwrap_err();
    assert!(error.to_string().contains("ended before the last phase"), "{error}");
}

#[test]
fn a_team_that_sleeps_wakes_and_ends() {
    let mut team = team(3);
    for _ in 0..3 {
        std::thread::sleep(5 * AWAKE + Duration::from_millis(1));
        team.run(&back_and_forth(2), |member| member.meet()).unwrap();
    }
    std::thread::sleep(5 * AWAKE + Duration::from_millis(1));
    drop(team);
}

/// What must not be possible is a panic, and so an error of the run.
fn check_refused(expected: &str, work: impl Fn(&mut Member<'_>, &Board<u8>) + Sync) {
    let mut team = team(2);
    let mut board = Board::new(&team, A, 4);
    board.shape(1, 4);
    let error = team.run(&back_and_forth(2), |member| work(member, &board)).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_board_is_not_read_where_it_is_written() {
    check_refused("is read", |member, board| {
        board.read(member);
    });
    check_refused("only reads", |member, board| {
        member.meet();
        board.share(member);
    });
    check_refused("only reads", |member, board| {
        member.meet();
        board.take(member);
    });
}

#[test]
fn a_part_is_handed_out_once() {
    check_refused("takes its share twice", |member, board| {
        board.share(member);
        board.share(member);
    });
    check_refused("in the same phase", |member, board| {
        board.take(member);
        board.share(member);
    });
    check_refused("in the same phase", |member, board| {
        board.share(member);
        board.take(member);
    });
    let mut strangers = team(2);
    let mut board = Board::<u8>::new(&team(2), A, 4);
    board.shape(1, 4);
    let error = strangers
        .run(&back_and_forth(1), |member| {
            board.share(member);
        })
        .unwrap_err();
    assert!(error.to_string().contains("another team"), "{error}");
}

#[test]
#[should_panic(expected = "3 units of 2 on a board of 5")]
fn a_board_holds_what_it_was_made_for() {
    Board::<u8>::new(&team(1), A, 5).shape(2, 3);
}
