//! The daemon of this user, if one runs: what is asked of it, and when it answers instead of this
//! process.
//!
//! It does where it would do the same: it is of this version, and opens models with the same options.
//! What only a process with the model in it can tell (`--json`, raw logits, the prompt) is made here.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context as _;
use lapwing_daemon::{About, Client, ClientError, ModelState};
use lapwing_host::conversation::Told;
use lapwing_runtime::Finish;
use lapwing_serving::message::{Chat, Generate, Opening, Prompt, Said, Why};
use lapwing_text::{ChatTemplate, Message, SpecialTokens};

use crate::answer::Answer;
use crate::cli::{Command, SamplingArgs};
use crate::interrupt;
use crate::printer::PrintError;
use crate::settings::Settings;
use crate::shown_answer::ShownAnswer;

/// Nobody listens.
#[derive(Debug, thiserror::Error)]
#[error("no daemon runs: nobody listens at {}", socket.display())]
pub struct NoDaemon {
    socket: PathBuf,
}

/// The daemon of this user.
///
/// # Errors
///
/// When there is none.
pub fn demand(settings: &Settings) -> anyhow::Result<Client> {
    let socket = settings.home.socket();
    Client::find(&socket)?.ok_or_else(|| NoDaemon { socket }.into())
}

/// A daemon that answers for this process.
pub struct Answering {
    client: Client,
    model: ModelState,
    template: Option<ChatTemplate>,
}

impl Answering {
    /// The daemon that does what `command` asks for, if there is one.
    pub fn find(command: &Command, settings: &Settings) -> Option<Answering> {
        let name = match command {
            Command::Run(args) if !args.needs_this_process() => args.model_and_text().ok()?.0,
            Command::Chat(args) if !args.no_daemon => args.model(),
            _ => return None,
        };
        match ask(name, settings) {
            Ok(answering) => answering,
            Err(error) => {
                tracing::info!("the daemon is not asked: {error:#}");
                None
            }
        }
    }

    /// Where the model is, or would be, in words.
    pub fn place(&self) -> String {
        match &self.model.loaded {
            Some(loaded) => format!("{}, held by the daemon", loaded.device),
            None => "the daemon's device".to_owned(),
        }
    }

    /// The chat template of the model.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Let the model answer, and show it as it comes. After Ctrl-C it is what came until then. A prompt
    /// that leaves less than `n_room` positions for the answer is too long.
    ///
    /// # Errors
    ///
    /// When it does not, or nobody reads any more.
    pub fn answer(
        &self,
        messages: &[Message],
        told: &Told,
        sampling: &SamplingArgs,
        n_room: usize,
        shown: &mut ShownAnswer<'_>,
    ) -> anyhow::Result<Answer> {
        let generate = Generate {
            prompt: self.prompt(messages, told),
            sampling: sampling.request(),
            n_tokens_max: Some(sampling.n_tokens_max()),
            stop_texts: sampling.stop.clone(),
            ignores_end: sampling.ignore_eos,
            log_probabilities: false,
            n_top: 0,
            form: None,
            client: 0,
            is_background: false,
            n_room,
            reads_anew: false,
        };
        let mut answer = Answer::nothing();
        let mut written: Result<(), PrintError> = Ok(());
        let name = &self.model.listing.name;
        let heard = self.client.answer(name, generate, &mut |said| {
            match said {
                Some(Said::Piece(piece)) => {
                    answer.n_tokens += 1;
                    answer.add(&piece.parts);
                    written = shown.write(&piece.parts);
                }
                Some(Said::Ended(ended)) => {
                    answer.n_tokens = ended.n_tokens;
                    answer.finish = finish(ended.why, self.n_positions_max());
                    return ControlFlow::Break(());
                }
                _ => {}
            }
            interrupt::flow(written.is_err())
        });
        written?;
        heard.with_context(|| format!("cannot answer with {name}"))?;
        Ok(answer)
    }

    /// What the daemon makes the prompt of; a model without a template gets the last message as it is.
    fn prompt(&self, messages: &[Message], told: &Told) -> Prompt {
        if self.template.is_none() {
            let last = messages.last().and_then(|message| message.content.as_ref());
            let text = last.and_then(|content| content.as_str()).unwrap_or_default().to_owned();
            return Prompt::Text { text, add_special: true };
        }
        Prompt::Chat(Box::new(Chat {
            messages: messages.iter().map(Message::to_json).collect(),
            tools: told.tools.clone(),
            variables: told.variables.clone(),
            thinks: None,
            effort: None,
            begins_anew: false,
        }))
    }

    /// Most positions of a conversation.
    pub fn n_positions_max(&self) -> usize {
        let loaded = self.model.loaded.as_ref().map(|loaded| loaded.n_positions_max);
        loaded.or(self.model.listing.n_positions_max).unwrap_or_default()
    }
}

/// The daemon, if it would do as this process does with the model of this name.
fn ask(name: &str, settings: &Settings) -> Result<Option<Answering>, ClientError> {
    let Some(client) = Client::find(&settings.home.socket())? else { return Ok(None) };
    let About { version, opening, .. } = client.about()?;
    if version != env!("CARGO_PKG_VERSION") {
        tracing::info!("the daemon is not asked: it is of version {version}");
        return Ok(None);
    }
    if !is_alike(&opening, settings) {
        tracing::info!("the daemon is not asked: it opens models with other options");
        return Ok(None);
    }
    let models = client.models()?;
    let model = models.into_iter().find(|model| model.listing.name == name);
    let Some(model) = model.filter(|model| model.listing.unusable.is_none()) else {
        tracing::info!("the daemon is not asked: it has no model {name}");
        return Ok(None);
    };
    if model.loaded.as_ref().is_some_and(|loaded| loaded.is_outdated && loaded.is_busy) {
        tracing::info!("the daemon is not asked: it opened {name} with other options");
        return Ok(None);
    }
    if model.device.is_some_and(|device| device != settings.options.device) {
        tracing::info!("the daemon is not asked: another device was chosen there for {name}");
        return Ok(None);
    }
    let source = model.listing.template.as_deref();
    let template = source.map(|source| {
        let path = settings.home.models().join(name);
        ChatTemplate::from_source(source, SpecialTokens::default(), &path)
    });
    tracing::info!("the daemon answers");
    Ok(Some(Answering { client, model, template }))
}

/// Whether a daemon that opens models so opens them as this process would.
fn is_alike(opening: &Opening, settings: &Settings) -> bool {
    let Opening { variant, backend, options, correction, .. } = opening;
    (variant, backend, options, correction)
        == (&settings.variant, &settings.backend, &settings.options, &settings.correction)
}

/// Whether the chat template refused the messages.
pub fn is_refused(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<ClientError>());
    causes.any(|cause| matches!(cause, ClientError::Refused { status: 400, .. }))
}

/// Whether a prompt was refused for its length.
pub fn is_too_long(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<ClientError>());
    causes.into_iter().any(ClientError::is_too_long)
}

fn finish(why: Why, n_positions_max: usize) -> Finish {
    match why {
        Why::Stop | Why::StopText => Finish::Complete,
        Why::Length => Finish::MaxTokens,
        Why::Full => Finish::ContextFull { n_positions_max },
        Why::Cancelled => Finish::Cancelled,
    }
}
