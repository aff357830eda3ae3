//! Files of items that are right, and lines that are not.

use super::*;

fn named(text: &str) -> NamedText<'_> {
    NamedText { name: "items", text }
}

const ARC: &str = r#"{"id": "a", "question": "Which?", "options": [{"label": "1", "text": "x"}, {"label": "2", "text": "y z"}], "answer": "2"}"#;
const HELLASWAG: &str =
    "Roof: A man [is] sits. he\n3\none\ntwo [title] three\nfour\n five [x] six\n";
const GSM8K: &str = "{\"question\": \"a\", \"answer\": \"#### 1\"}\n{\"question\": \"b\", \
                     \"answer\": \"#### 2\"}\n";

#[test]
fn items_become_contexts_and_continuations() {
    let read = |task, text, labels| {
        Items::read(task, named(text), labels, None, 0).expect("they can be read")
    };
    let choice = |id: Option<&str>, context: &str, continuations: &[&str], gold| Choice {
        id: id.map(str::to_owned),
        context: context.to_owned(),
        continuations: continuations.iter().map(|&text| text.to_owned()).collect(),
        gold,
    };
    let expected = choice(Some("a"), "Question: Which?\nAnswer:", &["x", "y z"], 1);
    assert_eq!(read(Task::ArcChallenge, ARC, None), Items::Choices(vec![expected]));
    let endings = ["one", "two. three", "four", "five six"];
    let expected = choice(None, "Roof: A man sits. he", &endings, 3);
    assert_eq!(read(Task::HellaSwag, HELLASWAG, None), Items::Choices(vec![expected]));
    let piqa = r#"{"goal": "How?", "sol1": "so", "sol2": "or so "}"#;
    let expected = choice(None, "Question: How?\nAnswer:", &["so", "or so "], 1);
    let labels = Some(named("1\n"));
    assert_eq!(read(Task::Piqa, piqa, labels), Items::Choices(vec![expected]));
    let expected = LastWord { context: "the clear\n".to_owned(), word: "stone".to_owned() };
    let lambada = "\n{\"text\": \"the clear\\n stone\"}\n\n";
    assert_eq!(read(Task::Lambada, lambada, None), Items::LastWords(vec![expected]));
}

#[test]
fn examples_are_not_questions() {
    let question =
        |text: &str, n: u32| Question { question: text.to_owned(), answer: format!("#### {n}") };
    let read = |examples| Items::read(Task::Gsm8k, named(GSM8K), None, examples, 1);
    let expected = Questions {
        examples: vec![question("a", 1)],
        examples_from: ExamplesFrom::FirstItemsNotEvaluated,
        questions: vec![question("b", 2)],
    };
    assert_eq!(read(None), Ok(Items::Questions(expected)));
    let expected = Questions {
        examples: vec![question("a", 1)],
        examples_from: ExamplesFrom::ExamplesFile,
        questions: vec![question("a", 1), question("b", 2)],
    };
    assert_eq!(read(Some(named(GSM8K))), Ok(Items::Questions(expected)));
}

#[test]
fn bad_lines_are_named() {
    let check = |task, text: &str, labels, expected: &str| {
        let error = Items::read(task, named(text), labels, None, 2).expect_err(expected);
        assert!(error.to_string().starts_with(expected), "{error}\nexpected {expected}");
    };
    let arc = |text: &str, expected| check(Task::ArcChallenge, text, None, expected);
    arc("", "items holds 0 items: expected at least 1");
    arc(
        &format!("{ARC}\n\n{{\"question\":"),
        "line 3 of items: expected JSON with question, options [{label, text}] and answer, \
         found \"{\\\"question\\\":\" (EOF",
    );
    arc(
        &ARC.replace("\"answer\": \"2\"", "\"answer\": \"C\""),
        "line 1 of items: expected the label of one of at least two options, found answer \"C\"",
    );
    arc(
        &ARC.replace("y z", " "),
        "line 1 of items: expected continuations with text, found nothing in continuation 1",
    );
    let hellaswag = |text: &str, expected| check(Task::HellaSwag, text, None, expected);
    hellaswag(
        &format!("{HELLASWAG}{HELLASWAG}more\n"),
        "line 13 of items: expected six lines from here on, found 1 of them",
    );
    hellaswag(
        &HELLASWAG.replace('3', "4"),
        "line 2 of items: expected the right ending's place from 0 to 3, found \"4\"",
    );
    let piqa = "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}\n";
    check(Task::Piqa, piqa, None, "items holds no labels: expected a second file");
    let labels = |text| Some(NamedText { name: "labels", text });
    check(Task::Piqa, piqa, labels("2"), "line 1 of labels: expected 0 or 1, found \"2\"");
    check(
        Task::Piqa,
        piqa,
        labels("0\n1"),
        "labels holds 2 labels: expected 1, one for each item of items",
    );
    check(
        Task::Lambada,
        "{\"text\": \"word\"}",
        None,
        "line 1 of items: expected a text that ends in a space and a word, found \"word\"",
    );
    check(Task::Gsm8k, GSM8K, None, "items holds 2 items: expected at least 3");
    check(
        Task::Gsm8k,
        "{\"question\": \"a\", \"answer\": \"1\"}",
        None,
        "line 1 of items: expected an answer with #### before its number, found \"1\"",
    );
}
