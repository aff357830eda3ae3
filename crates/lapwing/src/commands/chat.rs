//! `lapwing chat`: a conversation on the terminal.
//!
//! On a pipe each line of stdin is one message and only the answers are printed.
//!
//! On a terminal Ctrl-C stops an answer and never ends the program, however often it is pressed: that
//! would be the end of the conversation. What was asked and what was answered until then stay part
//! of it. SIGTERM and SIGHUP, which a terminal that is closed sends, stop the answer and then end the
//! program. On a pipe nobody is there to go on: Ctrl-C always ends it.

mod line;
mod pipe;
mod terminal;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use lapwing_host::Engine;
use lapwing_host::conversation::{self, Conversation};
use lapwing_host::correction::Resolved;
use lapwing_host::sampling;
use lapwing_runtime::{Finish, Generated, Request, Session};
use lapwing_text::ReplyFormat;

use self::line::{Line, Message};
use self::pipe::{LineError, Pipe};
use self::terminal::Terminal;
use crate::cli::ChatArgs;
use crate::commands::run;
use crate::hint;
use crate::interrupt::{self, Interrupted};
use crate::opening;
use crate::printer::Printer;
use crate::prompting;
use crate::settings::Settings;
use crate::shown_answer::ShownAnswer;

const HELP: &str = "\
/help           this text
/system TEXT    a new system message; the conversation starts anew
/undo           take back the last message with its answer
/reset          forget the conversation
/exit           end (also Ctrl-D)
A line that ends with \\ goes on; a message between two lines of \"\"\" may hold anything.
Ctrl-C stops an answer; what it said until then stays. Ctrl-\\ ends the program at once.";

