//! `lapwing chat`: a conversation on the terminal.
//!
//! On a pipe each line of stdin is one message and only the answers are printed.
//!
//! On a terminal Ctrl-C stops an answer and not the program; while nothing is answered it ends the
//! program. On a pipe nobody is there to go on: Ctrl-C always ends it.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use lapwing_host::Engine;
use lapwing_host::conversation::{self, Conversation};
use lapwing_host::correction::Resolved;
use lapwing_host::sampling;
use lapwing_runtime::{Finish, Request, Session};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::cli::ChatArgs;
use crate::commands::run;
use crate::hint;
use crate::interrupt;
use crate::opening;
use crate::printer::Printer;
use crate::settings::Settings;

/// How often a Ctrl-C is looked for while a pipe is silent.
const POLL: Duration = Duration::from_millis(200);

const HELP: &str = "\
/help           this text
/system TEXT    a new system message; the conversation starts anew
/reset          forget the conversation
/exit           end (also Ctrl-D)
A line that ends with \\ goes on; a message between two lines of \"\"\" may hold anything.
Ctrl-C stops an answer.";

/// Talk until the user leaves.
///
/// # Errors
///
/// When the model or the device cannot be used, or after Ctrl-C on a pipe or while nothing is
/// answered. A message that cannot be answered is reported and the conversation goes on; on a pipe
/// the program then fails at the end.
pub fn run(settings: &Settings, printer: &Printer, args: &ChatArgs) -> anyhow::Result<()> {
    interrupt::install();
    let engine = opening::open(&args.model, settings)?;
    if engine.template.is_none() {
        printer.warning("the model has no chat template: each message is sent as it is");
    }
    let correction = opening::correction(&engine, settings)?;
    let mut chat = Chat::new(args, &engine, &correction)?;
    if std::io::stdin().is_terminal() {
        let device = &engine.model.device_used().id;
        printer.note(format!("{} on {device}; /help for commands", args.model));
        let history = settings.home.cache().join("chat_history.txt");
        let mut lines = Terminal::open(history)?;
        talk(&mut chat, printer, CtrlC::StopsTheAnswer, &mut || lines.message())?;
        return Ok(());
    }
    let lines = lines_of_stdin();
    match talk(&mut chat, printer, CtrlC::EndsTheProgram, &mut || next_line(&lines))? {
        0 => Ok(()),
        n_failed => Err(UnansweredError { n_failed }.into()),
    }
}

/// What Ctrl-C does during an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CtrlC {
    StopsTheAnswer,
    EndsTheProgram,
}

/// Messages on a pipe that were not answered; each was reported when it failed.
#[derive(Debug, thiserror::Error)]
#[error("messages that were not answered: {n_failed}")]
struct UnansweredError {
    n_failed: usize,
}

/// Read stdin on a thread of its own: a read that waits cannot be interrupted.
fn lines_of_stdin() -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let failed = line.is_err();
            // Nobody listens any more when the program is about to end.
            if sender.send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// The next line, or none at the end.
