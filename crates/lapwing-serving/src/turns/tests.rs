//! Turns over the model without files, whose answer is the characters that follow.

use std::collections::BTreeMap;

use super::*;
use lapwing_backend::DeviceRequest;

use crate::message::{Prompt, Sampling};

const OPTIONS: TurnsOptions = TurnsOptions { n_sequences_max: 4, n_kept_bytes_max: 1 << 30 };

fn wanted(number: u64, prompt: &str, n_tokens_max: usize) -> Wanted {
    let ids = prompt.bytes().map(|byte| u32::from(byte - b' ')).collect();
    let generate = Generate {
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        n_tokens_max: Some(n_tokens_max),
        client: number,
        ..Generate::new(Prompt::Ids(Vec::new()))
    };
    Wanted {
        number,
        generate,
        ids,
        tools: None,
        constraint: None,
        is_text: false,
        arrived: Instant::now(),
    }
}

/// What was said, by request and in order.
#[derive(Default)]
struct Heard {
    order: Vec<(u64, &'static str)>,
    texts: BTreeMap<u64, String>,
    ends: BTreeMap<u64, Result<Ended, Failure>>,
}

impl Heard {
    fn hear(&mut self, number: u64, is_last: bool, said: Said) {
        let what = match said {
            Said::Piece(piece) => {
                for part in piece.parts {
                    if let ReplyEvent::Content(text) = part {
                        self.texts.entry(number).or_default().push_str(&text);
                    }
                }
                "token"
            }
            Said::Reading { .. } => "reading",
            Said::Ended(ended) => {
                assert!(is_last);
                assert!(self.ends.insert(number, Ok(*ended)).is_none(), "it ends once");
                "end"
            }
            Said::Failed(failure) => {
                assert!(self.ends.insert(number, Err(failure)).is_none(), "it ends once");
                "end"
            }
            other => panic!("{other:?}"),
        };
        self.order.push((number, what));
    }

