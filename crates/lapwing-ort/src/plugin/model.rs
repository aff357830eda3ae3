//! A model on a device of the plugin.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lapwing_backend::{
    Decoder, Device, Limits, MemoryBreakdown, Model, OpenError, OpenOptions, Sequence, Source,
};
use lapwing_formats::onnx::{Dim, OnnxModel, Value};
use lapwing_model::ModelFolder;
use ort::environment::Environment;
use tracing::debug;

use super::PluginDevice;
use super::inference::PluginInference;
use super::options::provider_options;
use super::shared::Shared;
use crate::NAME;
use crate::contract::{Contract, Tokens};
use crate::state::KvState;

/// A model that the plugin accepted.
pub(crate) struct PluginModel {
    shared: Arc<Shared>,
    folder: PathBuf,
    version: String,
}

impl PluginModel {
    pub(crate) fn open(
        environment: &Environment,
        version: &str,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: PluginDevice,
    ) -> Result<PluginModel, OpenError> {
        let unsupported = |reason: String| OpenError::Unsupported {
            backend: NAME,
            folder: folder.root.clone(),
            reason,
        };
        let model = OnnxModel::open(&folder.graph).map_err(|error| OpenError::Read {
            path: folder.graph.clone(),
            source: error.into(),
        })?;
        let contract = Contract::read(&model, None, &folder.architecture)
            .map_err(|error| unsupported(error.to_string()))?;
        require_fit(&contract, options).map_err(|reason| unsupported(reason.to_owned()))?;
        let named_sizes =
            named_sizes(&model.inputs(), &contract.states.kv).map_err(&unsupported)?;
        let limit = folder.architecture.n_positions_max;
        let n_positions_max = options.n_positions_max.map_or(limit, |asked| asked.min(limit));
        let shared = Shared {
            environment: environment.clone(),
            graph: folder.graph.clone(),
            options: provider_options(&device.device, options).map_err(unsupported)?,
            device,
            named_sizes,
            first_session: Mutex::new(None),
            contract,
            n_positions_max,
            n_first_tokens_max: options.n_chunk_tokens.unwrap_or(n_positions_max).max(1),
        };
        let (folder, version) = (folder.root.clone(), version.to_owned());
        let model = PluginModel { shared: Arc::new(shared), folder, version };
        let session = model.shared.session().map_err(|source| model.refused(source))?;
        debug!(device = %model.shared.device.device.id, n_positions_max, "opened by the plugin");
        *model.shared.first_session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(model)
    }

    fn refused(&self, source: Source) -> OpenError {
        OpenError::Refused {
            backend: NAME,
            version: self.version.clone(),
            model: self.shared.graph.clone(),
            device: self.shared.device.device.id.clone(),
            source,
        }
    }
}

impl Model for PluginModel {
    fn n_vocab(&self) -> usize {
        self.shared.contract.n_vocab
    }

    fn limits(&self) -> Limits {
        Limits {
            n_positions_max: self.shared.n_positions_max,
            n_chunk_tokens_max: self.shared.n_first_tokens_max,
            n_prompt_tokens_max: None,
            n_follow_tokens_max: 1,
            n_scored_tokens_max: 1,
            n_positions_switch: self.shared.contract.n_positions_switch,
            can_rewind: false,
            can_score: true,
        }
    }

    fn device_used(&self) -> &Device {
        &self.shared.device.device
    }

    /// The plugin has its own copy of the weights in each session, and tells nothing of it.
    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        let session = self.shared.session().map_err(|source| self.refused(source))?;
        let inference = PluginInference::new(Arc::clone(&self.shared), session);
        let inference = inference.map_err(|error| {
            let reason = format!("cannot make room for a sequence: {error}");
            OpenError::Unsupported { backend: NAME, folder: self.folder.clone(), reason }
        })?;
        Ok(Box::new(Sequence::new(NAME, self, inference)))
    }
}

