//! One layer's attention: `GroupQueryAttention` and what it is fed with.

use lapwing_formats::onnx::proto::NodeProto;

use super::Reader;
use super::graph::{Attributes, MICROSOFT, Refusal};
use crate::network::{Attention, Linear, Norm, Pairs, Rotary};

impl<'w> Reader<'w> {
    /// Attention whose last matrix is `output`, and what goes in.
    pub(super) fn attention(
        &mut self,
        output: Linear<'w>,
        inner: &str,
    ) -> Result<(Attention<'w>, String), Refusal> {
        let node = self.graph.made_by(inner, &[(MICROSOFT, "GroupQueryAttention")]);
        let node = node.ok_or_else(|| self.graph.expected("GroupQueryAttention", inner))?.clone();
        let mut attributes = Attributes::of(&node)?;
        let count = |n: i64| usize::try_from(n).ok().filter(|n| (1..=4096).contains(n));
        let n_heads = count(attributes.integer("num_heads", 0));
        let n_kv_heads = count(attributes.integer("kv_num_heads", 0));
        let (Some(n_heads), Some(n_kv_heads)) = (n_heads, n_kv_heads) else {
            return Err(self.graph.expected("a number of heads", inner));
        };
        let factor = attributes.float("scale", 0.0);
        let cap = Some(attributes.float("softcap", 0.0)).filter(|&cap| cap != 0.0);
        let window = usize::try_from(attributes.integer("local_window_size", -1)).ok();
        let is_rotated = attributes.integer("do_rotary", 0) == 1;
        let is_interleaved = attributes.integer("rotary_interleaved", 0) == 1;
        for plain in ["smooth_softmax", "qk_output"] {
            if attributes.integer(plain, 0) > 0 {
                return Err(format!("{} has {plain}", node.name()));
            }
        }
        attributes.finish()?;
        if !n_heads.is_multiple_of(n_kv_heads) || window == Some(0) {
            return Err(self.graph.expected("heads in groups, and a window", inner));
        }
        self.check_lengths(&node)?;
        let (projections, value) = self.projections(&node, n_heads, n_kv_heads)?;
        let [(query, query_norm), (key, key_norm), (value_rows, None)] = projections else {
            return Err(self.graph.expected("values without a norm", inner));
        };
        let head_size = query.n_outputs() / n_heads;
        let rotary = match is_rotated {
            true => Some(self.rotary(&node, head_size, is_interleaved)?),
            false => None,
        };
        let factor = if factor == 0.0 { (head_size as f32).sqrt().recip() } else { factor };
        let attention = Attention {
            n_heads,
            n_kv_heads,
            query,
            key,
            value: value_rows,
            query_norm,
            key_norm,
            rotary,
            factor,
            cap,
            window,
            output,
        };
        Ok((attention, value))
    }

    /// That lengths are those of the attention mask, and that nothing else goes in.
    fn check_lengths(&self, node: &NodeProto) -> Result<(), Refusal> {
        const N_KNOWN_INPUTS: usize = 9;
        let graph = &self.graph;
        let more = node.input.iter().skip(N_KNOWN_INPUTS).find(|name| !name.is_empty());
        if let Some(more) = more {
            return Err(format!(
                "{} takes what is not known: {}",
                node.name(),
                graph.describe(more)
            ));
        }
        let through = |value: &str, operator: &str| {
            graph.standard(value, operator).map(|node| node.input.clone())
        };
        let cast = |value: &str| {
            through(value, "Cast").map_or_else(|| value.to_owned(), |inputs| inputs[0].clone())
        };
        let is_one = |value: &String| {
            graph.integers(self.model, value).is_some_and(|integers| integers == [1])
        };
        let is_mask = |value: &str| graph.is_input(&cast(value), "attention_mask");
        let last = node.input.get(5).map(|last| cast(last)).unwrap_or_default();
        let last = through(&last, "Sub").filter(|inputs| is_one(&inputs[1]));
        let sum = last.and_then(|inputs| through(&cast(&inputs[0]), "ReduceSum"));
        if !sum.is_some_and(|inputs| is_mask(&inputs[0]) && inputs.get(1).is_some_and(is_one)) {
            return Err(format!("{}: expected the last position by the mask", node.name()));
        }
        let total = node.input.get(6).map(|total| cast(total)).unwrap_or_default();
        let shape = through(&total, "Gather").filter(|inputs| is_one(&inputs[1]));
        let shape = shape.and_then(|inputs| through(&cast(&inputs[0]), "Shape"));
        if !shape.is_some_and(|inputs| is_mask(&inputs[0])) {
            return Err(format!("{}: expected the length of the mask", node.name()));
        }
        let cache = [(3, "past_key_values.", ".key"), (4, "past_key_values.", ".value")];
        let is_cache = |&(at, start, end): &(usize, &str, &str)| {
            let name = node.input.get(at).map_or("", String::as_str);
            graph.is_input(name, name) && name.starts_with(start) && name.ends_with(end)
        };
        match cache.iter().all(is_cache) {
            true => Ok(()),
            false => Err(format!("{}: expected past keys and values", node.name())),
        }
    }

