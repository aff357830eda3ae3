use super::*;
use crate::mouth::Lines;

/// Everything that is said to requests that came at once.
fn answers(asks: Vec<(u64, Ask)>) -> Vec<(u64, Said)> {
    let held = crate::fake::embeds("fake-embeddings").unwrap();
    let (said, lines) = mpsc::channel();
    let mouth = Mouth::of(Lines(said));
    let (sender, turns) = mpsc::channel();
    for (number, ask) in asks {
        match held.read(number, ask) {
            Ok(turn) => sender.send(turn).unwrap(),
            Err(said) => mouth.say(number, true, &said),
        }
    }
    drop(sender);
    held.take_turns(turns, &mouth);
    drop(mouth);
    lines
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.trim().splitn(4, ' ').collect();
            assert_eq!(words[1], "last", "{line}");
            (words[2].parse().unwrap(), serde_json::from_str(words[3]).unwrap())
        })
        .collect()
}

fn embed(inputs: &[&str], normalise: bool, truncates: bool) -> Ask {
    let inputs = inputs.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect();
    Ask::Embed { inputs, normalise, truncates }
}

fn ids(ids: &[TokenId]) -> Ask {
    Ask::Embed { inputs: vec![EmbedInput::Ids(ids.to_vec())], normalise: false, truncates: true }
}

#[test]
fn a_vector_comes_for_each_input_in_order() {
    // Tokens are characters from the space on, and their rows the token and 1.
    let heard = answers(vec![(1, embed(&["!#", "$"], false, false)), (2, ids(&[3]))]);
    let embedded = |vectors: Vec<[f32; 2]>, n_tokens| Said::Embedded {
        vectors: vectors.iter().map(|vector| vector.to_vec()).collect(),
        n_tokens,
    };
    // The shorter request is not held up by the longer one.
    let first = (2, embedded(vec![[3.0, 1.0]], 1));
    assert_eq!(heard, [first, (1, embedded(vec![[2.0, 1.0], [4.0, 1.0]], 3))]);
    let heard = answers(vec![(1, embed(&["#"], true, false))]);
    let unit = [3.0, 1.0].map(|x| (x / 10_f64.sqrt()) as f32);
    assert_eq!(heard, [(1, embedded(vec![unit], 1))]);
    assert_eq!(answers(vec![(1, embed(&[], true, true))]), [(1, embedded(vec![], 0))]);
}

#[test]
fn what_is_too_long_is_refused_or_cut_and_tokens_are_of_the_vocabulary() {
    let long = "#".repeat(65);
    let check = |ask: Ask, kind: FailureKind, expected: &str| {
        let heard = answers(vec![(1, ask)]);
        let [(1, Said::Failed(failure))] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(expected), "{failure:?}");
    };
    let too_long = "65 tokens is too long: the model takes 64";
    check(embed(&["!", &long], true, false), FailureKind::TooLong, too_long);
    check(ids(&[3; 65]), FailureKind::TooLong, too_long);
    check(ids(&[3, 95]), FailureKind::Request, "token 95 is not in the vocabulary");
    check(ids(&[]), FailureKind::Request, "no tokens");
    check(Ask::List, FailureKind::Request, "holds a model already");
    let generate = serde_json::from_str(r#"{"generate": {"prompt": {"ids": [1]}}}"#).unwrap();
    check(generate, FailureKind::Request, "makes embeddings and no answers");
    let heard = answers(vec![(1, embed(&[&long], false, true))]);
    assert!(matches!(heard[..], [(1, Said::Embedded { n_tokens: 64, .. })]), "{heard:?}");
}

#[test]
fn a_request_can_be_given_up_and_the_others_go_on() {
    let heard = answers(vec![
        (1, embed(&["!", "#", "$"], true, true)),
        (2, embed(&["!"], true, true)),
        (3, Ask::Look),
        (4, Ask::Cancel(1)),
    ]);
    let [(3, Said::State(state)), (1, Said::Ended(ended)), (2, Said::Embedded { .. })] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((state.n_running, state.n_waiting), (1, 1));
    assert_eq!((ended.why, ended.n_prompt), (crate::message::Why::Cancelled, 3));
}
