//! The questions of the tasks, read from the text of their files.
//!
//! Prompts follow lm-evaluation-harness (`lm_eval/tasks/{arc,hellaswag,piqa,lambada,gsm8k}`):
//!
//! | task | context | continuations |
//! |---|---|---|
//! | ARC-Challenge | `Question: {question}\nAnswer:` | ` {option}` |
//! | HellaSwag | the context, cleaned | ` {ending}`, cleaned |
//! | PIQA | `Question: {goal}\nAnswer:` | ` {sol1}`, ` {sol2}` |
//! | LAMBADA | all but the last word | ` {last word}` |
//! | GSM8K | `Question: {question}\nAnswer:` | generated |
//!
//! HellaSwag files of six lines an item hold the context with its activity as one line, so the
//! harness's capital letter at the second part of a context cannot be made here.
//!
//! To add a task: a variant of [`Task`], its format here, its scores in the module that runs it.

mod lines;

use serde::{Deserialize, Serialize};

use super::Task;
use lines::{bad_line, json_lines, require_count, shorten};

/// Lines of one item in a HellaSwag file: context, right ending, four endings.
const N_HELLASWAG_LINES: usize = 6;

/// The text of a file and how to call it in errors.
#[derive(Clone, Copy, Debug)]
pub struct NamedText<'a> {
    /// The file's name.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// The items of one task.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// One of several continuations is right.
    Choices(Vec<Choice>),
    /// One continuation is right.
    LastWords(Vec<LastWord>),
    /// An answer is generated.
    Questions(Questions),
}

/// A context and its continuations.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What the file calls the item.
    pub id: Option<String>,
    /// What stands before every continuation.
    pub context: String,
    /// The continuations, without the space between.
    pub continuations: Vec<String>,
    /// Which one is right.
    pub gold: usize,
}

/// A passage and the word it ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct LastWord {
    /// All but the last word.
    pub context: String,
    /// The last word, without the space before it.
    pub word: String,
}

/// Questions to answer, and some with their answers to show how.
#[derive(Clone, Debug, PartialEq)]
pub struct Questions {
    /// Shown before every question.
    pub examples: Vec<Question>,
    /// Where the examples come from.
    pub examples_from: ExamplesFrom,
    /// To be answered.
    pub questions: Vec<Question>,
}

/// Where the examples before a question come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExamplesFrom {
    /// From the start of a file of examples.
    ExamplesFile,
    /// The first items of the file of questions; these are not evaluated.
    FirstItemsNotEvaluated,
}

/// A question with its worked answer, which ends in `#### {number}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// A file of items that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadItemsError {
    /// A line is not as it has to be.
    #[error("line {line} of {file}: expected {expected}, found {found}")]
    Line {
        file: String,
        /// The line, from 1.
        line: usize,
        expected: &'static str,
        found: String,
    },
    /// There is nothing to evaluate.
    #[error("{file} holds {n_items} items: expected at least {n_items_min}")]
    TooFew { file: String, n_items: usize, n_items_min: usize },
    /// Items and labels do not fit together.
    #[error("{labels} holds {n_labels} labels: expected {n_items}, one for each item of {file}")]
    LabelCount { file: String, labels: String, n_labels: usize, n_items: usize },
    /// The task keeps its labels apart.
    #[error("{file} holds no labels: expected a second file with one a line")]
    NoLabels { file: String },
}

impl Items {
    /// Read the items of `task`.
    ///
    /// `labels` is the second file of PIQA. `examples` is a file of questions with answers for
    /// GSM8K, of which the first `n_examples` are shown; without it the first items of `file` are.
    ///
    /// # Errors
    ///
    /// The first line that is not as it has to be; too few items; labels that do not fit.
    pub fn read(
        task: Task,
        file: NamedText<'_>,
        labels: Option<NamedText<'_>>,
        examples: Option<NamedText<'_>>,
        n_examples: usize,
    ) -> Result<Items, ReadItemsError> {
        match task {
            Task::ArcChallenge => arc(file).map(Items::Choices),
            Task::HellaSwag => hellaswag(file).map(Items::Choices),
            Task::Piqa => piqa(file, labels).map(Items::Choices),
            Task::Lambada => lambada(file).map(Items::LastWords),
            Task::Gsm8k => gsm8k(file, examples, n_examples).map(Items::Questions),
        }
    }

    /// How many are evaluated.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Items::Choices(items) => items.len(),
            Items::LastWords(items) => items.len(),
            Items::Questions(items) => items.questions.len(),
        }
    }

    /// Whether there is nothing to evaluate; never after [`Items::read`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keep only the first `n` that are evaluated.
    pub fn truncate(&mut self, n: usize) {
        match self {
            Items::Choices(items) => items.truncate(n),
            Items::LastWords(items) => items.truncate(n),
            Items::Questions(items) => items.questions.truncate(n),
        }
    }
}

#[derive(Deserialize)]
struct ArcLine {
    id: Option<String>,
    question: String,
    options: Vec<ArcOption>,
    answer: String,
}

#[derive(Deserialize)]
struct ArcOption {
    label: String,
    text: String,
}

fn arc(file: NamedText<'_>) -> Result<Vec<Choice>, ReadItemsError> {
    const EXPECTED: &str = "JSON with question, options [{label, text}] and answer";
    let lines: Vec<(usize, ArcLine)> = json_lines(file, EXPECTED)?;
    let item = |(line, item): (usize, ArcLine)| {
        let gold = item.options.iter().position(|option| option.label == item.answer);
        let found = || format!("answer {:?} of {} options", item.answer, item.options.len());
        let expected = "the label of one of at least two options";
        let gold = gold.filter(|_| 2 <= item.options.len());
        let gold = gold.ok_or_else(|| bad_line(file, line, expected, found()))?;
        let context = question_context(&item.question);
        let continuations = item.options.into_iter().map(|option| option.text).collect();
        require_text(file, line, Choice { id: item.id, context, continuations, gold })
    };
    let items = lines.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    require_count(file, items, 1)
}

