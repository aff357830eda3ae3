//! A model without files or libraries, for the tests of what serves models.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapwing_backend::{
    Decoder, Device, FakeModel, Limits, MemoryBreakdown, Model, OpenError, Step, StepError,
};
use lapwing_text::{ChatTemplate, SpecialTokens, Tokenizer};
use serde_json::{Map, Value, json};

use crate::served::Served;

/// `fake` answers with the characters that follow; behind a dash stands what a step costs in
/// microseconds, however many sequences it is for: `fake-2000`.
pub(crate) fn named(name: &str) -> Option<Served> {
    let micros = match name.strip_prefix("fake")? {
        "" => 0,
        rest => rest.strip_prefix('-')?.parse().ok()?,
    };
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
    let path = Path::new("fake");
    let tokenizer = Tokenizer::from_bytes(tokenizer.to_string().as_bytes(), path).ok()?;
    let source = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let template = ChatTemplate::from_source(source, SpecialTokens::default(), path);
    let model = FakeModel::new(n_vocab, 4096, true);
    let model = Costly { model, step: Duration::from_micros(micros) };
    Some(Served::fake(Arc::new(model), tokenizer, Some(template)))
}

/// A model whose steps take time, however many go together.
struct Costly {
    model: FakeModel,
    step: Duration,
}

impl Model for Costly {
    fn n_vocab(&self) -> usize {
        self.model.n_vocab()
    }

    fn limits(&self) -> Limits {
        self.model.limits()
    }

    fn device_used(&self) -> &Device {
        self.model.device_used()
    }

    fn memory(&self) -> MemoryBreakdown {
        self.model.memory()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        self.model.decoder()
    }

    fn step_many(&self, steps: &mut [Step<'_>]) -> Vec<Result<(), StepError>> {
        if !self.step.is_zero() {
            std::thread::sleep(self.step);
        }
        self.model.step_many(steps)
    }

    fn steps_together(&self) -> bool {
        true
    }
}
