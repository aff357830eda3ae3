//! A model without files or libraries, for the tests of what serves models.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapwing_backend::{
    Decoder, Device, DeviceRequest, FakeEncoder, FakeModel, Limits, MemoryBreakdown, Model,
    OpenError, Step, StepError,
};
use lapwing_host::Embedder;
use lapwing_model::{EmbeddingRecipe, Pooling};
use lapwing_text::{ChatTemplate, SpecialTokens, Tokenizer};
use serde_json::{Map, Value, json};

use crate::embeds::Embeds;
use crate::message::{Abilities, Listing};
use crate::served::Served;

const TEMPLATE: &str = "{% for message in messages %}{{ message.content }}{% endfor %}";

const EMBEDDINGS: &str = "fake-embeddings";

/// `fake` answers with the characters that follow; behind a dash stands what a step costs in
/// microseconds, however many sequences it is for: `fake-2000`. The process of `fake-aborts` does so
/// when it opens it, that of `fake-dies` in its first step. It runs wherever it is asked to.
pub(crate) fn named(name: &str, device: DeviceRequest) -> Option<Served> {
    let micros = match name.strip_prefix("fake")? {
        "" | "-dies" => 0,
        "-aborts" => std::process::abort(),
        rest => rest.strip_prefix('-')?.parse().ok()?,
    };
    let (tokenizer, n_vocab) = characters()?;
    let path = Path::new("fake");
    let template = ChatTemplate::from_source(TEMPLATE, SpecialTokens::default(), path);
    let model = FakeModel::new(n_vocab, 4096, true);
    let dies = name == "fake-dies";
    let id = match device {
        DeviceRequest::Auto => "FAKE".to_owned(),
        DeviceRequest::One(..) => format!("FAKE.{device}").to_uppercase(),
    };
    let device = Device { id, ..model.device_used().clone() };
    let model = Costly { model, step: Duration::from_micros(micros), device, dies };
    Some(Served::fake(Arc::new(model), tokenizer, Some(template)))
}

/// `fake-embeddings` gives for each character its number and 1, and takes 64 of them.
pub(crate) fn embeds(name: &str) -> Option<Embeds> {
    if name != EMBEDDINGS {
        return None;
    }
    let (tokenizer, n_vocab) = characters()?;
    let embedder = Embedder {
        encoder: Box::new(FakeEncoder::new(n_vocab, 64)),
        tokenizer: Some(tokenizer),
        recipe: EmbeddingRecipe { pooling: Pooling::Mean, is_said: true, n_tokens_max: 64 },
    };
    Some(Embeds::fake(name, embedder))
}

/// A tokenizer whose tokens are characters, and how many there are.
fn characters() -> Option<(Tokenizer, usize)> {
    let symbols = ' '..='~';
    let n_vocab = symbols.clone().count();
    let vocabulary: Map<String, Value> =
        symbols.zip(0..).map(|(symbol, id): (char, u32)| (symbol.to_string(), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let bytes = tokenizer.to_string();
    Some((Tokenizer::from_bytes(bytes.as_bytes(), Path::new("fake")).ok()?, n_vocab))
}

/// As what they are listed.
pub(crate) fn listings() -> Vec<Listing> {
    let listing = |name: &str| Listing {
        name: name.to_owned(),
        n_bytes: 1000,
        modified_s: 1_700_000_000,
        digest: "0".repeat(64),
        kind: "fake".to_owned(),
        family: "fake".to_owned(),
        n_parameters: Some(0),
        quantisation: "f32".to_owned(),
        n_positions_max: Some(4096),
        can: Abilities { completes: true, chats: true, ..Abilities::default() },
        template: Some(TEMPLATE.to_owned()),
        licence: None,
        unusable: None,
    };
    let names = ["fake", "fake-2000", "fake-20000", "fake-aborts", "fake-dies"];
    let mut listings: Vec<Listing> = names.map(listing).into();
    listings.push(Listing {
        n_positions_max: Some(64),
        can: Abilities { embeds: true, ..Abilities::default() },
        template: None,
        ..listing(EMBEDDINGS)
    });
    listings
}

/// A model whose steps take time, however many go together.
struct Costly {
    model: FakeModel,
    step: Duration,
    device: Device,
    /// Its process aborts in a step.
    dies: bool,
}

impl Model for Costly {
    fn n_vocab(&self) -> usize {
        self.model.n_vocab()
    }

    fn limits(&self) -> Limits {
        self.model.limits()
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        self.model.memory()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        self.model.decoder()
    }

    fn step_many(&self, steps: &mut [Step<'_>]) -> Vec<Result<(), StepError>> {
        if self.dies {
            std::process::abort();
        }
        if !self.step.is_zero() {
            std::thread::sleep(self.step);
        }
        self.model.step_many(steps)
    }

    fn steps_together(&self) -> bool {
        true
    }
}