/// What the plugin's stateful sessions ask of a graph.
fn require_fit(contract: &Contract, options: &OpenOptions) -> Result<(), &'static str> {
    if options.hidden_states {
        return Err("hidden states are not given by the OpenVINO plugin");
    }
    if contract.states.kv.is_empty() || !contract.states.fixed.is_empty() {
        return Err("the OpenVINO plugin runs models whose only state are keys and values");
    }
    if matches!(contract.tokens, Tokens::Embedded { .. }) || contract.use_cache.is_some() {
        return Err("the OpenVINO plugin runs models of one graph from token ids to logits");
    }
    if contract.position_ids.as_ref().is_some_and(|positions| positions.n_rows != 1) {
        return Err("the OpenVINO plugin runs models of one position a token");
    }
    let integers = [Some(contract.tokens.ids()), contract.position_ids.as_ref()];
    if integers.into_iter().flatten().any(|input| input.is_i32) {
        return Err("the OpenVINO plugin needs token ids and positions of 64-bit integers");
    }
    Ok(())
}

/// Sizes of heads that the graph gives a name only.
fn named_sizes(inputs: &[Value], states: &[KvState]) -> Result<Vec<(String, i64)>, String> {
    let mut named: Vec<(String, i64)> = Vec::new();
    for state in states {
        let input = inputs.iter().find(|input| input.name == state.past);
        let dims = input.and_then(|input| input.dims.as_deref()).unwrap_or_default();
        for (axis_idx, size) in [(1, state.n_heads), (3, state.head_size)] {
            let name = match dims.get(axis_idx) {
                Some(Dim::Fixed(_)) => continue,
                Some(Dim::Symbolic(name)) => name,
                Some(Dim::Unknown) | None => {
                    let past = Path::new(&state.past).display();
                    return Err(format!("its graph leaves open axis {axis_idx} of `{past}`"));
                }
            };
            let size = i64::try_from(size).map_err(|_| format!("{size} is no size of `{name}`"))?;
            match named.iter().find(|(known, _)| known == name) {
                Some((_, known)) if *known != size => {
                    return Err(format!("its graph means {known} and {size} by `{name}`"));
                }
                Some(_) => {}
                None => named.push((name.clone(), size)),
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use lapwing_formats::onnx::ElementType;

    use super::*;

    fn check(sizes: &[[Dim; 2]], expected: Result<&[(&str, i64)], &str>) {
        let mut inputs = Vec::new();
        let mut states = Vec::new();
        for (layer_idx, [heads, size]) in sizes.iter().enumerate() {
            let past = format!("past.{layer_idx}.key");
            let dims = [Dim::symbol("batch"), heads.clone(), Dim::symbol("past"), size.clone()];
            let element = Some(ElementType::F32);
            inputs.push(Value { name: past.clone(), element, dims: Some(dims.to_vec()) });
            // Heads of the second layer are larger.
            let head_size = 16 * (layer_idx + 1);
            let (present, n_heads) = (String::new(), 4);
            states.push(KvState { past, present, is_f16: false, n_heads, head_size });
        }
        let found = named_sizes(&inputs, &states);
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<(&str, i64)> = found.iter().map(|(n, s)| (&**n, *s)).collect();
                assert_eq!(found, expected);
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn sizes_of_heads_get_numbers_or_the_graph_is_refused() {
        let fixed = Dim::Fixed(4);
        check(&[[fixed.clone(), Dim::Fixed(16)]], Ok(&[]));
        check(&[[fixed.clone(), Dim::symbol("size")]], Ok(&[("size", 16)]));
        check(&[[Dim::symbol("n"), Dim::symbol("size")]], Ok(&[("n", 4), ("size", 16)]));
        let twice = [fixed.clone(), Dim::symbol("size")];
        check(&[twice.clone(), twice], Err("means 16 and 32 by `size`"));
        check(&[[fixed, Dim::Unknown]], Err("leaves open axis 3 of `past.0.key`"));
    }
}
