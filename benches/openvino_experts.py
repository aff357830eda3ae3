#!/usr/bin/env python3
"""Whether OpenVINO fuses the experts of one export as it does those of another, and what a token costs.

Usage: openvino_experts.py OURS THEIRS [--tokens 100] [--rounds 15] [--threads N] [--out FILE]

Two folders of one model. What the CPU plugin makes of each graph is counted by kind of operation;
then a plain loop over OpenVINO decodes greedily in turn, the order turning around from round to
round. How far both make the same tokens is told for exact arithmetic, and means something for f32
weights. Prints and appends one JSON line. Needs openvino and numpy.
"""

import argparse
import collections
import datetime
import json
import os
import platform
import statistics
import time
from importlib import metadata

import numpy as np
import openvino as ov

PROMPT = [1, 403, 407, 261]
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class Decoder:
    def __init__(self, core, folder, n_threads, more):
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": n_threads}
        self.model = core.compile_model(f"{folder}/openvino_model.xml", "CPU", properties | more)
        self.names = {name for port in self.model.inputs for name in port.get_names()}
        self.request = self.model.create_infer_request()

    def operations(self):
        kinds = collections.Counter()
        for node in self.model.get_runtime_model().get_ordered_ops():
            kind = node.get_rt_info()["layerType"]
            kinds[kind if isinstance(kind, str) else kind.value] += 1
        return dict(sorted(kinds.items()))

    def step(self, ids, n_past):
        n_all = n_past + len(ids)
        inputs = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, n_all), np.int64),
            "position_ids": np.arange(n_past, n_all, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self.request.infer({name: value for name, value in inputs.items() if name in self.names})
        return int(self.request.get_tensor("logits").data[0, -1].argmax())

    def decode(self, n_tokens):
        self.request.reset_state()
        token, tokens, times = self.step(PROMPT, 0), [], []
        for position in range(len(PROMPT), len(PROMPT) + n_tokens):
            tokens.append(token)
            started = time.perf_counter()
            token = self.step([token], position)
            times.append(time.perf_counter() - started)
        return tokens, statistics.median(times) * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out")
    args = parser.parse_args()
    core = ov.Core()
    folders = {"ours": args.ours, "theirs": args.theirs}
    tokens = [Decoder(core, folder, args.threads, EXACT).decode(args.tokens)[0] for folder in folders.values()]
    decoders = {name: Decoder(core, folder, args.threads, {}) for name, folder in folders.items()}
    for decoder in decoders.values():
        decoder.decode(args.tokens)
    times = {name: [] for name in decoders}
    for round_index in range(args.rounds):
        order = list(decoders) if round_index % 2 == 0 else list(decoders)[::-1]
        for name in order:
            times[name].append(decoders[name].decode(args.tokens)[1])
    ratios = sorted(a / b for a, b in zip(times["ours"], times["theirs"]))
    agree = next((i for i, pair in enumerate(zip(*tokens)) if pair[0] != pair[1]), args.tokens)
    record = {
        "schema": "openvino-experts/1",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"n_cpus": os.cpu_count(), "system": platform.platform()},
        "openvino": metadata.version("openvino"), "n_threads": args.threads,
        "n_tokens": args.tokens, "n_rounds": args.rounds, "n_tokens_alike": agree,
        "folders": {name: os.path.basename(folder.rstrip("/")) for name, folder in folders.items()},
        "operations": {name: decoder.operations() for name, decoder in decoders.items()},
        "ms_a_token_median": {name: statistics.median(values) for name, values in times.items()},
        "ratio_ours_to_theirs": {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]},
    }
    print(json.dumps(record, indent=1))
    if args.out:
        with open(args.out, "a") as out:
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