fn hellaswag(file: NamedText<'_>) -> Result<Vec<Choice>, ReadItemsError> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut items = Vec::new();
    for (item_idx, item) in lines.chunks(N_HELLASWAG_LINES).enumerate() {
        let line = item_idx * N_HELLASWAG_LINES + 1;
        let [context, gold, endings @ ..] = item else {
            let found = format!("{} of them", item.len());
            return Err(bad_line(file, line, "six lines from here on", found));
        };
        if endings.len() != N_HELLASWAG_LINES - 2 {
            let found = format!("{} of them", item.len());
            return Err(bad_line(file, line, "six lines from here on", found));
        }
        let right = gold.trim().parse().ok().filter(|&right: &usize| right < endings.len());
        let expected = "the right ending's place from 0 to 3";
        let gold = right.ok_or_else(|| bad_line(file, line + 1, expected, shorten(gold)))?;
        let continuations = endings.iter().map(|ending| clean(ending)).collect();
        let choice = Choice { id: None, context: clean(context), continuations, gold };
        items.push(require_text(file, line, choice)?);
    }
    require_count(file, items, 1)
}

#[derive(Deserialize)]
struct PiqaLine {
    goal: String,
    sol1: String,
    sol2: String,
}

fn piqa(file: NamedText<'_>, labels: Option<NamedText<'_>>) -> Result<Vec<Choice>, ReadItemsError> {
    let labels = labels.ok_or_else(|| ReadItemsError::NoLabels { file: file.name.to_owned() })?;
    let lines: Vec<(usize, PiqaLine)> = json_lines(file, "JSON with goal, sol1 and sol2")?;
    let mut golds = Vec::new();
    for (line_idx, label) in labels.text.lines().enumerate() {
        match label.trim() {
            "0" => golds.push(0),
            "1" => golds.push(1),
            _ => return Err(bad_line(labels, line_idx + 1, "0 or 1", shorten(label))),
        }
    }
    if golds.len() != lines.len() {
        return Err(ReadItemsError::LabelCount {
            file: file.name.to_owned(),
            labels: labels.name.to_owned(),
            n_labels: golds.len(),
            n_items: lines.len(),
        });
    }
    let item = |((line, item), gold): ((usize, PiqaLine), usize)| {
        let context = question_context(&item.goal);
        let continuations = vec![item.sol1, item.sol2];
        require_text(file, line, Choice { id: None, context, continuations, gold })
    };
    let items = lines.into_iter().zip(golds).map(item).collect::<Result<Vec<_>, _>>()?;
    require_count(file, items, 1)
}

#[derive(Deserialize)]
struct LambadaLine {
    text: String,
}

fn lambada(file: NamedText<'_>) -> Result<Vec<LastWord>, ReadItemsError> {
    let lines: Vec<(usize, LambadaLine)> = json_lines(file, "JSON with text")?;
    let item = |(line, item): (usize, LambadaLine)| match item.text.rsplit_once(' ') {
        Some((context, word)) if !context.trim().is_empty() && !word.is_empty() => {
            Ok(LastWord { context: context.to_owned(), word: word.to_owned() })
        }
        _ => {
            let expected = "a text that ends in a space and a word";
            Err(bad_line(file, line, expected, shorten(&item.text)))
        }
    };
    let items = lines.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    require_count(file, items, 1)
}

fn gsm8k(
    file: NamedText<'_>,
    examples: Option<NamedText<'_>>,
    n_examples: usize,
) -> Result<Questions, ReadItemsError> {
    let mut questions = questions(file)?;
    let (examples, examples_from) = match examples {
        Some(examples) => {
            let mut found = require_count(examples, self::questions(examples)?, n_examples)?;
            found.truncate(n_examples);
            (found, ExamplesFrom::ExamplesFile)
        }
        None => {
            questions = require_count(file, questions, n_examples + 1)?;
            let rest = questions.split_off(n_examples);
            (std::mem::replace(&mut questions, rest), ExamplesFrom::FirstItemsNotEvaluated)
        }
    };
    let questions = require_count(file, questions, 1)?;
    Ok(Questions { examples, examples_from, questions })
}

fn questions(file: NamedText<'_>) -> Result<Vec<Question>, ReadItemsError> {
    let lines: Vec<(usize, Question)> = json_lines(file, "JSON with question and answer")?;
    let item = |(line, item): (usize, Question)| match item.answer.contains("#### ") {
        true => Ok(item),
        false => {
            let expected = "an answer with #### before its number";
            Err(bad_line(file, line, expected, shorten(&item.answer)))
        }
    };
    lines.into_iter().map(item).collect()
}

/// The context of ARC, PIQA and GSM8K.
pub(super) fn question_context(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// The harness's cleaning of HellaSwag: brackets are left over from where the texts come from.
fn clean(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        let Some(n_inside) = rest[open..].find(']') else { break };
        cleaned.push_str(&rest[..open]);
        rest = &rest[open + n_inside + 1..];
    }
    cleaned.push_str(rest);
    cleaned.replace("  ", " ")
}

/// A continuation without a character has no length to divide by.
fn require_text(
    file: NamedText<'_>,
    line: usize,
    choice: Choice,
) -> Result<Choice, ReadItemsError> {
    match choice.continuations.iter().position(|text| text.trim().is_empty()) {
        Some(idx) => {
            let found = format!("nothing in continuation {idx}");
            Err(bad_line(file, line, "continuations with text", found))
        }
        None => Ok(choice),
    }
}

#[cfg(test)]
mod tests;
