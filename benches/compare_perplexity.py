#!/usr/bin/env python3
"""Perplexity of Lapwing's exports beside llama.cpp's own, on the GGUF file that they are made of.

Usage: compare_perplexity.py --lapwing LAPWING --llama-perplexity PROGRAM --gguf FILE --text FILE
                             [--windows 40] [--weights f16] [--tolerance 0.5] [--out FILE]

Exports the file for both libraries with `--weights`, and evaluates the first windows of 512 tokens
of the text: with `lapwing eval ppl`, in exact arithmetic and as the library likes best, and with
`llama-perplexity`. Prints a table, appends one JSON line to --out, and exits 1 when an export in
exact arithmetic is off by more than --tolerance percent. The export of 0.5 B parameters takes
2.5 GB of disk in the folder of temporary files; two cores are busy for twenty minutes.
"""

import argparse
import datetime
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("--lapwing", required=True)
    parser.add_argument("--llama-perplexity", required=True)
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--weights", default="f16")
    parser.add_argument("--tolerance", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    peer = llama_perplexity(args)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for target in ("onnx", "openvino"):
            export = f"{folder}/{target}"
            command = [args.lapwing, "export", args.gguf, "--to", target, "--weights", args.weights]
            run([*command, "--out", export])
            for precision in ("exact", "fast"):
                results.append(evaluate(args, export, precision))
    print(f"{'llama.cpp':<22}{peer:9.4f}")
    is_close = True
    for result in results:
        result["difference_percent"] = round(100 * (result["perplexity"] / peer - 1), 3)
        within = result["precision"] != "exact" or abs(result["difference_percent"]) <= args.tolerance
        is_close &= within
        name = f"{result['backend']} {result['precision']}"
        print(f"{name:<22}{result['perplexity']:9.4f}  {result['difference_percent']:+.2f} %{'' if within else ' !'}")
    if args.out:
        record = {
            "schema": "compare-perplexity/1",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()} {cpu()}",
            "gguf_sha256": sha256(args.gguf),
            "text_sha256": sha256(args.text),
            "n_windows": args.windows,
            "n_window": 512,
            "weights": args.weights,
            "llama_cpp_perplexity": peer,
            "lapwing": results,
        }
        with args.out.open("a") as out:
            out.write(json.dumps(record) + "\n")
    sys.exit(0 if is_close else 1)


def llama_perplexity(args):
    command = [args.llama_perplexity, "-m", args.gguf, "-f", args.text, "-c", "512"]
    done = run([*command, "--chunks", str(args.windows)])
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr)
    return float(found.group(1))


def evaluate(args, export, precision):
    command = [args.lapwing, "eval", "ppl", "--model", export, "--text", args.text, "--json"]
    options = ["--limit", str(args.windows), "--precision", precision, "--device", "cpu"]
    answer = json.loads(run([*command, *options]).stdout)
    return {
        "backend": answer["model"]["backend"],
        "backend_version": answer["model"]["backend_version"],
        "precision": precision,
        "perplexity": answer["result"]["perplexity"],
    }


def run(command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cpu():
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else "unknown"


main()
