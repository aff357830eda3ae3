//! What comes out: tokens, text, and why it ended.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

use std::path::Path;

use std::ops::ControlFlow;

use lapwing_logits::{Candidate, Details, SamplerOptions};
use lapwing_runtime::{Event, Finish, FinishReason, Generated, Request, generate};
use lapwing_text::{SpecialPieces, Tokenizer};

use crate::models::session;
use crate::{FUSE, LLAMA, request, run, tokenizer};

/// The fake model counts up: after token 1 come 2, 3, 4, ….
fn answer(request: &Request<'_>) -> Generated {
    run(&mut session(20, 100, true), request)
}

#[test]
fn ends_after_as_many_tokens_as_asked_for() {
    let generated = answer(&request(&[1, 2]));
    assert_eq!(generated.token_ids, [3, 4, 5, 6, 7]);
    assert_eq!(generated.finish, Finish::MaxTokens);
    assert_eq!(generated.finish.reason(), FinishReason::Length);
    assert_eq!(generated.usage.n_prompt_tokens, 2);
    assert_eq!(generated.usage.n_reused_tokens, 0);
    assert_eq!(generated.usage.n_completion_tokens, 5);
    let timings = generated.timings;
    assert!(timings.time_to_first_token.is_some());
    assert_eq!([timings.tokens.len(), timings.steps().len()], [5, 4]);
    assert_eq!(timings.tokens[0].step, timings.prefill);
}

#[test]
fn zero_tokens_only_read_the_prompt() {
    let generated = answer(&Request { n_tokens_max: 0, n_first_step_top: 1, ..request(&[1, 2]) });
    assert!(generated.token_ids.is_empty());
    assert_eq!(generated.finish, Finish::MaxTokens);
    assert_eq!(generated.timings.time_to_first_token, None);
    assert_eq!(generated.first_step_top, [Candidate { token_idx: 3, logit: 10.0 }]);
}

#[test]
fn any_of_the_stop_ids_ends_the_answer() {
    let check = |stop_ids: &[u32], ignore: bool, tokens: &[u32], finish: Finish| {
        let generated = answer(&Request { stop_ids, ignore_stop_ids: ignore, ..request(&[1]) });
        assert_eq!((generated.token_ids.as_slice(), generated.finish), (tokens, finish));
    };
    check(&[4], false, &[2, 3, 4], Finish::StopToken { token: 4 });
    check(&[9, 5, 3], false, &[2, 3], Finish::StopToken { token: 3 });
    check(&[9, 5, 3], true, &[2, 3, 4, 5, 6], Finish::MaxTokens);
    // The last token that is allowed still ends as a stop.
    check(&[6], false, &[2, 3, 4, 5, 6], Finish::StopToken { token: 6 });
    check(&[7], false, &[2, 3, 4, 5, 6], Finish::MaxTokens);
}

#[test]
fn a_stop_token_leaves_no_text() {
    let words = tokenizer(&["a", "b", "c", "d", "e"], FUSE);
    let generated = answer(&Request { tokenizer: Some(&words), stop_ids: &[3], ..request(&[0]) });
    assert_eq!((generated.text.as_str(), generated.token_ids.as_slice()), ("bc", &[1, 2, 3][..]));
}

#[test]
fn stop_strings_match_across_token_borders() {
    let words = tokenizer(&["a", "b", "x<", "/", "s>y", "c", "d"], FUSE);
    let check = |stops: &[&str], n_tokens_max: usize, text: &str, n_tokens: usize, stop: &str| {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let generated = answer(&Request {
            tokenizer: Some(&words),
            stop_texts: &stops,
            n_tokens_max,
            ..request(&[0])
        });
        let finish = match stop {
            "" => Finish::MaxTokens,
            text => Finish::StopText { text: text.to_owned() },
        };
        assert_eq!(generated.text, text, "{stops:?}");
        assert_eq!(generated.finish, finish, "{stops:?}");
        assert_eq!(generated.token_ids.len(), n_tokens, "{stops:?}");
    };
    check(&["</s>"], 6, "bx", 4, "</s>");
    check(&["</t>"], 6, "bx</s>ycd", 6, "");
    // Text held back for a stop string comes out when the answer ends before it.
    check(&["</s>"], 3, "bx</", 3, "");
    check(&["ycd!", "cd"], 6, "bx</s>y", 6, "cd");
    check(&["q", "b"], 6, "", 1, "b");
    // The string that ends exactly with the last token.
    check(&["</s>y"], 4, "bx", 4, "</s>y");
    // The shorter of two matches, when the answer ends before the longer one.
    check(&["/", "/s>yz"], 4, "bx<", 4, "/");
}

