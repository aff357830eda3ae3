#!/usr/bin/env python3
"""How long a clean clone builds: the program of one commit after the other.

Usage: build_times.py COMMIT... [--rounds 1] [--out FILE]

Each commit is checked out in a folder of its own and `cargo build --release --locked -p lapwing
--bin lapwing`, which is what `scripts/demo` waits for, runs in an empty target folder; crates are
fetched before the clock starts. A round builds every commit once, the order turns from round to
round. Prints a table, and appends one JSON line a build to --out. User time counts where others use
the machine too; wall time only on an idle one.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = ["cargo", "build", "--release", "--locked", "-p", "lapwing", "--bin", "lapwing", "--timings"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("commits", nargs="+")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for round_idx in range(args.rounds):
        commits = args.commits if round_idx % 2 == 0 else args.commits[::-1]
        for commit in commits:
            record = build(commit)
            record["round"] = round_idx
            print(f"{record['commit']} wall {record['wall_s']:6.1f} s, user {record['user_s']:6.1f} s, "
                  f"{record['n_units']} units, {record['binary_bytes'] / 1e6:.1f} MB")
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")


def build(commit):
    """Build one commit; the record of it."""
    folder = Path(tempfile.mkdtemp(prefix="lapwing-build-"))
    try:
        source = folder / "source"
        run(["git", "worktree", "add", "--quiet", "--detach", str(source), commit])
        run(["cargo", "fetch", "--locked"], cwd=source)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        load = os.getloadavg()[0]
        run(BUILD, cwd=source, env={**os.environ, "CARGO_TARGET_DIR": str(folder / "target")})
        wall_s = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "target/cargo-timings/cargo-timing.html").read_text()
        units = json.loads(re.search(r"UNIT_DATA = (\[.*?\]);\n", page, re.DOTALL).group(1))
        units.sort(key=lambda unit: -unit["duration"])
        return {
            "schema": "build-times/1",
            "commit": output(["git", "rev-parse", "--short", commit]),
            "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()} {cpu()} {os.cpu_count()} cores",
            "rustc": output(["rustc", "--version"]),
            "load_before": load,
            "wall_s": round(wall_s, 1),
            "user_s": round(after.ru_utime - before.ru_utime, 1),
            "system_s": round(after.ru_stime - before.ru_stime, 1),
            "n_units": len(units),
            "longest": [[unit["name"], unit["duration"]] for unit in units[:12]],
            "binary_bytes": (folder / "target/release/lapwing").stat().st_size,
        }
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder / "source")], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def output(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cpu():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1) if found else "unknown processor"


if __name__ == "__main__":
    main()
