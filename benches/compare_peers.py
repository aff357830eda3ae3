#!/usr/bin/env python3
"""Lapwing against its peers, in turn, on the same model, prompt and machine.

Usage: compare_peers.py --lapwing target/release/lapwing --openvino DIR --onnx DIR
                        [--prompt 512] [--new 128] [--rounds 7] [--threads 0] [--out FILE]

Each round runs every program once, in an order that changes from round to round, each in a process
of its own and warm. What counts is the ratio within a round: absolute times move with the machine.
Prints a table and appends one JSON line to --out. Needs openvino, openvino-genai,
openvino-tokenizers, onnxruntime, onnxruntime-genai and numpy in the Python that runs it.
"""

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def prompt_ids(n_prompt, seed=100):
    generator = random.Random(seed)
    return [generator.randrange(1000, 40000) for _ in range(n_prompt)]


def run_lapwing(args, model):
    command = [
        args.lapwing, "run", "--model", model, "--json", "--warmup", "--ignore-eos",
        "--temperature", "0", "--max-tokens", str(args.new),
        "--prompt-ids", ",".join(map(str, prompt_ids(args.prompt))),
    ]
    if args.threads:
        command += ["--threads", str(args.threads)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    timings = report["timings"]
    return {
        "ttft_ms": timings["ttft_ms"],
        "tpot_ms": timings["decode_ms_p50"] + (timings["sample_us_p50"] + timings["detokenize_us_p50"]) / 1e3,
        "own_share": timings["host_us_p50"] / 1e3 / timings["decode_ms_p50"],
        "rss_bytes": report["memory"]["rss_bytes"],
        "version": f"{report['backend']} {report['backend_version']}",
    }


def run_peer(args, kind, model):
    command = [sys.executable, str(HERE / "peer.py"), kind, model]
    command += [str(args.prompt), str(args.new), str(args.threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def versions():
    from importlib import metadata

    names = ["openvino", "openvino-genai", "onnxruntime", "onnxruntime-genai"]
    return {name: metadata.version(name) for name in names}


def main():
    parser = argparse.ArgumentParser()
    for name in ("--lapwing", "--openvino", "--onnx"):
        parser.add_argument(name, required=True)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: each program's own choice")
    parser.add_argument("--out")
    args = parser.parse_args()

    programs = {
        "lapwing-openvino": lambda: run_lapwing(args, args.openvino),
        "openvino-genai": lambda: run_peer(args, "openvino-genai", args.openvino),
        "openvino-loop": lambda: run_peer(args, "openvino-loop", args.openvino),
        "lapwing-ort": lambda: run_lapwing(args, args.onnx),
        "onnxruntime-genai": lambda: run_peer(args, "onnxruntime-genai", args.onnx),
        "onnxruntime-loop": lambda: run_peer(args, "onnxruntime-loop", args.onnx),
    }
    rounds = []
    for round_idx in range(args.rounds):
        # A pair stays together; which of the two goes first alternates.
        names = list(programs)
        names = names[3:] + names[:3] if round_idx % 2 else names
        names = [name for start in (0, 3) for name in names[start:start + 3][::-1 if round_idx % 4 > 1 else 1]]
        results = {name: programs[name]() for name in names}
        rounds.append(results)
        print(f"round {round_idx + 1} of {args.rounds}", file=sys.stderr)

    pairs = {
        "openvino": ("lapwing-openvino", "openvino-genai", "openvino-loop"),
        "ort": ("lapwing-ort", "onnxruntime-genai", "onnxruntime-loop"),
    }
    summary = {}
    for backend, (ours, peer, loop) in pairs.items():
        ratio = lambda key, other: spread([r[ours][key] / r[other][key] for r in rounds])
        summary[backend] = {
            "ttft_ratio_to_genai": ratio("ttft_ms", peer),
            "tpot_ratio_to_genai": ratio("tpot_ms", peer),
            "ttft_ratio_to_loop": ratio("ttft_ms", loop),
            "tpot_ratio_to_loop": ratio("tpot_ms", loop),
            "own_share_of_step": spread([r[ours]["own_share"] for r in rounds]),
            # The loop without what Python and NumPy took before it loaded the library.
            "rss_over_loop_bytes": spread([
                r[ours]["rss_bytes"] - (r[loop]["rss_bytes"] - r[loop]["python_rss_bytes"]) for r in rounds
            ]),
        }
    medians = {
        name: {key: statistics.median(r[name][key] for r in rounds) for key in ("ttft_ms", "tpot_ms", "rss_bytes")}
        for name in programs
    }
    print(f"{'program':20} {'ttft ms':>9} {'tpot ms':>9} {'rss MB':>8}")
    for name, row in medians.items():
        print(f"{name:20} {row['ttft_ms']:9.1f} {row['tpot_ms']:9.2f} {row['rss_bytes'] / 1e6:8.0f}")
    for backend, rows in summary.items():
        for key, row in rows.items():
            print(f"{backend:9} {key:22} {row['median']:14.3f}  ({row['min']:.3f} to {row['max']:.3f})")
    if args.out:
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "")
        record = {
            "schema": "compare-peers/1",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"cpu": cpu, "n_cpus": os.cpu_count(), "system": platform.platform()},
            "n_prompt_tokens": args.prompt, "n_new_tokens": args.new, "n_rounds": args.rounds,
            "n_threads": args.threads,
            "models": {"openvino": Path(args.openvino).name, "onnx": Path(args.onnx).name},
            "versions": versions(), "medians": medians, "summary": summary, "rounds": rounds,
        }
        with open(args.out, "a") as out:
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