fn next_line(lines: &Receiver<std::io::Result<String>>) -> anyhow::Result<Option<String>> {
    loop {
        interrupt::check()?;
        match lines.recv_timeout(POLL) {
            Ok(line) => return Ok(Some(line.context("cannot read stdin")?)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Take messages from `next` until there are no more; gives the number of those that failed.
fn talk(
    chat: &mut Chat<'_>,
    printer: &Printer,
    ctrl_c: CtrlC,
    next: &mut dyn FnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<usize> {
    let mut n_failed = 0;
    loop {
        interrupt::check()?;
        let Some(message) = next()? else { return Ok(n_failed) };
        let message = message.trim();
        match message.split_once(' ').unwrap_or((message, "")) {
            ("", _) => {}
            ("/help", _) => printer.note(HELP),
            ("/exit" | "/quit" | "/bye", _) => return Ok(n_failed),
            ("/reset", _) => chat.conversation.reset(),
            ("/system", text) => chat.conversation.set_system(text.trim()),
            (command, _) if is_command(command) => {
                printer.warning(format!("no command {command}; /help lists them"));
            }
            _ => {
                let answered = chat.answer(message, printer);
                match ctrl_c {
                    // Whatever was asked for during the answer was about the answer.
                    CtrlC::StopsTheAnswer => interrupt::clear(),
                    CtrlC::EndsTheProgram => interrupt::check()?,
                }
                if let Err(error) = answered {
                    // A closed stdout ends the program; anything else only this answer.
                    if error.is::<crate::printer::PrintError>() {
                        return Err(error);
                    }
                    n_failed += 1;
                    printer.error(&error, hint::for_error(&error, None).as_deref());
                }
            }
        }
    }
}

/// `/word`, and not a path such as `/etc/hosts`.
fn is_command(word: &str) -> bool {
    word.strip_prefix('/').is_some_and(|name| name.chars().all(|c| c.is_ascii_alphabetic()))
}

/// A conversation with a model.
struct Chat<'a> {
    args: &'a ChatArgs,
    engine: &'a Engine,
    session: Session,
    conversation: Conversation,
}

impl<'a> Chat<'a> {
    fn new(
        args: &'a ChatArgs,
        engine: &'a Engine,
        correction: &Resolved,
    ) -> anyhow::Result<Chat<'a>> {
        let session = engine.session(correction.correction.clone());
        let session = session.context("cannot start a session")?;
        let mut conversation = Conversation::default();
        if let Some(system) = &args.system {
            conversation.add("system", system);
        }
        Ok(Chat { args, engine, session, conversation })
    }

    /// Answer `text`; what was not answered is forgotten.
    fn answer(&mut self, text: &str, printer: &Printer) -> anyhow::Result<()> {
        self.conversation.add("user", text);
        let answered = self.generate(printer);
        match &answered {
            Ok(answer) => self.conversation.add("assistant", answer),
            Err(_) => self.conversation.take_back(),
        }
        answered.map(drop)
    }

    fn generate(&mut self, printer: &Printer) -> anyhow::Result<String> {
        let n_tokens_max = self.args.sampling.n_tokens_max();
        let prompt = self.conversation.fitting_prompt(self.engine, n_tokens_max, &mut || {
            printer.note("(the oldest messages are forgotten: the context is full)");
        })?;
        conversation::check_length(self.engine, prompt.len()).context("cannot answer")?;
        let sampler =
            sampling::options(&self.args.sampling.request(), &self.engine.folder.generation);
        let request = Request {
            ignore_stop_ids: self.args.sampling.ignore_eos,
            stop_texts: &self.args.sampling.stop,
            ..self.engine.request(&prompt, &sampler, n_tokens_max)
        };
        let generated = run::answer(self.engine, &mut self.session, &request, Some(printer))?;
        printer.line("")?;
        match generated.finish {
            Finish::Cancelled => printer.note("(stopped)"),
            Finish::MaxTokens => {
                printer.note(run::stopped_at_limit(generated.usage.n_completion_tokens));
            }
            Finish::ContextFull { .. } => printer.note("(stopped: the context is full)"),
            Finish::StopToken { .. } | Finish::StopText { .. } => {}
        }
        Ok(generated.text)
    }
}

/// Messages from a person, with line editing and history.
struct Terminal {
    editor: DefaultEditor,
    history: std::path::PathBuf,
}

impl Terminal {
    fn open(history: std::path::PathBuf) -> anyhow::Result<Terminal> {
        let mut editor = DefaultEditor::new().context("cannot read from the terminal")?;
        // No history yet is no error.
        let _ = editor.load_history(&history);
        Ok(Terminal { editor, history })
    }

    /// One message, which may be several lines; `None` when the user leaves.
    fn message(&mut self) -> anyhow::Result<Option<String>> {
        let Some(mut text) = self.line("> ")? else { return Ok(None) };
        if text.trim() == "\"\"\"" {
            text.clear();
            while let Some(line) = self.line(". ")? {
                if line.trim() == "\"\"\"" {
                    break;
                }
                text.push_str(&line);
                text.push('\n');
            }
        }
        while let Some(stripped) = text.strip_suffix('\\') {
            let begun = format!("{stripped}\n");
            let Some(line) = self.line(". ")? else { return Ok(Some(begun)) };
            text = begun + &line;
        }
        if !text.trim().is_empty() {
            let _ = self.editor.add_history_entry(text.as_str());
            self.save_history();
        }
        Ok(Some(text))
    }

    fn line(&mut self, prompt: &str) -> anyhow::Result<Option<String>> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Some(line)),
            // At an empty prompt Ctrl-C is a wish to leave as much as Ctrl-D is.
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(None),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }

    /// A history that cannot be kept is no reason to disturb a conversation.
    fn save_history(&mut self) {
        if let Some(folder) = self.history.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = self.editor.save_history(&self.history);
    }
}

#[cfg(test)]
mod tests {
    use super::is_command;

    #[test]
    fn paths_are_messages_and_words_are_commands() {
        let check = |text, expected| assert_eq!(is_command(text), expected, "{text}");
        check("/reset", true);
        check("/nonsense", true);
        check("/etc/hosts", false);
        check("hello", false);
    }
}
