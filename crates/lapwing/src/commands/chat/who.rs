//! Who answers in a chat: a model in this process, or the daemon.

use anyhow::Context as _;
use lapwing_host::Engine;
use lapwing_host::conversation::{self, Conversation, Told};
use lapwing_host::correction::Resolved;
use lapwing_host::sampling;
use lapwing_runtime::{Request, Session};
use lapwing_text::{ChatTemplate, ReplyFormat};

use crate::answer::Answer;
use crate::cli::{ChatArgs, SamplingArgs};
use crate::commands::run;
use crate::daemon::{self, Answering};
use crate::opening;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::shown_answer::ShownAnswer;

/// Who answers.
pub enum Who<'a> {
    /// This process.
    Here(Box<Here>),
    /// The daemon.
    Daemon(&'a Answering),
}

/// A model in this process.
pub struct Here {
    engine: Engine,
    correction: Resolved,
    /// How the model answers a prompt with the functions that it was told of, and where it does.
    begun: Option<(Session, ReplyFormat)>,
}

impl<'a> Who<'a> {
    /// The daemon if it does, else the model, opened.
    ///
    /// # Errors
    ///
    /// When the model cannot be opened.
    pub fn of(
        args: &ChatArgs,
        settings: &Settings,
        daemon: Option<&'a Answering>,
    ) -> anyhow::Result<Who<'a>> {
        if let Some(daemon) = daemon {
            return Ok(Who::Daemon(daemon));
        }
        let engine = opening::open(args.model(), settings)?;
        let correction = opening::correction(&engine, settings)?;
        Ok(Who::Here(Box::new(Here { engine, correction, begun: None })))
    }

    /// Where it runs, in words.
    pub fn place(&self) -> String {
        match self {
            Who::Here(here) => here.engine.model.device_used().id.clone(),
            Who::Daemon(daemon) => daemon.place(),
        }
    }

    /// The model's chat template.
    pub fn template(&self) -> Option<&ChatTemplate> {
        match self {
            Who::Here(here) => here.engine.template.as_ref(),
            Who::Daemon(daemon) => daemon.template(),
        }
    }

    /// Make ready for a conversation in which the model is `told` this.
    ///
    /// # Errors
    ///
    /// When the library makes no session.
    pub fn begin(&mut self, told: &Told) -> anyhow::Result<()> {
        if let Who::Here(here) = self {
            let session = here.engine.session(here.correction.correction.clone());
            let tools = told.tools.as_deref().unwrap_or_default();
            let reply = here.engine.reply.with_tools(tools);
            here.begun = Some((session.context("cannot start a session")?, reply));
        }
        Ok(())
    }

    /// Answer the last message. Where the context is full the oldest messages are forgotten.
    ///
    /// # Errors
    ///
    /// When the model does not answer.
    pub fn answer(
        &mut self,
        conversation: &mut Conversation,
        sampling: &SamplingArgs,
        printer: &Printer,
    ) -> anyhow::Result<Answer> {
        let mut shown = ShownAnswer::new(printer);
        let mut forgotten =
            || printer.note("(the oldest messages are forgotten: the context is full)");
        let answer = match self {
            Who::Here(here) => here.answer(conversation, sampling, &mut forgotten, &mut shown)?,
            Who::Daemon(daemon) => by(daemon, conversation, sampling, &mut forgotten, &mut shown)?,
        };
        shown.end_answer()?;
        Ok(answer)
    }
}

/// Let the daemon answer, as a model in this process would: with room for an answer, and calls as text
/// where the template refuses them.
fn by(
    daemon: &Answering,
    conversation: &mut Conversation,
    sampling: &SamplingArgs,
    forgotten: &mut dyn FnMut(),
    shown: &mut ShownAnswer<'_>,
) -> anyhow::Result<Answer> {
    // A small context is not all for the answer.
    let mut n_room = sampling.n_tokens_max().min(daemon.n_positions_max() / 2);
    loop {
        let (messages, told) = (conversation.messages(), conversation.told());
        match daemon.answer(messages, told, sampling, n_room, shown) {
            Err(error) if daemon::is_too_long(&error) && conversation.forget_oldest() => {
                forgotten();
            }
            Err(error) if daemon::is_too_long(&error) && n_room != 0 => n_room = 0,
            Err(error) if daemon::is_refused(&error) && conversation.spell_calls() => {}
            answered => return answered,
        }
    }
}

impl Here {
    fn answer(
        &mut self,
        conversation: &mut Conversation,
        sampling: &SamplingArgs,
        forgotten: &mut dyn FnMut(),
        shown: &mut ShownAnswer<'_>,
    ) -> anyhow::Result<Answer> {
        let Here { engine, begun, .. } = self;
        let (session, reply) = begun.as_mut().context("no conversation was begun")?;
        let n_tokens_max = sampling.n_tokens_max();
        let prompt = conversation.fitting_prompt(engine, n_tokens_max, forgotten)?;
        conversation::check_length(engine, prompt.len()).context("cannot answer")?;
        let sampler = sampling::options(&sampling.request(), &engine.folder.generation);
        let request = Request {
            ignore_stop_ids: sampling.ignore_eos,
            stop_texts: &sampling.stop,
            reply: Some(reply),
            ..engine.request(&prompt, &sampler, n_tokens_max)
        };
        Ok(run::answer(engine, session, &request, Some(shown))?.into())
    }
}