    fn why(&self, number: u64) -> Why {
        self.ends[&number].as_ref().expect("it was answered").why
    }
}

fn run(turns: &mut Turns<'_>, heard: &mut Heard) {
    while !turns.is_idle() {
        turns.round(&mut |_| true, &mut |number, is_last, said| heard.hear(number, is_last, said));
    }
}

fn fake() -> Served {
    crate::fake::named("fake", DeviceRequest::Auto).expect("it is one")
}

/// The same, but that its steps go one after the other.
fn alone() -> Served {
    let Served { tokenizer, .. } = fake();
    let model = lapwing_backend::FakeModel::new(95, 4096, true);
    Served::fake(std::sync::Arc::new(model), tokenizer.expect("it has one"), None)
}

#[test]
fn answers_side_by_side_are_those_that_each_gives_alone() {
    for served in [fake(), alone()] {
        let mut turns = Turns::new(&served, OPTIONS);
        let mut heard = Heard::default();
        for (number, prompt) in (1..).zip(["abc", "x", "123", "A", "late"]) {
            turns.want(wanted(number, prompt, 3));
        }
        run(&mut turns, &mut heard);
        let texts: Vec<&str> = heard.texts.values().map(String::as_str).collect();
        assert_eq!(texts, ["def", "yz{", "456", "BCD", "fgh"]);
        assert!((1..=5).all(|number| heard.why(number) == Why::Length));
        let state = turns.state();
        assert_eq!((state.n_running, state.n_waiting, state.n_tokens), (0, 0, 15));
        assert!(state.n_kept <= OPTIONS.n_sequences_max);
    }
}

#[test]
fn clients_get_turns_in_turn_whoever_asks_for_more() {
    let served = alone();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    for number in 1..=3 {
        let mut greedy = wanted(number, "a", 30);
        greedy.generate.client = 1;
        turns.want(greedy);
    }
    turns.want(wanted(4, "b", 30));
    run(&mut turns, &mut heard);
    let until_4_ends: Vec<u64> = heard
        .order
        .iter()
        .take_while(|said| **said != (4, "end"))
        .filter(|(_, what)| *what == "token")
        .map(|(number, _)| *number)
        .collect();
    let of_greedy = until_4_ends.iter().filter(|number| **number != 4).count();
    assert!((25..=35).contains(&of_greedy), "{of_greedy} beside 30");
}

#[test]
fn a_long_prompt_is_read_in_parts_between_the_tokens_of_others() {
    let served = fake();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    turns.want(wanted(1, "a", 50));
    turns.round(&mut |_| true, &mut |n, l, s| heard.hear(n, l, s));
    turns.want(wanted(2, &"b".repeat(1000), 2));
    run(&mut turns, &mut heard);
    let read: Vec<_> = heard.order.iter().filter(|said| **said == (2, "reading")).collect();
    assert_eq!(read.len(), 3, "256, 512, 768 of 1000");
    let first = heard.order.iter().position(|said| *said == (2, "reading")).expect("it is read");
    let last = heard.order.iter().position(|said| *said == (2, "token")).expect("it is answered");
    let between = heard.order[first..last].iter().filter(|said| **said == (1, "token")).count();
    assert!(3 <= between, "{between} tokens while the prompt was read");
}

#[test]
fn what_is_given_up_ends_wherever_it_is() {
    let served = fake();
    let options = TurnsOptions { n_sequences_max: 1, ..OPTIONS };
    let mut turns = Turns::new(&served, options);
    let mut heard = Heard::default();
    turns.want(wanted(1, "a", 1000));
    turns.want(wanted(2, "b", 5));
    for _ in 0..3 {
        turns.round(&mut |_| true, &mut |n, l, s| heard.hear(n, l, s));
    }
    turns.cancel(2, &mut |n, l, s| heard.hear(n, l, s));
    turns.cancel(1, &mut |n, l, s| heard.hear(n, l, s));
    turns.cancel(1, &mut |_, _, said| panic!("it has ended: {said:?}"));
    assert!(turns.is_idle());
    assert_eq!((heard.why(1), heard.why(2)), (Why::Cancelled, Why::Cancelled));
    assert!(heard.ends[&1].as_ref().is_ok_and(|ended| ended.n_tokens < 5));
    // A prompt that is given up while it is read ends there.
    turns.want(wanted(3, &"b".repeat(1000), 5));
    turns.round(&mut |_| true, &mut |n, l, s| heard.hear(n, l, s));
    turns.cancel(3, &mut |n, l, s| heard.hear(n, l, s));
    assert_eq!(heard.why(3), Why::Cancelled);
    assert!(turns.is_idle());
}

#[test]
fn a_prompt_that_begins_like_a_kept_sequence_reads_only_the_rest() {
    let served = fake();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    let check = |turns: &mut Turns<'_>, heard: &mut Heard, number, prompt: &str, expected| {
        turns.want(wanted(number, prompt, 2));
        run(turns, heard);
        let ended = heard.ends[&number].as_ref().expect("it was answered");
        assert_eq!(ended.n_reused, expected, "{prompt}");
    };
    let (mut one, mut two) = ("first talk".to_owned(), "second one".to_owned());
    check(&mut turns, &mut heard, 1, &one, 0);
    check(&mut turns, &mut heard, 2, &two, 0);
    // The answer's last token was never stepped.
    one.push_str("lm, and on");
    check(&mut turns, &mut heard, 3, &one, "first talkl".len());
    two.push_str("fg, and on");
    check(&mut turns, &mut heard, 4, &two, "second onef".len());
    check(&mut turns, &mut heard, 5, "something else", 0);
    check(&mut turns, &mut heard, 6, &one, one.len() - 1);
}

#[test]
fn a_sequence_that_cannot_go_back_hides_none_that_can_go_on() {
    let Served { tokenizer, .. } = fake();
    let model = lapwing_backend::FakeModel::new(95, 4096, false);
    let served = Served::fake(std::sync::Arc::new(model), tokenizer.expect("it has one"), None);
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    // The second knows more of the third prompt, and more than it: an answer of its own.
    for (number, prompt, reads_anew, expected) in [
        (1, "first talk", false, 0),
        (2, "first talkl, and on", true, 0),
        (3, "first talkl, and on", false, "first talkl".len()),
    ] {
        let mut next = wanted(number, prompt, 2);
        next.generate.reads_anew = reads_anew;
        turns.want(next);
        run(&mut turns, &mut heard);
        let ended = heard.ends[&number].as_ref().expect("it was answered");
        assert_eq!(ended.n_reused, expected, "{number}");
    }
    assert_eq!(heard.texts[&2], heard.texts[&3]);
}

#[test]
fn a_prompt_that_is_to_be_read_anew_is() {
    let served = fake();
    for n_sequences_max in [1, 4] {
        let mut turns = Turns::new(&served, TurnsOptions { n_sequences_max, ..OPTIONS });
        let mut heard = Heard::default();
        for (number, reads_anew, expected) in [(1, false, 0), (2, true, 0), (3, false, 3)] {
            let mut next = wanted(number, "talk", 2);
            next.generate.reads_anew = reads_anew;
            turns.want(next);
            run(&mut turns, &mut heard);
            let ended = heard.ends[&number].as_ref().expect("it was answered");
            assert_eq!(ended.n_reused, expected, "{number} of {n_sequences_max}");
        }
        assert!(turns.state().n_kept <= n_sequences_max);
    }
}