#[test]
fn the_answer_goes_on_where_the_text_of_the_prompt_ends() {
    let pieces = ["▁x", "<0x0A>", "▁Hi", "▁you", "<0xC3>", "<0xA9>", "!", "▁z"];
    let words = tokenizer(&pieces, LLAMA);
    let check = |prompt: &[u32], n_tokens_max: usize, text: &str| {
        let generated =
            answer(&Request { tokenizer: Some(&words), n_tokens_max, ..request(prompt) });
        assert_eq!(generated.text, text, "{prompt:?}");
    };
    // The space before the first word stays: it is not the beginning of a text.
    check(&[0, 1, 2], 1, " you");
    // A newline that the detokenizer still held at the prompt's end is not the answer's.
    check(&[0, 1], 2, " Hi you");
    // A code point begun in the prompt and ended in the answer.
    check(&[3, 4], 2, "é!");
    // A code point that never ends.
    check(&[2], 2, " you\u{fffd}");
}

/// Words `a`, `b`, `c`, the special token `<|end|>`, `d` and `e`.
fn words_with_end(decoder: &str) -> Tokenizer {
    let json = r#"{"version":"1.0","added_tokens":[{"id":3,"content":"<|end|>","single_word":false,
        "lstrip":false,"rstrip":false,"normalized":false,"special":true}],
        "decoder":DECODER,"model":{"type":"WordLevel","unk_token":"a",
        "vocab":{"a":0,"b":1,"c":2,"<|end|>":3,"de":4,"f":5}}}"#;
    let json = json.replace("DECODER", decoder);
    Tokenizer::from_bytes(json.as_bytes(), Path::new("made.json")).unwrap()
}

#[test]
fn a_stop_string_may_hold_a_special_token() {
    let byte_level = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
        "use_regex":false}"#;
    let suffixed = r#"{"type":"BPEDecoder","suffix":"</w>"}"#;
    for decoder in [FUSE, LLAMA, byte_level, suffixed] {
        let words = words_with_end(decoder);
        let check = |stop: &str, special: SpecialPieces, text: &str, n_tokens: usize| {
            let stops = ["no".to_owned(), stop.to_owned()];
            let generated = answer(&Request {
                tokenizer: Some(&words),
                stop_texts: &stops,
                special,
                ignore_stop_ids: true,
                ..request(&[0])
            });
            let ended = Finish::StopText { text: stop.to_owned() };
            assert_eq!(generated.text, text, "{stop} {decoder}");
            assert_eq!(generated.finish == ended, n_tokens < 5, "{stop} {:?}", generated.finish);
            let n_found = generated.token_ids.len();
            // That decoder holds back the last token.
            let n_late = usize::from(decoder == suffixed && n_tokens < 5 && n_found != n_tokens);
            assert_eq!(n_found, n_tokens + n_late, "{stop} {decoder}");
        };
        check("<|end|>", SpecialPieces::Skip, "bc", 3);
        check("<|end|>", SpecialPieces::Show, "bc", 3);
        // It is not there as text, and a text that only begins like it is none.
        check("<|end", SpecialPieces::Skip, "bcdef", 5);
        check("d", SpecialPieces::Skip, "bc", 4);
        for special in [SpecialPieces::Skip, SpecialPieces::Show] {
            check("<|end|>d", special, "bc", 4);
            check("<|end|>de", special, "bc", 4);
            check("c<|end|>", special, "b", 3);
            check("bc<|end|>d", special, "", 4);
        }
        // What began like a stop string is shown, and not the token in it.
        check("<|end|>f", SpecialPieces::Skip, "bcdef", 5);
        check("bc<|end|><|end|>", SpecialPieces::Skip, "bcdef", 5);
        // To a string without it it is not there.
        check("cd", SpecialPieces::Skip, "b", 4);
    }
}

#[test]
fn a_stop_string_may_end_with_the_stop_token() {
    let words = words_with_end(FUSE);
    let check = |stops: &[&str], text: &str, finish: Finish| {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        for special in [SpecialPieces::Skip, SpecialPieces::Show] {
            let generated = answer(&Request {
                tokenizer: Some(&words),
                stop_texts: &stops,
                stop_ids: &[3],
                special,
                ..request(&[0])
            });
            assert_eq!((generated.text.as_str(), &generated.finish), (text, &finish), "{stops:?}");
            assert_eq!(generated.token_ids, [1, 2, 3]);
        }
    };
    let ended = |text: &str| Finish::StopText { text: text.to_owned() };
    check(&["c<|end|>"], "b", ended("c<|end|>"));
    check(&["<|end|>"], "bc", ended("<|end|>"));
    check(&["<|end|>d", "cd"], "bc", Finish::StopToken { token: 3 });
}

#[test]
fn a_stop_string_in_byte_tokens_ends_the_answer() {
    let words = tokenizer(&["a", "Hi", "<0x0A>", "<0x0A>x", "b"], LLAMA);
    let stops = ["\n".to_owned()];
    let request = Request { tokenizer: Some(&words), stop_texts: &stops, ..request(&[0]) };
    let generated = answer(&request);
    assert_eq!((generated.text.as_str(), generated.token_ids.len()), ("Hi", 2));
}

#[test]
fn without_a_tokenizer_there_is_no_text() {
    let stops = ["a".to_owned()];
    let generated = answer(&Request { stop_texts: &stops, ..request(&[1]) });
    assert_eq!((generated.text.as_str(), generated.token_ids.len()), ("", 5));
}

