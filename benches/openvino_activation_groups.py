#!/usr/bin/env python3
"""What the groups in which OpenVINO quantises activations cost and bring.

Usage: openvino_activation_groups.py --model DIR --text FILE [--rounds 7] [--out FILE]

A plain loop over OpenVINO with a slice before the head: time to first token of 512 tokens, in turn,
and the divergence of 1 000 tokens from f32 arithmetic, for the plugin's default and for groups of
64. Prints and appends one JSON line. Needs openvino, tokenizers and numpy.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from importlib import metadata

import numpy as np
import openvino as ov
import tokenizers
from openvino import opset8

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
CANDIDATES = {"default": {}, "64": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}}


def compile_model(core, folder, properties, last_only):
    model = core.read_model(f"{folder}/openvino_model.xml")
    if last_only:
        head = model.output("logits").get_node().input_value(0).get_node()
        while head.get_type_name() != "MatMul":
            head = head.input_value(0).get_node()
        one = np.array([1])
        sliced = opset8.slice(head.input_value(0), -one, np.array([2**62]), one, one)
        head.input(0).replace_source_output(sliced.output(0))
        model.validate_nodes_and_infer_types()
    threads = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": os.cpu_count()}
    return core.compile_model(model, "CPU", threads | properties)


def infer(compiled, ids):
    request = compiled.create_infer_request()
    started = time.perf_counter()
    request.infer({
        "input_ids": ids[None].astype(np.int64),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
    })
    elapsed_ms = (time.perf_counter() - started) * 1e3
    return request.get_tensor("logits").data[0].astype(np.float64), elapsed_ms


def log_softmax(compiled, ids):
    logits = np.concatenate([infer(compiled, ids[start:start + 500])[0] for start in range(0, len(ids), 500)])
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out")
    args = parser.parse_args()
    core = ov.Core()
    text = open(args.text, encoding="utf-8").read()[20_000:40_000]
    ids = np.array(tokenizers.Tokenizer.from_file(f"{args.model}/tokenizer.json").encode(text).ids[:1000])
    reference = log_softmax(compile_model(core, args.model, EXACT, False), ids)
    row = {}
    timed = {}
    for name, properties in CANDIDATES.items():
        found = log_softmax(compile_model(core, args.model, properties, False), ids)
        divergence = (np.exp(reference) * (reference - found)).sum(-1)
        row[name] = {
            "kl_mean": divergence.mean(),
            "kl_p99": np.quantile(divergence, 0.99),
            "top1_agreement": float((found.argmax(-1) == reference.argmax(-1)).mean()),
        }
        timed[name] = compile_model(core, args.model, properties, True)
        infer(timed[name], ids[:512])
    times = {name: [] for name in timed}
    for _ in range(args.rounds):
        for name, compiled in timed.items():
            times[name].append(infer(compiled, ids[:512])[1])
    for name in row:
        row[name]["ttft_ms_median"] = statistics.median(times[name])
    ratios = [b / a for a, b in zip(times["default"], times["64"])]
    record = {
        "schema": "openvino-activation-groups/1",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"n_cpus": os.cpu_count(), "system": platform.platform()},
        "openvino": metadata.version("openvino"), "model": os.path.basename(args.model.rstrip("/")),
        "n_tokens": len(ids), "n_prompt_tokens": 512, "n_rounds": args.rounds, "groups": row,
        "ttft_ratio_64_to_default": {
            "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios),
        },
    }
    print(json.dumps(record, indent=1))
    if args.out:
        with open(args.out, "a") as out:
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
