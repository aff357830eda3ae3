//! What tokens go in as, where a graph of its own makes it of their ids.
//!
//! Exports of models that also see or hear have their embedding apart, so that pictures can go between
//! words. The library runs it as it is, out of its mapped file: a gather of our own would take the same
//! rows out of the same file.

use std::sync::{Mutex, PoisonError};

use lapwing_model::TokenId;
use ort::session::{IoBinding, Session};
use ort::value::DynValue;

use crate::contract::Integers;
use crate::input::Input;

/// The graph that is asked first.
pub(crate) struct Embedder {
    session: Mutex<Session>,
    ids: Integers,
    values: Vec<String>,
}

impl Embedder {
    /// A session of a graph that takes `ids` and gives `values`.
    pub(crate) fn new(session: Session, ids: &Integers, values: &[String]) -> Embedder {
        Embedder { session: Mutex::new(session), ids: ids.clone(), values: values.to_vec() }
    }

    /// Compute what `tokens` go in as, and bind it to a decoder's inputs of the same names.
    ///
    /// The values must live until the decoder has run.
    pub(crate) fn bind(
        &self,
        tokens: &[TokenId],
        decoder: &mut IoBinding,
    ) -> ort::Result<Vec<DynValue>> {
        let mut input = Input::new(self.ids.clone());
        input.write(&[1, tokens.len()], tokens.iter().map(|&id| i64::from(id)))?;
        let tensor = input.tensor().expect("written above");
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outputs = session.run(ort::inputs![self.ids.name.as_str() => tensor.view()])?;
        let mut values = Vec::with_capacity(self.values.len());
        for name in &self.values {
            let value = outputs.remove(name);
            let value = value.ok_or_else(|| ort::Error::new(format!("no output `{name}`")))?;
            decoder.bind_input(name, &value)?;
            values.push(value);
        }
        Ok(values)
    }
}
