//! The model that a worker holds, with all that is needed to answer.

use std::sync::Arc;
use std::time::Duration;

use lapwing_backend::{Device, Model, OpenError};
use lapwing_host::conversation::Reads;
use lapwing_host::correction::Resolved;
use lapwing_host::{Engine, FileChanged};
use lapwing_logits::{Correction, Level};
use lapwing_model::{GenerationDefaults, TokenId};
use lapwing_runtime::Session;
use lapwing_text::{ChatTemplate, ReplyFormat, Tokenizer};

use crate::message::{Abilities, Card};
use crate::prompt::TextOf;

/// An open model with its text side.
pub(crate) struct Served {
    name: String,
    library: (String, String),
    pub(crate) model: Arc<dyn Model>,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) reply: ReplyFormat,
    pub(crate) stop_ids: Vec<TokenId>,
    pub(crate) defaults: GenerationDefaults,
    correction: Option<Arc<Correction>>,
    profile: Option<String>,
    profile_sha256: Option<String>,
    open: Duration,
    /// Watches the model's files.
    engine: Option<Engine>,
}

impl Served {
    /// What an engine opened; its logits are corrected as `correction` says.
    pub(crate) fn of(mut engine: Engine, correction: &Resolved) -> Served {
        let profile = correction.profile.as_ref().and_then(|path| path.file_name());
        Served {
            name: engine.name(),
            library: (engine.runtime.name().to_owned(), engine.backend_version.clone()),
            model: Arc::clone(&engine.model),
            tokenizer: engine.tokenizer.take(),
            template: engine.template.take(),
            reply: engine.reply.clone(),
            stop_ids: engine.folder.tokens.eos.clone(),
            defaults: engine.folder.generation.clone(),
            correction: correction.correction.clone(),
            profile: profile.map(|name| name.to_string_lossy().into_owned()),
            profile_sha256: correction.profile_sha256.clone(),
            open: engine.load,
            engine: Some(engine),
        }
    }

    /// A model without files or libraries, for tests; `template` may be anything.
    #[cfg(any(test, feature = "fakes"))]
    pub(crate) fn fake(
        model: Arc<dyn Model>,
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
    ) -> Self {
        Served {
            name: "fake".to_owned(),
            library: ("fake".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            reply: ReplyFormat::detect(template.as_ref(), &tokenizer),
            model,
            tokenizer: Some(tokenizer),
            template,
            stop_ids: Vec::new(),
            defaults: GenerationDefaults::default(),
            correction: None,
            profile: None,
            profile_sha256: None,
            open: Duration::ZERO,
            engine: None,
        }
    }

    /// What is known of it.
    pub(crate) fn card(&self) -> Card {
        let limits = self.model.limits();
        let Device { id, name, .. } = self.model.device_used().clone();
        let (backend, backend_version) = self.library.clone();
        let engine = self.engine.as_ref();
        Card {
            name: self.name.clone(),
            backend,
            backend_version,
            device: id,
            device_name: name,
            n_positions_max: limits.n_positions_max,
            n_vocab: self.model.n_vocab(),
            can: abilities(self.template.as_ref(), &self.reply),
            template: self.template.as_ref().map(|template| template.source_text().to_owned()),
            variant: engine.and_then(|engine| engine.folder.variant.clone()),
            driver_version: engine.and_then(|engine| engine.driver.clone()),
            n_prompt_tokens_max: limits.n_prompt_tokens_max,
            correction: self.profile.clone(),
            correction_sha256: self.profile_sha256.clone(),
            memory: self.model.memory(),
            takes_whole_prompts: self.takes_whole_prompts(),
            open_ms: self.open.as_secs_f64() * 1e3,
        }
    }

    /// What it knows of text.
    pub(crate) fn text(&self) -> TextOf<'_> {
        TextOf {
            n_positions_max: Some(self.model.limits().n_positions_max),
            tokenizer: self.tokenizer.as_ref(),
            template: self.template.as_ref(),
            n_vocab: Some(self.model.n_vocab()),
        }
    }

    /// Whether prompts go in as a whole, and sequences do not take turns.
    pub(crate) fn takes_whole_prompts(&self) -> bool {
        self.model.limits().n_prompt_tokens_max.is_some()
    }

    pub(crate) fn session(&self) -> Result<Session, OpenError> {
        let mut session = Session::new(Arc::clone(&self.model), Level::detect())?;
        session.set_correction(self.correction.clone());
        Ok(session)
    }

    /// Demand that the model's files are what they were.
    pub(crate) fn require_unchanged(&self) -> Result<(), FileChanged> {
        self.engine.as_ref().map_or(Ok(()), Engine::require_unchanged)
    }
}

/// What a model with this template can do that writes its answers so.
pub(crate) fn abilities(template: Option<&ChatTemplate>, reply: &ReplyFormat) -> Abilities {
    let reads = template.and_then(|template| Reads::of(template, true).ok());
    let reads = reads.as_ref();
    Abilities {
        completes: true,
        chats: template.is_some(),
        calls: reads.is_some_and(|reads| reads.has("tools")),
        thinks: reply.thinks(),
        thinks_when_asked: reads.is_some_and(|reads| reads.thinking(Some(true), None).is_ok()),
        embeds: false,
    }
}
