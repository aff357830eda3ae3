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
mod who;

use std::io::IsTerminal as _;

use lapwing_host::conversation::Conversation;
use lapwing_runtime::Finish;

use self::line::{Line, Message};
use self::pipe::{LineError, Pipe};
use self::terminal::Terminal;
use self::who::Who;
use crate::answer::Answer;
use crate::cli::ChatArgs;
use crate::commands::run;
use crate::daemon::Answering;
use crate::hint;
use crate::interrupt::{self, Interrupted};
use crate::printer::Printer;
use crate::prompting;
use crate::settings::Settings;

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
pub fn run(
    settings: &Settings,
    printer: &Printer,
    args: &ChatArgs,
    daemon: Option<&Answering>,
) -> anyhow::Result<()> {
    interrupt::install();
    let mut chat = Chat::new(args, Who::of(args, settings, daemon)?, printer)?;
    if std::io::stdin().is_terminal() {
        printer.note(format!("{} on {}; /help for commands", args.model(), chat.who.place()));
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
    who: Who<'a>,
    conversation: Conversation,
}

impl<'a> Chat<'a> {
    fn new(args: &'a ChatArgs, mut who: Who<'a>, printer: &Printer) -> anyhow::Result<Chat<'a>> {
        if who.template().is_none() {
            printer.warning("the model has no chat template: each message is sent as it is");
        }
        let told = prompting::told(None, &args.template, who.template(), printer)?;
        who.begin(&told)?;
        let mut conversation = Conversation::new(told);
        if let Some(system) = &args.system {
            conversation.add("system", system);
        }
        Ok(Chat { args, who, conversation })
    }

    /// Answer `text`. A message that fails is forgotten; one whose answer was stopped stays, with as
    /// much of an answer as there was.
    fn answer(&mut self, text: &str, printer: &Printer) -> anyhow::Result<()> {
        self.conversation.add("user", text);
        let Chat { args, who, conversation } = self;
        match who.answer(conversation, &args.sampling, printer) {
            Ok(answer) => {
                say_how_it_ended(&answer, printer);
                let Answer { text, reasoning, tool_calls, .. } = &answer;
                conversation.add_answer(who.template(), text, reasoning, tool_calls);
                Ok(())
            }
            Err(error) => {
                conversation.take_back();
                Err(error)
            }
        }
    }
}

fn say_how_it_ended(answer: &Answer, printer: &Printer) {
    match answer.finish {
        Finish::Cancelled => {
            printer.note("(stopped)");
            // Whoever stops so early may not have meant the message.
            if answer.n_tokens == 0 && std::io::stdin().is_terminal() {
                printer.note("(no answer was begun; /undo takes the message back)");
            }
        }
        Finish::MaxTokens => printer.note(run::stopped_at_limit(answer.n_tokens)),
        Finish::ContextFull { .. } => printer.note("(stopped: the context is full)"),
        Finish::StopToken { .. } | Finish::StopText { .. } | Finish::Complete => {}
    }
}
