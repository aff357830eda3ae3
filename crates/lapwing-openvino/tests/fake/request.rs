//! One sequence: what it has seen, and logits that depend on all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::compile::{Compiled, StaticSizes};
use crate::graph::mix;

/// The input of a graph that gives chosen positions only; Lapwing's own edit adds it.
const LOGITS_POSITIONS: &str = "lapwing_logits_positions";

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) compiled: Arc<Compiled>,
    cache: Vec<Entry>,
    /// Entries of the cache that came one by one, on the NPU path.
    n_generated: usize,
    logits: Option<Logits>,
}

#[derive(Clone, Debug)]
pub(crate) struct Logits {
    pub(crate) n_rows: usize,
    pub(crate) values: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    token: i64,
    position: i64,
}

/// Integers that were set, by name.
pub(crate) type Inputs = BTreeMap<String, Vec<i64>>;

impl Request {
    pub(crate) fn new(compiled: Arc<Compiled>) -> Request {
        Request { compiled, cache: Vec::new(), n_generated: 0, logits: None }
    }

    /// Whether an input may be set, by its name and type.
    pub(crate) fn check_input(&self, name: &str, element: &str) -> Result<(), String> {
        let input = self.compiled.graph.input(name);
        let expected = &input.ok_or_else(|| no_port(name))?.element;
        match expected == element {
            true => Ok(()),
            false if self.compiled.static_sizes.is_some() => Err(format!(
                "The tensor element type is not corresponding with output element type ({element} \
                 != {expected}"
            )),
            false => Err(format!(
                "ParameterMismatch: Failed to set tensor for input with precision: {element}, \
                 since the model input tensor precision is: {expected}"
            )),
        }
    }

    pub(crate) fn logits(&self, name: &str) -> Result<Logits, String> {
        if name != "logits" {
            return Err(no_port(name));
        }
        match &self.logits {
            Some(logits) => Ok(logits.clone()),
            None if self.compiled.static_sizes.is_some() => {
                Err("Logits tensor is not available. Please run inference first.".to_owned())
            }
            None => Ok(Logits { n_rows: 0, values: Vec::new() }),
        }
    }

    pub(crate) fn infer(&mut self, inputs: &Inputs) -> Result<(), String> {
        let of = |name: &str| inputs.get(name).map(Vec::as_slice);
        let tokens = of("input_ids").filter(|tokens| !tokens.is_empty());
        let tokens = tokens.ok_or("the fake was asked to infer without `input_ids`")?;
        let n_new = tokens.len();
        let n_seen = self.cache.len() as i64;
        let follow: Vec<i64> = (n_seen..).take(n_new).collect();
        let positions = of("position_ids").unwrap_or(&follow);
        if positions.len() != n_new {
            return Err(format!("{n_new} tokens, but {} position_ids", positions.len()));
        }
        let pairs = tokens.iter().zip(positions);
        let new: Vec<Entry> = pairs.map(|(&token, &position)| Entry { token, position }).collect();
        let logits = match self.compiled.static_sizes {
            Some(sizes) => self.infer_on_npu(sizes, &new)?,
            None => {
                self.cache.extend(new);
                let n_cached = self.cache.len();
                let mask = of("attention_mask").map_or(vec![1; n_cached], <[i64]>::to_vec);
                if mask.len() != n_cached {
                    return Err(format!("{n_cached} entries, but {} in the mask", mask.len()));
                }
                let wanted = match of(LOGITS_POSITIONS) {
                    Some(rows) => rows.iter().map(|&row| row as usize).collect(),
                    None => (0..n_new).collect(),
                };
                self.rows(&mask, n_cached - n_new, wanted)
            }
        };
        self.logits = Some(logits);
        Ok(())
    }