#[test]
fn a_full_context_ends_the_answer() {
    let check = |n_positions_max: usize, tokens: &[u32], finish: Finish| {
        let generated = run(&mut session(20, n_positions_max, true), &request(&[1, 2, 3]));
        assert_eq!((generated.token_ids.as_slice(), &generated.finish), (tokens, &finish));
        assert_eq!(generated.finish.reason(), FinishReason::Length);
    };
    check(3, &[4], Finish::ContextFull { n_positions_max: 3 });
    check(5, &[4, 5, 6], Finish::ContextFull { n_positions_max: 5 });
    check(6, &[4, 5, 6, 7], Finish::ContextFull { n_positions_max: 6 });
    check(7, &[4, 5, 6, 7, 8], Finish::MaxTokens);
}

#[test]
fn the_caller_can_break_at_every_event() {
    for n_events in 1..=5 {
        let mut n_left = n_events;
        let mut session = session(20, 100, true);
        let generated = generate(&mut session, &request(&[1]), &mut |_| {
            n_left -= 1;
            if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(generated.token_ids.len(), n_events - 1);
        assert_eq!(generated.finish, Finish::Cancelled);
        assert_eq!(generated.finish.reason().name(), "cancelled");
        // The session goes on as if nothing had happened.
        assert_eq!(run(&mut session, &request(&[1])).token_ids, [2, 3, 4, 5, 6]);
    }
}

#[test]
fn breaking_at_the_last_event_does_not_undo_a_complete_answer() {
    let generated =
        generate(&mut session(20, 100, true), &request(&[1]), &mut |event| match event {
            Event::Token { token: 6, .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
    assert_eq!(generated.unwrap().finish, Finish::MaxTokens);
}

#[test]
fn the_first_row_is_reported_raw() {
    // The bias decides the token, not the report.
    let sampler = SamplerOptions { logit_bias: vec![(7, 90.0)], ..SamplerOptions::greedy() };
    let generated = answer(&Request { sampler: &sampler, n_first_step_top: 3, ..request(&[1, 4]) });
    assert_eq!(generated.token_ids[0], 7);
    let of = |token_idx, logit| Candidate { token_idx, logit };
    assert_eq!(generated.first_step_top, [of(5, 10.0), of(6, 5.0), of(0, 0.0)]);
}

#[test]
fn events_carry_details_when_asked() {
    let mut seen = Vec::new();
    let details = Details { log_probability: true, n_top: 2 };
    let asked = Request { details, n_tokens_max: 2, ..request(&[1]) };
    generate(&mut session(20, 100, true), &asked, &mut |event| {
        if let Event::Token { token, log_probability, top, .. } = event {
            seen.push((token, log_probability, top.to_vec()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    // Logits 10, 5 and eighteen times 0.
    let normaliser = (10f64.exp() + 5f64.exp() + 18.0).ln();
    for ((token, log_probability, top), expected) in seen.iter().zip([2u32, 3]) {
        assert_eq!(*token, expected);
        assert!((log_probability.unwrap() - (10.0 - normaliser)).abs() < 1e-6);
        assert_eq!(top.iter().map(|one| one.token).collect::<Vec<_>>(), [expected, expected + 1]);
        assert!((top[1].log_probability - (5.0 - normaliser)).abs() < 1e-6);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_seed_repeats_its_answer() {
    let answer = |seed: u64| {
        let sampler = SamplerOptions { temperature: 4.0, seed, ..SamplerOptions::greedy() };
        answer(&Request { sampler: &sampler, n_tokens_max: 30, ..request(&[1]) }).token_ids
    };
    assert_eq!(answer(5), answer(5));
    assert_ne!(answer(5), answer(6));
}

#[test]
fn penalties_see_the_prompt_and_the_answer() {
    let sampler = SamplerOptions { presence_penalty: 6.0, ..SamplerOptions::greedy() };
    let answer =
        |prompt: &[u32]| answer(&Request { sampler: &sampler, ..request(prompt) }).token_ids;
    // What the prompt had is no repetition to the presence penalty, as OpenAI defines it.
    assert_eq!(answer(&[2, 1]), [2, 3, 4, 5, 6]);
    assert_eq!(answer(&[1]), [2, 3, 4, 5, 6]);
    // It is one to the repeat penalty: after 1 the successor 2 has 10 / 3, and 3 has 5.
    let repeat = SamplerOptions { repeat_penalty: 3.0, ..SamplerOptions::greedy() };
    let repeated = Request { sampler: &repeat, n_tokens_max: 2, ..request(&[2, 1]) };
    assert_eq!(run(&mut session(20, 100, true), &repeated).token_ids, [3, 4]);
    // Token 7 always has 12, but 12 - 6 once the answer had it.
    let sampler = SamplerOptions { logit_bias: vec![(7, 12.0)], ..sampler.clone() };
    let biased = Request { sampler: &sampler, ..request(&[1]) };
    assert_eq!(run(&mut session(20, 100, true), &biased).token_ids, [7, 8, 9, 10, 11]);
}