/// Talk until the user leaves.
///
/// # Errors
///
/// When the model or the device cannot be used, or after Ctrl-C on a pipe. A message that cannot be answered is reported and the conversation goes on; on a pipe
/// the program then fails at the end.
pub fn run(settings: &Settings, printer: &Printer, args: &ChatArgs) -> anyhow::Result<()> {
    interrupt::install();
    let engine = opening::open(&args.model, settings)?;
    if engine.template.is_none() {
        printer.warning("the model has no chat template: each message is sent as it is");
    }
    let correction = opening::correction(&engine, settings)?;
    let mut chat = Chat::new(args, &engine, &correction, printer)?;
    if std::io::stdin().is_terminal() {
        let device = &engine.model.device_used().id;
        printer.note(format!("{} on {device}; /help for commands", args.model));
        let history = settings.home.cache().join("chat_history.txt");
        let mut lines = Terminal::open(history, printer)?;
        let ctrl_c = CtrlC::StopsTheAnswer;
        interrupt::only_stopping(|| talk(&mut chat, printer, ctrl_c, &mut || lines.message()))?;
        return Ok(());
    }
    let lines = Pipe::open();
    match talk(&mut chat, printer, CtrlC::EndsTheProgram, &mut || {
        Ok(lines.message()?.map(Message::unfenced))
    })? {
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

impl CtrlC {
    /// Between answers: whether to end the program. What was to stop an answer is forgotten.
    fn check(self) -> Result<(), Interrupted> {
        if self == CtrlC::StopsTheAnswer {
            interrupt::forget();
        }
        interrupt::check()
    }
}

/// Messages on a pipe that were not answered; each was reported when it failed.
#[derive(Debug, thiserror::Error)]
#[error("messages that were not answered: {n_failed}")]
struct UnansweredError {
    n_failed: usize,
}

/// Take messages from `next` until there are no more; gives the number of those that failed.
fn talk(
    chat: &mut Chat<'_>,
    printer: &Printer,
    ctrl_c: CtrlC,
    next: &mut dyn FnMut() -> anyhow::Result<Option<Message>>,
) -> anyhow::Result<usize> {
    let mut n_failed = 0;
    loop {
        ctrl_c.check()?;
        let message = match next() {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(n_failed),
            Err(error) if is_of_one_line(&error) => {
                n_failed += 1;
                printer.error(&error, None);
                continue;
            }
            Err(error) => return Err(error),
        };
        match message.meant() {
            Line::Empty => {}
            Line::Help => HELP.lines().for_each(|line| printer.note(line)),
            Line::Exit => return Ok(n_failed),
            Line::Undo => printer.note(match chat.conversation.undo() {
                true => "(the last message is taken back)",
                false => "(there is no message to take back)",
            }),
            Line::Reset => chat.conversation.reset(),
            Line::System(text) => chat.conversation.set_system(text),
            Line::Misspelled(word, command) => {
                n_failed += 1;
                printer.warning(format!(
                    "no command {word}: did you mean /{command}? With a space before it, it is a \
                     message"
                ));
            }
            Line::Message(message) => {
                if let Err(error) = answered(chat, message, printer, ctrl_c)? {
                    n_failed += 1;
                    printer.error(&error, hint::for_error(&error, None).as_deref());
                }
            }
        }
    }
}

fn is_of_one_line(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LineError>().is_some_and(LineError::is_of_one_line)
}

/// Answer `message`; why that failed is within the result, what ends the program its error.
fn answered(
    chat: &mut Chat<'_>,
    message: &str,
    printer: &Printer,
    ctrl_c: CtrlC,
) -> anyhow::Result<anyhow::Result<()>> {
    ctrl_c.check()?;
    let answered = chat.answer(message, printer);
    ctrl_c.check()?;
    match answered {
        // A closed stdout ends the program; anything else only this answer.
        Err(error) if error.is::<crate::printer::PrintError>() => Err(error),
        answered => Ok(answered),
    }
}

/// A conversation with a model.
struct Chat<'a> {
    args: &'a ChatArgs,
    engine: &'a Engine,
    session: Session,
    conversation: Conversation,
    /// How the model answers a prompt with the functions that it was told of.
    reply: ReplyFormat,
}

impl<'a> Chat<'a> {
    fn new(
        args: &'a ChatArgs,
        engine: &'a Engine,
        correction: &Resolved,
        printer: &Printer,
    ) -> anyhow::Result<Chat<'a>> {
        let session = engine.session(correction.correction.clone());
        let session = session.context("cannot start a session")?;
        let told = prompting::told(None, &args.template, engine.template.as_ref(), printer)?;
        let reply = engine.reply.with_tools(told.tools.as_deref().unwrap_or_default());
        let mut conversation = Conversation::new(told);
        if let Some(system) = &args.system {
            conversation.add("system", system);
        }
        Ok(Chat { args, engine, session, conversation, reply })
    }

    /// Answer `text`. A message that fails is forgotten; one whose answer was stopped stays, with as
    /// much of an answer as there was.
    fn answer(&mut self, text: &str, printer: &Printer) -> anyhow::Result<()> {
        self.conversation.add("user", text);
        let answered = self.generate(printer);
        match &answered {
            Ok(Generated { text, reasoning, tool_calls, .. }) => {
                let template = self.engine.template.as_ref();
                self.conversation.add_answer(template, text, reasoning, tool_calls);
            }
            Err(_) => self.conversation.take_back(),
        }
        answered.map(drop)
    }

    fn generate(&mut self, printer: &Printer) -> anyhow::Result<Generated> {
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
            reply: Some(&self.reply),
            ..self.engine.request(&prompt, &sampler, n_tokens_max)
        };
        let mut shown = ShownAnswer::new(printer);
        let generated = run::answer(self.engine, &mut self.session, &request, Some(&mut shown))?;
        shown.end_answer()?;
        match generated.finish {
            Finish::Cancelled => {
                printer.note("(stopped)");
                // Whoever stops so early may not have meant the message.
                if generated.usage.n_completion_tokens == 0 && std::io::stdin().is_terminal() {
                    printer.note("(no answer was begun; /undo takes the message back)");
                }
            }
            Finish::MaxTokens => {
                printer.note(run::stopped_at_limit(generated.usage.n_completion_tokens));
            }
            Finish::ContextFull { .. } => printer.note("(stopped: the context is full)"),
            Finish::StopToken { .. } | Finish::StopText { .. } | Finish::Complete => {}
        }
        Ok(generated)
    }
}