    /// The rules of the NPU path: several tokens only at position 0, where they begin anew.
    fn infer_on_npu(&mut self, sizes: StaticSizes, new: &[Entry]) -> Result<Logits, String> {
        for name in ["input_ids", "attention_mask", "position_ids"] {
            let element = self.compiled.graph.input(name).map(|input| input.element.as_str());
            if element != Some("i64") {
                return Err(format!(
                    "Check 'ov::element::i64 == {name}->get_element_type()' failed"
                ));
            }
        }
        let (n_new, position) = (new.len(), new[0].position);
        // One number counts the entries of all requests; going on before it makes it smaller.
        let n_stored = self.compiled.n_stored.load(Ordering::SeqCst).min(position as usize);
        if 1 < n_new && position == 0 {
            let n_max = sizes.n_prompt_max;
            if n_max < n_new {
                return Err(format!(
                    "Input prompt is longer than configured \"NPUW_LLM_MAX_PROMPT_LEN\": {n_max}.\n\
                     Please either setup bigger \"NPUW_LLM_MAX_PROMPT_LEN\" or shorten the prompt."
                ));
            }
            self.cache.clear();
            self.n_generated = 0;
        } else {
            let is_first = self.n_generated == 0;
            self.prepare_generation(sizes, n_new, position)?;
            if is_first && self.cache.len() != n_stored {
                // So many entries of the prompt are taken over.
                self.cache.iter_mut().for_each(|entry| entry.token = !entry.token);
            }
        }
        self.cache.extend(new);
        let n_rows = sizes.n_generation_max.max(1);
        let n_cached = self.cache.len();
        let mut last = self.rows(&vec![1; n_cached], 0, vec![n_cached - 1]);
        // Right-aligned in the static shape.
        let padding = vec![0.0; (n_rows - 1) * self.compiled.n_vocab];
        last.values.splice(0..0, padding);
        last.n_rows = n_rows;
        // The new entry is kept at the place that the number says, which a later run finds.
        if n_stored < position as usize {
            self.cache.truncate(n_cached - n_new);
            self.cache[n_stored] = new[n_new - 1];
        }
        self.compiled.n_stored.store(n_stored + n_new, Ordering::SeqCst);
        Ok(last)
    }

    fn prepare_generation(
        &mut self,
        sizes: StaticSizes,
        n_new: usize,
        position: i64,
    ) -> Result<(), String> {
        let n_max = sizes.n_generation_max;
        if n_max < n_new {
            return Err(format!(
                "Input prompt length is greater than output \
                 \"NPUW_LLM_MAX_GENERATION_TOKEN_LEN\": {n_max}.\nPlease adjust it."
            ));
        }
        // A conversation that starts with one token is right as long as nothing was generated; so
        // is another token at the last generated position. What else goes back finds the old
        // entries still there.
        if position == 0 && self.n_generated == 0 {
            self.cache.clear();
        }
        let is_last = self.cache.last().is_some_and(|last| last.position == position);
        if is_last && 0 < self.n_generated {
            self.cache.pop();
            self.n_generated -= 1;
        }
        let (n_stored, n_stored_max) = (self.cache.len(), sizes.n_stored_max);
        if n_stored_max < n_stored + n_new {
            return Err(format!(
                "KV-Cache is full: num_stored_tokens={n_stored} capacity={n_stored_max}"
            ));
        }
        self.n_generated += n_new;
        Ok(())
    }

    /// Logits of the rows `wanted`, counted from the cache's entry `first`.
    fn rows(&self, mask: &[i64], first: usize, wanted: Vec<usize>) -> Logits {
        let mut seen = self.compiled.seed;
        let mut seeds = Vec::with_capacity(self.cache.len());
        for (entry, &counts) in self.cache.iter().zip(mask) {
            if counts != 0 {
                seen =
                    mix(seen ^ mix(entry.token as u64) ^ (entry.position as u64).rotate_left(32));
            }
            seeds.push(seen);
        }
        let n_vocab = self.compiled.n_vocab;
        let mut values = Vec::with_capacity(wanted.len() * n_vocab);
        for row in &wanted {
            let seed = seeds[first + row];
            // 24 bits, from -8 to 8.
            let logit = |id: usize| (mix(seed ^ id as u64) >> 40) as f32 / (1 << 20) as f32 - 8.0;
            values.extend((0..n_vocab).map(logit));
        }
        if self.compiled.is_nan {
            values.fill(f32::NAN);
        }
        Logits { n_rows: wanted.len(), values }
    }
}

fn no_port(name: &str) -> String {
    format!(
        "Check '::getPort(port, name, {{_impl->get_inputs(), _impl->get_outputs()}})' failed at \
         src/inference/src/cpp/infer_request.cpp:77:\nPort for tensor name {name} was not found."
    )
}