    /// Query, key and value with the norms of their heads, and what goes in.
    #[expect(clippy::type_complexity, reason = "three times the same, and taken apart at once")]
    fn projections(
        &self,
        node: &NodeProto,
        n_heads: usize,
        n_kv_heads: usize,
    ) -> Result<([(Linear<'w>, Option<Norm>); 3], String), Refusal> {
        let graph = &self.graph;
        let input = |at: usize| node.input.get(at).map_or("", String::as_str);
        let counts = [n_heads, n_kv_heads, n_kv_heads];
        if input(1).is_empty() && input(2).is_empty() {
            let (packed, value) = self.linear(input(0))?;
            let n_all: usize = counts.iter().sum();
            let head_size = packed.n_outputs() / n_all;
            if head_size * n_all != packed.n_outputs() {
                return Err(graph.expected("queries, keys and values side by side", input(0)));
            }
            let mut start = 0;
            let parts = counts.map(|n| {
                let rows = start..start + n * head_size;
                start = rows.end;
                let bias = packed.bias.as_ref().map(|bias| bias[rows.clone()].to_vec());
                (Linear { matrix: packed.matrix.clone(), rows, bias }, None)
            });
            return Ok((parts, value));
        }
        let mut parts = Vec::new();
        for (at, n) in counts.into_iter().enumerate() {
            let (norm, value) = self.head_norm(input(at))?;
            let (linear, from) = self.linear(&value)?;
            let head_size = linear.n_outputs() / n;
            if norm.as_ref().is_some_and(|norm| norm.weight.len() != head_size) {
                return Err(graph.expected("a norm of each head", input(at)));
            }
            parts.push(((linear, norm), from));
        }
        let from = parts[0].1.clone();
        if parts.iter().any(|(_, other)| *other != from) {
            return Err(graph.expected("one input for queries, keys and values", input(1)));
        }
        let parts: Vec<_> = parts.into_iter().map(|(part, _)| part).collect();
        let parts = parts.try_into().map_err(|_| graph.expected("three projections", input(0)))?;
        Ok((parts, from))
    }

    /// The norm of each head, where there is one, and what goes in.
    fn head_norm(&self, value: &str) -> Result<(Option<Norm>, String), Refusal> {
        let Some(join) = self.graph.standard(value, "Reshape") else {
            return Ok((None, value.to_owned()));
        };
        let (norm, split) = self.plain_norm(&join.input[0])?;
        let split = self.graph.standard(&split, "Reshape");
        let split = split.ok_or_else(|| self.graph.expected("a norm of each head", value))?;
        let shape = split.input.get(1).and_then(|at| self.graph.integers(self.model, at));
        let length = i64::try_from(norm.weight.len()).unwrap_or(-1);
        if shape.and_then(|shape| shape.last().copied()) != Some(length) {
            return Err(self.graph.expected("rows of one head each", value));
        }
        Ok((Some(norm), split.input[0].clone()))
    }

    /// The place of a layer's table of angles.
    fn rotary(
        &mut self,
        node: &NodeProto,
        head_size: usize,
        is_interleaved: bool,
    ) -> Result<usize, Refusal> {
        let names = [7, 8].map(|at| node.input.get(at).cloned().unwrap_or_default());
        let pairs = if is_interleaved { Pairs::Neighbours } else { Pairs::Halves };
        let known =
            self.rotary.iter().position(|(found, rotary)| *found == names && rotary.pairs == pairs);
        if let Some(known) = known {
            return Ok(known);
        }
        let table = |name: &str| {
            let weight = self.graph.weight(name).filter(|weight| !weight.is_transposed);
            let tensor = weight.map(|weight| weight.tensor);
            let tensor = tensor.filter(|tensor| {
                matches!(tensor.shape[..], [n, half] if n > 0 && (1..=head_size / 2).contains(&half))
            });
            tensor.ok_or_else(|| self.graph.expected("a table of angles", name))
        };
        let (cosines, sines) = (table(&names[0])?, table(&names[1])?);
        if cosines.shape != sines.shape {
            return Err(self.graph.expected("as many sines as cosines", &names[1]));
        }
        let rotary = Rotary {
            n_rotated: 2 * cosines.shape[1],
            cosines: cosines.to_f32(),
            sines: sines.to_f32(),
            pairs,
        };
        self.rotary.push((names, rotary));
        Ok(self.rotary.len() - 1)
    }
}
