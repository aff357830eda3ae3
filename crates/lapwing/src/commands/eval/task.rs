//! `lapwing eval task`: how many items of a benchmark a model gets right.

use anyhow::Context as _;
use lapwing_eval::{
    GenerationOptions, Items, NamedText, ReadItemsError, Task, TaskOptions, TaskReport, TextFile,
    begin_token, run_task,
};
use lapwing_logits::Level;
use serde_json::{Value, json};

use super::measured::{Measured, Naming};
use crate::cli::{TaskArgs, TaskName};
use crate::exit::UsageError;
use crate::printer::Printer;
use crate::settings::Settings;

/// Examples before each question of GSM8K.
const N_EXAMPLES: usize = 8;
/// Tokens of an answer to a question of GSM8K: what lm-evaluation-harness allows.
const N_ANSWER_TOKENS_MAX: usize = 256;

pub(super) fn run(settings: &Settings, printer: &Printer, args: &TaskArgs) -> anyhow::Result<()> {
    const FAILED: &str = "cannot run the task";
    let task = task(args.task);
    refuse_what_has_no_effect(args, task)?;
    let data = Data::read(args).context(FAILED)?;
    let mut items = data.items(task).context(FAILED)?;
    items.truncate(args.limit.map_or(usize::MAX, usize::from));
    let measured = Measured::open(&args.measure, settings)?;
    let engine = &measured.engine;
    let tokenizer = engine.tokenizer().context(FAILED)?;
    let options = TaskOptions {
        level: Level::detect(),
        begin: begin_token(tokenizer).context(FAILED)?,
        correction: measured.correction.correction.clone(),
        generation: GenerationOptions {
            n_tokens_max: N_ANSWER_TOKENS_MAX,
            stop_ids: engine.folder.tokens.eos.clone(),
        },
    };
    let key = json!({
        "task": task.name(),
        "data": data.as_json(),
        "limit": args.limit,
        "stop_ids": options.generation.stop_ids,
    });
    let naming = Naming { failed: FAILED, steps: task.name(), value: "right" };
    let (found, kept) =
        measured.measure("task", key, &naming, printer, |journal, on_progress| {
            let model = &engine.model;
            run_task(task, model, tokenizer, &items, &options, Some(journal), on_progress)
        })?;
    if args.measure.json {
        let found = json!({
            "data": data.as_json(),
            "begin_token": options.begin,
            "limit": args.limit,
            "result": found,
        });
        printer.json(&measured.report("eval task", found)?)?;
    } else {
        print(&measured, &found, printer)?;
    }
    Ok(kept.remove()?)
}

fn print(measured: &Measured<'_>, found: &TaskReport, printer: &Printer) -> anyhow::Result<()> {
    let mut facts = measured.facts();
    facts.push(("task", format!("{}, {} items", found.task, found.n_items)));
    if let Some(examples) = &found.examples {
        facts.push(("examples", format!("{} before each", examples.n)));
    }
    if found.n_truncated != 0 {
        facts.push(("cut on the left", format!("{} items", found.n_truncated)));
    }
    for score in &found.scores {
        facts.push((score.name, super::with_error(score.value, score.standard_error, None)));
    }
    facts.push(("time", format!("{:.1} s", measured.wall_s())));
    Ok(printer.facts(&facts)?)
}

fn task(name: TaskName) -> Task {
    match name {
        TaskName::ArcChallenge => Task::ArcChallenge,
        TaskName::HellaSwag => Task::HellaSwag,
        TaskName::Piqa => Task::Piqa,
        TaskName::Lambada => Task::Lambada,
        TaskName::Gsm8k => Task::Gsm8k,
    }
}

/// A file that would not be read must not look as if it were.
fn refuse_what_has_no_effect(args: &TaskArgs, task: Task) -> Result<(), UsageError> {
    let given = [
        (
            args.labels.is_some() && task != Task::Piqa,
            "labels",
            "--labels is the file of answers of piqa",
        ),
        (
            args.examples.is_some() && task != Task::Gsm8k,
            "examples",
            "--examples is the file of worked answers of gsm8k",
        ),
    ];
    match given.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        None => Ok(()),
        Some((_, what, advice)) => Err(UsageError {
            problem: format!("{task} takes no {what}"),
            advice: Some(advice.to_owned()),
        }),
    }
}

/// The files of a task.
struct Data {
    data: TextFile,
    labels: Option<TextFile>,
    examples: Option<TextFile>,
}

impl Data {
    fn read(args: &TaskArgs) -> anyhow::Result<Data> {
        let read = |path: &Option<_>| path.as_deref().map(TextFile::read).transpose();
        Ok(Data {
            data: TextFile::read(&args.data)?,
            labels: read(&args.labels)?,
            examples: read(&args.examples)?,
        })
    }

    fn items(&self, task: Task) -> Result<Items, ReadItemsError> {
        let (labels, examples) = (self.labels.as_ref(), self.examples.as_ref());
        let of = |file: &TextFile| file.path.display().to_string();
        let (data_name, labels_name) = (of(&self.data), labels.map(of).unwrap_or_default());
        let examples_name = examples.map(of).unwrap_or_default();
        Items::read(
            task,
            NamedText { name: &data_name, text: &self.data.text },
            labels.map(|file| NamedText { name: &labels_name, text: &file.text }),
            examples.map(|file| NamedText { name: &examples_name, text: &file.text }),
            N_EXAMPLES,
        )
    }

    fn as_json(&self) -> Value {
        let one = TextFile::of_bytes;
        json!({
            "items": one(&self.data),
            "labels": self.labels.as_ref().map(one),
            "examples": self.examples.as_ref().map(one),
        })
    }
}
