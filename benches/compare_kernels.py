#!/usr/bin/env python3
"""The SIMD kernels of one commit against those of another, in turn, in one process.

Usage: compare_kernels.py BEFORE [AFTER] [--rounds 400] [--only KERNEL|LENGTH ...] [--bar 0.97]
                          [--out FILE]

Takes `crates/lapwing-kernels` of both commits (AFTER is HEAD when it is not given), builds them
into one program with `compare_kernels.rs`, checks that they give the same bits, and times every
kernel at every level that the CPU has, but for the plain one, on rows of three lengths. A round
times one and then the other, the next round the other way round; what counts is the ratio within
a round, because absolute times move with the machine.

Prints a table, appends one JSON line to --out, exits 1 when a median is below --bar. Needs git and
cargo, and nothing else to run.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).resolve().parent
CRATE = "crates/lapwing-kernels/src"
MANIFEST = """[package]
name = "compare-kernels"
version = "0.0.0"
edition = "2024"
[dependencies]
lapwing-kernels-before = { path = "before" }
lapwing-kernels-after = { path = "after" }
[profile.release]
lto = "thin"
[workspace]
"""


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=HERE.parent, check=True, capture_output=True).stdout


def build(before, after, folder):
    (folder / "src").mkdir()
    (folder / "src/main.rs").write_text((HERE / "compare_kernels.rs").read_text())
    (folder / "Cargo.toml").write_text(MANIFEST)
    for name, revision in (("before", before), ("after", after)):
        with tarfile.open(fileobj=BytesIO(git("archive", revision, CRATE))) as archive:
            archive.extractall(folder / name, filter="data")
        (folder / name / CRATE).rename(folder / name / "src")
        package = f'[package]\nname = "lapwing-kernels-{name}"\nedition = "2024"\n'
        (folder / name / "Cargo.toml").write_text(package)
    command = ["cargo", "build", "--release", "--quiet", "--target-dir", folder / "target"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "target/release/compare-kernels"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--bar", type=float, default=0.97)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    commits = [git("rev-parse", "--short", it).decode().strip() for it in (args.before, args.after)]
    with tempfile.TemporaryDirectory() as folder:
        program = build(*commits, Path(folder))
        done = subprocess.run(
            [program, str(args.rounds), *args.only], check=True, capture_output=True, text=True)
    cases = [json.loads(line) for line in done.stdout.splitlines()]

    below = 0
    print(f"{'kernel':22} {'level':7} {'entries':>8} {'before':>12} {'after':>12}  speed ratio")
    for case in cases:
        ratio = case["speed_ratio"]
        is_below = ratio["median"] < args.bar
        below += is_below
        print(
            f"{case['kernel']:22} {case['level']:7} {case['n_row']:8}"
            f" {case['before_ns_median']:9} ns {case['after_ns_median']:9} ns"
            f"  {ratio['median']:.3f} ({ratio['p25']:.3f} to {ratio['p75']:.3f})"
            f"{' !' if is_below else ''}")

    if args.out:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(": ")[1].strip() for line in file if line.startswith("model name"))
        rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True)
        record = {
            "schema": "compare-kernels/1",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"cpu": cpu, "n_cpus": os.cpu_count(), "system": platform.platform()},
            "rustc": rustc.stdout.split()[1],
            "before": commits[0], "after": commits[1],
            "n_rounds": args.rounds, "n_warmup_rounds": 2, "cases": cases,
        }
        with open(args.out, "a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.exit(1 if below else 0)


if __name__ == "__main__":
    main()
