#!/usr/bin/env python3
"""`lapwing export` against what others make of its folders: tokens, and what quantisation costs.

Usage: check_exports.py --lapwing target/release/lapwing --gguf FILE --text FILE --work DIR
                        [--safetensors DIR --golden FILE] [--out FILE] [--threads 2]

Exports one checkpoint in f32, int8 and int4 for both targets below --work, then
1. answers a few chat prompts greedily with `lapwing run --precision exact`, and gives the same
   prompt ids to ONNX Runtime GenAI (the folder unchanged) and to the plainest loops over ONNX
   Runtime and OpenVINO. Tokens must be equal as long as the two largest logits of the loop are
   more than --tolerance apart;
2. measures the divergence of the quantised exports from the f32 export of the same target, over
   windows of a text: prompt by window (all positions at once), and for one window token by token,
   because libraries multiply a single row by another kernel than several.
With --safetensors, exports that folder in f32 too and compares with the tokens in --golden.

Prints tables, appends one JSON line to --out, exits 1 when tokens differ or int8 costs more than
--bar. Needs openvino, onnxruntime, onnxruntime-genai, tokenizers and numpy.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

PROMPTS = [
    "What is the capital of France? Explain in a few sentences.",
    "Write a haiku about the sea.",
    "List three uses of a paperclip.",
    "Translate to Spanish: The cat sleeps on the chair.",
    "What is 17 + 25?",
    "Why is the sky blue?",
    "Write a Python function that reverses a string.",
    "Explain to a child what a lighthouse is for.",
]
N_NEW = 48
TARGETS = ("openvino", "onnx")
# Name, then what `lapwing export` is told. The first is what the others are compared with.
PRECISIONS = {
    "f32": ["--weights", "f32"],
    "int8": ["--weights", "int8"],
    "int8-sym": ["--weights", "int8", "--symmetric"],
    "int4": ["--weights", "int4"],
    "int4-sym": ["--weights", "int4", "--symmetric"],
}
BARRED = ("int8", "int8-sym")


def lapwing(args, *arguments):
    """Run Lapwing; a failure shows its message."""
    done = subprocess.run([args.lapwing, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"lapwing {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def export(args, source, target, name):
    folder = args.work / f"{Path(source).stem}-{target}-{name}"
    lapwing(args, "export", str(source), "--to", target, *PRECISIONS[name],
            "--out", str(folder), "--overwrite", "--quiet")
    return folder


def run_lapwing(args, folder, prompt, n_new):
    """Prompt ids and greedy ids; `prompt` is a text or ids."""
    given = ["--prompt", prompt] if isinstance(prompt, str) else \
        ["--prompt-ids", ",".join(map(str, prompt))]
    report = json.loads(lapwing(
        args, "run", "--model", str(folder), "--json", "--precision", "exact", "--temperature",
        "0", "--repeat-penalty", "1", "--max-tokens", str(n_new), "--threads", str(args.threads),
        *given))
    return report["prompt_ids"], report["token_ids"]


class OpenVinoLoop:
    """The plainest loop over OpenVINO, in f32."""

    def __init__(self, folder, n_threads):
        import openvino as ov

        properties = {
            "INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_NUM_THREADS": n_threads,
        }
        model = str(folder / "openvino_model.xml")
        self.compiled = ov.Core().compile_model(model, "CPU", properties)
        self.names = {port.get_any_name() for port in self.compiled.inputs}

    def start(self):
        self.request, self.n_past = self.compiled.create_infer_request(), 0

    def step(self, ids):
        """Logits of all the given positions."""
        n_total = self.n_past + len(ids)
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, n_total), np.int64),
            "position_ids": np.arange(self.n_past, n_total, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self.n_past = n_total
        self.request.infer({name: feeds[name] for name in self.names})
        return self.request.get_tensor("logits").data[0]


class OnnxRuntimeLoop:
    """The plainest loop over ONNX Runtime: past in, present out."""

    def __init__(self, folder, n_threads):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads
        model = str(folder / "model.onnx")
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]
        self.empty = np.zeros((1, decoder["num_key_value_heads"], 0, decoder["head_size"]), "f4")
        self.names = {port.name for port in self.session.get_inputs()}
        self.outputs = [port.name for port in self.session.get_outputs()]

    def start(self):
        past = [name for name in self.names if name.startswith("past_key_values.")]
        self.past, self.n_past = dict.fromkeys(past, self.empty), 0

    def step(self, ids):
        """Logits of all the given positions."""
        n_total = self.n_past + len(ids)
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, n_total), np.int64),
            "position_ids": np.arange(self.n_past, n_total, dtype=np.int64)[None],
        }
        self.n_past = n_total
        feeds = {name: feeds[name] for name in self.names & feeds.keys()} | self.past
        results = dict(zip(self.outputs, self.session.run(None, feeds)))
        self.past = {
            name: results[name.replace("past_key_values", "present")] for name in self.past
        }
        return results["logits"][0]


LOOPS = {"openvino": OpenVinoLoop, "onnx": OnnxRuntimeLoop}


def greedy(loop, prompt_ids, n_new):
    """Greedy ids, and at each how far the two largest logits are apart."""
    loop.start()
    ids, margins, row = [], [], loop.step(prompt_ids)[-1]
    while len(ids) < n_new:
        second, first = np.partition(row, -2)[-2:]
        ids.append(int(row.argmax()))
        margins.append(float(first - second))
        row = loop.step(ids[-1:])[-1]
    return ids, margins


class GenAi:
    """ONNX Runtime GenAI on the folder as it is."""

    def __init__(self, folder, n_threads):
        import onnxruntime_genai as genai

        self.genai, config = genai, genai.Config(str(folder))
        threads = {"session_options": {"intra_op_num_threads": n_threads}}
        config.overlay(json.dumps({"model": {"decoder": threads}}))
        self.model = genai.Model(config)

    def greedy(self, prompt_ids, n_new):
        params = self.genai.GeneratorParams(self.model)
        # Plainly greedy, whatever the folder's makers say about sampling.
        params.set_search_options(
            max_length=len(prompt_ids) + n_new, do_sample=False, repetition_penalty=1.0)
        generator = self.genai.Generator(self.model, params)
        generator.append_tokens(np.array(prompt_ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [int(token) for token in generator.get_sequence(0)[len(prompt_ids):]]


def compare(ours, theirs, margins, tolerance):
    """Length of the equal start, and why it ends: `whole`, `tie` or `differs`.

    One that stopped at an end token agrees with one that goes on.
    """
    n_both = min(len(ours), len(theirs))
    n_equal = next((n for n in range(n_both) if ours[n] != theirs[n]), n_both)
    if n_equal == n_both:
        return {"n_equal": n_equal, "n_ours": len(ours), "ends": "whole"}
    margin = margins[n_equal]
    ends = "tie" if margin <= tolerance else "differs"
    return {"n_equal": n_equal, "n_ours": len(ours), "ends": ends, "margin": margin}


def check_tokens(args, folders):
    rows = []
    for (target, name), folder in folders.items():
        loop = LOOPS[target](folder, args.threads)
        genai = GenAi(folder, args.threads) if target == "onnx" else None
        for prompt_idx, prompt in enumerate(PROMPTS):
            prompt_ids, ours = run_lapwing(args, folder, prompt, N_NEW)
            plain, margins = greedy(loop, prompt_ids, len(ours))
            peers = {"loop": compare(ours, plain, margins, args.tolerance)}
            if genai:
                theirs = genai.greedy(prompt_ids, N_NEW)
                peers["genai"] = compare(ours, theirs, margins, args.tolerance)
                # One of the two may show the end token; more is another end.
                if peers["genai"]["ends"] == "whole" and abs(len(theirs) - len(ours)) > 1:
                    peers["genai"]["ends"] = "differs"
            rows.append({"target": target, "weights": name, "prompt_idx": prompt_idx,
                         "least_margin": min(margins), **peers})
    return rows


def check_golden(args):
    rows = []
    for target in TARGETS:
        folder = export(args, args.safetensors, target, "f32")
        for case in json.loads(Path(args.golden).read_text())["cases"]:
            expected = case["greedy_ids"]
            _, ours = run_lapwing(args, folder, case["prompt_ids"], len(expected))
            margins = [0.0] * len(expected)  # No tolerance: f32 against f32.
            outcome = compare(ours, expected, margins, -1.0)
            rows.append({"target": target, "prompt": case["prompt"], **outcome})
    return rows


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


def divergence(reference, other):
    """KL(reference || other) in nat and whether the likeliest token is the same, by position."""
    kl = (np.exp(reference) * (reference - other)).sum(axis=-1)
    return kl, reference.argmax(axis=-1) == other.argmax(axis=-1)


def windows(args, folder):
    from tokenizers import Tokenizer

    text = Path(args.text).read_text(encoding="utf-8")[:200_000]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids[args.skip:args.skip + args.tokens]
    if len(ids) < args.tokens:
        sys.exit(f"{args.text} has too few tokens")
    return [ids[start:start + args.window] for start in range(0, len(ids), args.window)]


def rows_of(loop, ids, n_at_once):
    loop.start()
    parts = [loop.step(ids[n:n + n_at_once]).copy() for n in range(0, len(ids), n_at_once)]
    return log_softmax(np.concatenate(parts))


def measure(args, folders, target, n_at_once):
    """Divergence and perplexity of every precision of a target; windows hold the same text."""
    loops = {name: LOOPS[target](folder, args.threads)
             for (of, name), folder in folders.items() if of == target}
    kl, top, nll = ({name: [] for name in loops} for _ in range(3))
    texts = windows(args, folders[target, "f32"])
    for ids in texts if n_at_once > 1 else [texts[0][:args.step_tokens]]:
        reference = None
        for name, loop in loops.items():
            rows = rows_of(loop, ids, n_at_once)
            reference = rows if reference is None else reference
            window_kl, window_top = divergence(reference, rows)
            kl[name].append(window_kl)
            top[name].append(window_top)
            nll[name].append(-rows[np.arange(len(ids) - 1), ids[1:]])
    rows = []
    for name in loops:
        values, scores = np.concatenate(kl[name]), np.concatenate(nll[name])
        rows.append({
            "target": target, "weights": name,
            "at_once": "window" if n_at_once > 1 else "token", "n_tokens": len(values),
            "kl_mean": float(values.mean()), "kl_median": float(np.median(values)),
            "kl_p99": float(np.quantile(values, 0.99)), "kl_max": float(values.max()),
            "top1_agreement": float(np.concatenate(top[name]).mean()),
            "perplexity": float(np.exp(scores.mean())),
        })
    return rows


def print_tokens(rows):
    print(f"{'target':9} {'weights':9} {'against':8} equal of tokens, by prompt "
          "(~ ends at a tie, ! differs)")
    for target, name in dict.fromkeys((row["target"], row["weights"]) for row in rows):
        mine = [row for row in rows if (row["target"], row["weights"]) == (target, name)]
        for peer in ("loop", "genai"):
            cells = [row[peer] for row in mine if peer in row]
            marks = {"whole": " ", "tie": "~", "differs": "!"}
            cells = [f"{c['n_equal']:>3}/{c['n_ours']}{marks[c['ends']]}" for c in cells]
            if cells:
                print(f"{target:9} {name:9} {peer:8}", " ".join(cells))


def print_divergence(rows):
    print(f"{'target':9} {'weights':9} {'at once':7} {'tokens':>6} {'KL mean':>9} {'median':>9} "
          f"{'p99':>8} {'max':>8} {'top-1':>7} {'ppl':>8}")
    for row in rows:
        print(f"{row['target']:9} {row['weights']:9} {row['at_once']:7} {row['n_tokens']:6} "
              f"{row['kl_mean']:9.5f} {row['kl_median']:9.5f} {row['kl_p99']:8.4f} "
              f"{row['kl_max']:8.4f} {row['top1_agreement']:7.4f} {row['perplexity']:8.3f}")


def failures(args, tokens, golden, kl):
    for row in tokens:
        for peer in ("loop", "genai"):
            if row.get(peer, {}).get("ends") == "differs":
                yield f"{row['target']} {row['weights']}, prompt {row['prompt_idx']}: {row[peer]}"
    for row in golden:
        if row["ends"] != "whole" or row["n_equal"] != row["n_ours"]:
            yield f"{row['target']} f32 of {args.safetensors}: {row}"
    for row in kl:
        if row["weights"] in BARRED and row["at_once"] == "window" and row["kl_mean"] > args.bar:
            yield f"{row['target']} {row['weights']}: mean KL {row['kl_mean']:.5f} > {args.bar}"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--lapwing", "--gguf", "--text"):
        parser.add_argument(name, required=True)
    parser.add_argument("--work", type=Path, required=True)
    for name in ("--safetensors", "--golden", "--out"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.05, help="a tie, in logits")
    parser.add_argument("--bar", type=float, default=0.01, help="of the mean KL of int8, in nat")
    parser.add_argument("--skip", type=int, default=1000, help="tokens of the text to leave out")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--window", type=int, default=500)
    parser.add_argument("--step-tokens", type=int, default=250)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    folders = {(target, name): export(args, args.gguf, target, name)
               for target in TARGETS for name in PRECISIONS}
    golden = check_golden(args) if args.safetensors and args.golden else []
    tokens = check_tokens(args, folders)
    print_tokens(tokens)
    sys.stdout.flush()
    kl = [row for target in TARGETS for n_at_once in (args.window, 1)
          for row in measure(args, folders, target, n_at_once)]
    print_divergence(kl)
    failed = list(failures(args, tokens, golden, kl))
    print("\n".join(failed) or "all of it agrees")
    if args.out:
        cpuinfo = open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []
        cpu = next((line.split(":")[1].strip() for line in cpuinfo if "model name" in line), "")
        packages = ["openvino", "onnxruntime", "onnxruntime-genai"]
        record = {
            "schema": "check-exports/1",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"cpu": cpu, "n_cpus": os.cpu_count(), "system": platform.platform()},
            "versions": {name: metadata.version(name) for name in packages}
            | {"lapwing": lapwing(args, "--version").split()[-1]},
            "checkpoint": Path(args.gguf).name, "text": Path(args.text).name,
            "n_threads": args.threads, "n_new_tokens": N_NEW, "tolerance": args.tolerance,
            "bar": args.bar, "n_skipped_tokens": args.skip, "n_window_tokens": args.window,
            "prompts": PROMPTS, "tokens": tokens, "golden": golden, "divergence": kl,
            "failed": failed,
        }
        with open(args.out, "a") as out:
            out.write(json.dumps(record) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
