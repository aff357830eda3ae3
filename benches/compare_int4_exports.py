#!/usr/bin/env python3
"""The INT4 exports of two builds of Lapwing: bytes, divergence, memory and decoding speed.

Usage: compare_int4_exports.py --before BIN --after BIN --gguf FILE --text FILE --work DIR
                               [--gguf-before FILE] [--windows 20] [--repetitions 5] [--threads 2]
                               [--skip export,kl,bench] [--out FILE]

Exports the checkpoint by both programs to both targets with `--weights int4` and no other option,
and in f16 for OpenVINO by each, which is the reference: the checkpoint's own weights, but for what
f16 rounds off. Then, for each target,
1. counts the bytes of the whole folder and the processor time of the export;
2. `lapwing eval kl --precision exact`: nats a token from the reference, over the first windows of
   the text (512 tokens, of which the second half counts);
3. `lapwing bench` of both exports in one run, which take turns: decoding, prefill, and the resident
   memory of the process that decodes, once per repetition, with as many threads for both.

With --gguf-before another file is exported by the first program: a GGUF whose embedding and head are
one matrix in two precisions stands for what was exported when both were stored, if a row of the one
is changed (`--untie SRC DST` writes such a file, its last embedding zeroed).

With --skip export the folders {before,after}-{openvino,onnx} below --work are taken as they are.

Prints a table and appends one JSON line to --out. Needs the package gguf for --untie only.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = ["openvino", "onnx"]


def untie(source, destination):
    from gguf import GGUFReader

    shutil.copyfile(source, destination)
    reader = GGUFReader(destination, "r+")
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    embedding.data[-1] = 0
    embedding.data.flush()


def run(command):
    """Standard output, and the processor time of the children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    times = [getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime")]
    return done.stdout, sum(times)


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def export(program, source, target, weights, folder):
    command = [program, "export", source, "--to", target, "--weights", weights]
    _, cpu_s = run([*command, "--out", folder, "--overwrite"])
    return {"folder_bytes": folder_bytes(folder), "export_cpu_s": round(cpu_s, 1)}


def divergence(program, folder, reference, options):
    command = [program, "eval", "kl", "--model", folder, "--reference", reference]
    command += ["--text", options.text, "--limit", str(options.windows), "--precision", "exact"]
    output, _ = run([*command, "--threads", str(options.threads), "--fresh", "--json"])
    return json.loads(output)


def bench(program, folders, options):
    command = [program, "bench", "-p", "256", "-n", "48", "--skip-start", "--fresh", "--json"]
    command += ["--repetitions", str(options.repetitions), "--threads", str(options.threads)]
    for folder in folders:
        command += ["-m", folder]
    output, _ = run(command)
    return [json.loads(line) for line in output.splitlines()]


def summary(records, folder):
    """What a table shows of the records of one folder."""
    found = {}
    for record in records:
        if record["configuration"]["model"] != folder.name:
            continue
        kind = record["test"]["kind"]
        latency, memory = record["latency"], record["memory"]
        found[f"{kind}_samples_ms"] = latency["samples_ms"]
        found[f"{kind}_tokens_per_s"] = latency["tokens_per_s"]["median"]
        if kind == "decode":
            found["inter_token_ms"] = latency["inter_token_ms"]
            found["decoding_rss_bytes"] = memory["decoding_rss_bytes"]
            found["peak_rss_bytes"] = memory["peak_rss_bytes"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untie", nargs=2, metavar=("SRC", "DST"))
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--gguf-before", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.untie:
        untie(*options.untie)
        return
    needed = ["before", "after", "gguf", "text", "work"]
    if missing := [name for name in needed if getattr(options, name) is None]:
        parser.error(f"missing: --{', --'.join(missing)}")
    skipped = options.skip.split(",")
    builds = {
        "before": (options.before, options.gguf_before or options.gguf),
        "after": (options.after, options.gguf),
    }
    record = {
        "schema": "lapwing-compare-int4-exports/1",
        "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "gguf": options.gguf.name,
        "text": options.text.name,
        "n_windows": options.windows,
        "n_threads": options.threads,
        "load_average": os.getloadavg()[0],
        "machine": {"system": platform.platform(), "n_cores": os.cpu_count()},
        "exports": [],
    }
    options.work.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        folders = {build: options.work / f"{build}-{target}" for build in builds}
        rows = {}
        for build, (program, source) in builds.items():
            rows[build] = {"target": target, "build": build}
            if "export" in skipped:
                rows[build]["folder_bytes"] = folder_bytes(folders[build])
            else:
                rows[build] |= export(program, source, target, "int4", folders[build])
        if "bench" not in skipped:
            records = bench(options.after, folders.values(), options)
            for build, folder in folders.items():
                rows[build] |= summary(records, folder)
        if "kl" not in skipped:
            for build, (program, source) in builds.items():
                reference = options.work / f"{build}-f16"
                if not reference.exists():
                    export(program, source, "openvino", "f16", reference)
                rows[build]["kl"] = divergence(options.after, folders[build], reference, options)
        record["exports"] += rows.values()
    for row in record["exports"]:
        print(json.dumps({key: value for key, value in row.items() if "samples" not in key}))
    if options.out:
        with options.out.open("a") as out:
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
