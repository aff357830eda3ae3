//! Models that fail on purpose, around the fake one.

use std::sync::Arc;
use std::time::Duration;

use lapwing_backend::{
    Decoder, Device, FakeModel, Limits, MemoryBreakdown, Model, OpenError, RewindError, Row,
    StepError,
};
use lapwing_logits::Level;
use lapwing_runtime::Session;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing; but the device gives the last position's logits only.
    LastPositionOnly,
    /// The step over this position fails, once per decoder.
    StepAt(usize),
    /// Rows are NaN from this position on.
    NanFrom(usize),
}

pub(crate) struct FaultyModel {
    inner: FakeModel,
    fault: Fault,
}

struct FaultyDecoder {
    inner: Box<dyn Decoder>,
    fault: Fault,
}

/// A session with a fake model.
pub(crate) fn session(n_vocab: usize, n_positions_max: usize, can_rewind: bool) -> Session {
    let model = FakeModel::new(n_vocab, n_positions_max, can_rewind);
    Session::new(Arc::new(model), Level::detect()).expect("fake starts")
}

pub(crate) fn faulty(fault: Fault) -> FaultyModel {
    FaultyModel { inner: FakeModel::new(20, 100, true), fault }
}

impl Model for FaultyModel {
    fn n_vocab(&self) -> usize {
        self.inner.n_vocab()
    }

    fn limits(&self) -> Limits {
        Limits { can_score: self.fault != Fault::LastPositionOnly, ..self.inner.limits() }
    }

    fn device_used(&self) -> &Device {
        self.inner.device_used()
    }

    fn memory(&self) -> MemoryBreakdown {
        self.inner.memory()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        Ok(Box::new(FaultyDecoder { inner: self.inner.decoder()?, fault: self.fault }))
    }
}

impl Decoder for FaultyDecoder {
    fn step(&mut self, tokens: &[u32], logits: &mut [f32]) -> Result<(), StepError> {
        let n_positions = self.inner.n_positions();
        if let Fault::StepAt(position) = self.fault
            && (n_positions..n_positions + tokens.len()).contains(&position)
        {
            let source = "the cable fell out".into();
            return Err(StepError::Library { backend: "faulty", n_positions, source });
        }
        self.inner.step(tokens, logits)?;
        if let Fault::NanFrom(position) = self.fault
            && position < self.inner.n_positions()
        {
            logits.fill(f32::NAN);
        }
        Ok(())
    }

    fn score(&mut self, tokens: &[u32], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        match self.fault {
            Fault::LastPositionOnly => Err(StepError::LastPositionOnly { backend: "faulty" }),
            Fault::StepAt(_) | Fault::NanFrom(_) => self.inner.score(tokens, row),
        }
    }

    fn n_positions(&self) -> usize {
        self.inner.n_positions()
    }

    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        self.inner.rewind(n_positions)
    }

    fn last_inference(&self) -> Duration {
        self.inner.last_inference()
    }
}