#[test]
fn a_seed_reuses_only_what_a_prompt_that_is_read_anew_would_give_again() {
    let served = fake();
    let long = "0123456789".repeat(60);
    let longer = format!("{long}{}", "abcdefghij".repeat(20));
    // Prompt, whether it has a seed, and what it may reuse: whole parts of prompts that were read from
    // the start, and of those only what was read as a prompt.
    let rounds: [(&str, bool, usize); 7] = [
        (&long[..300], true, 0),
        (&long[..300], true, 256),
        (&long[..300], false, 299),
        (&long, false, 300),
        // What stands behind the first part was read with other borders.
        (&long, true, 256),
        (&longer, true, 512),
        (&longer[..200], true, 0),
    ];
    let mut turns = Turns::new(&served, TurnsOptions { n_sequences_max: 1, ..OPTIONS });
    let mut heard = Heard::default();
    for (number, (prompt, has_seed, expected)) in (1..).zip(rounds) {
        let mut next = wanted(number, prompt, 2);
        next.generate.sampling.seed = has_seed.then_some(7);
        turns.want(next);
        run(&mut turns, &mut heard);
        let ended = heard.ends[&number].as_ref().expect("it was answered");
        assert_eq!(ended.n_reused, expected, "{number}");
    }
}

#[test]
fn an_answer_that_was_given_up_unread_leaves_what_is_kept_as_it_was() {
    let served = fake();
    let mut turns = Turns::new(&served, TurnsOptions { n_sequences_max: 1, ..OPTIONS });
    let mut heard = Heard::default();
    // All but the first characters is an answer, read token by token.
    turns.want(wanted(1, &"0123456789".repeat(10), 500));
    run(&mut turns, &mut heard);
    let known = format!("{}{}", "0123456789".repeat(10), heard.texts[&1]);
    turns.want(wanted(2, &format!("{known}and on"), 2));
    let say = &mut |number, is_last, said| heard.hear(number, is_last, said);
    turns.admit(say);
    turns.cancel(2, say);
    let mut next = wanted(3, &format!("{known}and on"), 2);
    next.generate.sampling.seed = Some(7);
    turns.want(next);
    run(&mut turns, &mut heard);
    assert_eq!(heard.ends[&3].as_ref().expect("it was answered").n_reused, 0);
}

#[test]
fn a_limit_of_none_reads_the_prompt_and_answers_nothing() {
    let served = fake();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    turns.want(wanted(1, "talk", 0));
    turns.want(wanted(2, "talk", 1));
    run(&mut turns, &mut heard);
    let ended = heard.ends[&1].as_ref().expect("it was answered");
    assert_eq!((ended.why, ended.n_tokens, ended.n_prompt), (Why::Length, 0, 4));
    assert_eq!((heard.texts.get(&1), heard.why(2)), (None, Why::Length));
}

#[test]
fn what_nobody_waits_for_waits() {
    let served = fake();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    let mut background = wanted(1, "a", 20);
    background.generate.is_background = true;
    turns.want(background);
    turns.round(&mut |_| true, &mut |n, l, s| heard.hear(n, l, s));
    turns.round(&mut |_| true, &mut |n, l, s| heard.hear(n, l, s));
    let n_before = heard.order.len();
    turns.want(wanted(2, "b", 10));
    run(&mut turns, &mut heard);
    let end = heard.order.iter().position(|said| *said == (2, "end")).expect("it ends");
    assert!(heard.order[n_before..end].iter().all(|(number, _)| *number == 2));
    assert_eq!(heard.why(1), Why::Length);
}

#[test]
fn a_prompt_beyond_the_context_is_refused_and_a_limit_beyond_it_is_cut() {
    let served = fake();
    let mut turns = Turns::new(&served, OPTIONS);
    let mut heard = Heard::default();
    turns.want(wanted(1, &"a".repeat(4097), 5));
    turns.want(wanted(2, &"a".repeat(4090), 500));
    run(&mut turns, &mut heard);
    let refused = heard.ends[&1].as_ref().expect_err("it is too long");
    assert_eq!(refused.kind, FailureKind::TooLong);
    let ended = heard.ends[&2].as_ref().expect("it fits");
    assert_eq!(ended.n_tokens, 7);
}
