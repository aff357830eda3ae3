#!/usr/bin/env python3
"""Write crates/lapwing-openvino/tests/data/storymamba.json (pip install numpy).

An independent forward pass of a Mamba checkpoint in f64, position by position, with no library of
models: Gu and Dao 2023 (arXiv:2312.00752), section 3 and algorithm 2. The prompt is the one that the
file holds; what follows from it is computed anew and, with --check, compared instead of written.

Usage: scripts/make_mamba_fixture.py CHECKPOINT_FOLDER [--check]
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).parent.parent / "crates/lapwing-openvino/tests/data/storymamba.json"
N_GREEDY = 16
N_TOP = 16


def read_safetensors(path):
    data = path.read_bytes()
    (n_header,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n_header])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            sys.exit(f"{path}: {name} is {entry['dtype']}, expected F32")
        start, end = (8 + n_header + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], np.float32)
        tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def silu(x):
    return x / (1 + np.exp(-x))


def rms_norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def mixer(x, weights, config):
    """One layer of selective state spaces. Shapes: x [n_positions, n_hidden]."""
    n_positions, n_inner = len(x), config["intermediate_size"]
    n_rank, n_states = config["time_step_rank"], config["state_size"]
    inner, gate = np.split(x @ weights("in_proj.weight").T, [n_inner], axis=1)
    kernel = weights("conv1d.weight")[:, 0, :]
    padded = np.concatenate([np.zeros((kernel.shape[1] - 1, n_inner)), inner])
    taps = (padded[k : k + n_positions] * kernel[:, k] for k in range(kernel.shape[1]))
    inner = silu(sum(taps) + weights("conv1d.bias"))
    selected = inner @ weights("x_proj.weight").T
    step, into, out_of = np.split(selected, [n_rank, n_rank + n_states], axis=1)
    step = np.logaddexp(0, step @ weights("dt_proj.weight").T + weights("dt_proj.bias"))
    decay = -np.exp(weights("A_log"))
    state, rows = np.zeros((n_inner, n_states)), []
    for t in range(n_positions):
        column = step[t][:, None]
        state = np.exp(decay * column) * state + column * into[t] * inner[t][:, None]
        rows.append(state @ out_of[t])
    mixed = (np.array(rows) + inner * weights("D")) * silu(gate)
    return mixed @ weights("out_proj.weight").T


def forward(ids, tensors, config):
    """Logits [n_positions, n_vocab]; the head is tied to the embedding."""
    embedding = tensors["backbone.embeddings.weight"]
    epsilon, hidden = config["layer_norm_epsilon"], embedding[ids]
    for layer in range(config["num_hidden_layers"]):
        name = f"backbone.layers.{layer}."
        normed = rms_norm(hidden, tensors[name + "norm.weight"], epsilon)
        hidden = hidden + mixer(normed, lambda part: tensors[f"{name}mixer.{part}"], config)
    return rms_norm(hidden, tensors["backbone.norm_f.weight"], epsilon) @ embedding.T


def reference(prompt, tensors, config):
    logits = forward(prompt, tensors, config)
    log_sums = np.log(np.exp(logits[:-1]).sum(-1))
    surprise = log_sums - logits[np.arange(len(prompt) - 1), prompt[1:]]
    top = np.argsort(-logits[-1], kind="stable")[:N_TOP]
    ids = list(prompt)
    for _ in range(N_GREEDY):
        ids.append(int(forward(ids, tensors, config)[-1].argmax()))
    return {
        "prompt_ids": prompt,
        "mean_surprise_nats": round(float(surprise.mean()), 6),
        "greedy_ids": ids[len(prompt) :],
        "first_step_top16": [[int(id), round(float(logits[-1][id]), 5)] for id in top],
    }


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    folder = Path(arguments[0])
    config = json.loads((folder / "config.json").read_text())
    kept = json.loads(OUT.read_text())
    found = reference(kept["prompt_ids"], read_safetensors(folder / "model.safetensors"), config)
    if "--check" in sys.argv:
        different = [key for key in found if found[key] != kept[key]]
        if different:
            sys.exit(f"{OUT} differs in {', '.join(different)}: {[found[key] for key in different]}")
        print(f"{OUT} is what the checkpoint gives")
        return
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
