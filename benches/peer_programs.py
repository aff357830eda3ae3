"""How each program of a definition is run once, for one test, in a process of its own.

Every function here gives the same: what was measured, the peak resident set as the kernel counts
it, the state of the machine before and after, and what the program says of itself (`own`).
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import peer_conditions

HERE = Path(__file__).parent
N_STDERR_LINES = 12


class ProgramError(Exception):
    """A program that failed, with the end of what it said."""


def run(settings, program, test):
    """Run `program` once for `test`."""
    before = peer_conditions.snapshot()
    ran = {
        "lapwing": lapwing, "llama.cpp": llama_bench, "openvino-genai": python_peer,
        "onnxruntime-genai": python_peer,
    }[program["program"]](settings, program, test)
    now = datetime.datetime.now(datetime.timezone.utc)
    return ran | {
        "before": before, "after": peer_conditions.snapshot(),
        "measured_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def lapwing(settings, program, test):
    command = [
        settings["lapwing"], "bench", "--model", program["path"], "--device", "cpu",
        "--skip-start", "--precision", settings["precision"], "--correction", "off",
        "--repetitions", settings["n_repetitions"], "--warmup", settings["n_warmups"],
        "--seed", settings["seed"], "--prompt-tokens", test["n_prompt_tokens"],
        "--generated-tokens", test["n_generated_tokens"], "--depth", test["n_depth_tokens"],
        "--json", "--fresh",
    ]
    if settings["n_threads"]:
        command += ["--threads", settings["n_threads"]]
    if "variant" in program:
        command += ["--variant", program["variant"]]
    with tempfile.TemporaryDirectory() as folder:
        ended = Process(command + ["--out", Path(folder, "records.jsonl")], program)
    lines = ended.stdout.splitlines()
    if len(lines) != 1:
        raise ProgramError(f"{program['name']} printed {len(lines)} records, expected 1")
    record = json.loads(lines[0])
    if record["test"] != test:
        found = json.dumps(record["test"])
        raise ProgramError(f"{program['name']} measured {found}, expected {json.dumps(test)}")
    return {"record": record, "peak_rss_bytes": ended.peak_rss_bytes}


def llama_bench(settings, program, test):
    """Its own samples are the record's; the check is this script's clock at its progress lines."""
    command = [
        settings["llama_bench"], "--model", program["path"], "-ngl", 0, "--progress",
        "--output", "json", "--repetitions", settings["n_repetitions"],
        "--n-prompt", test["n_prompt_tokens"], "--n-gen", test["n_generated_tokens"],
        "--n-depth", test["n_depth_tokens"],
    ]
    if settings["n_threads"]:
        command += ["--threads", settings["n_threads"]]
    ended = Process(command, program)
    told = json.loads(ended.stdout)
    if len(told) != 1:
        raise ProgramError(f"{program['name']} printed {len(told)} results, expected 1")
    told, n_tokens = told[0], test["n_prompt_tokens"] or test["n_generated_tokens"]
    commit = None if told["build_commit"] in ("", "unknown") else told["build_commit"]
    # A checkout without history counts one commit.
    build = f"b{told['build_number']}" if told["build_number"] > 1 else None
    precision = told["model_type"].split()[-1].lower()
    return {
        "about": {
            "version": build, "git_revision": commit, "backend_version": build or commit,
            "library_versions": {"llama.cpp": build or commit} if build or commit else {},
            "device_used": told["backends"] or None, "device_name": told["cpu_info"] or None,
            "n_parameters": told["model_n_params"], "precision": precision,
        },
        "repetitions": [
            {"ttft_ms": None, "total_ms": n_ns / 1e6, "gaps_ms": None}
            for n_ns in told["samples_ns"]
        ],
        "own_tokens_per_s": told["avg_ts"],
        "outside": {"ms": outside_ms(ended, test), "own_ms": told["samples_ns"][-1] / 1e6,
                    "n_tokens": n_tokens},
        "memory": {}, "tokens_sha256": None, "peak_rss_bytes": ended.peak_rss_bytes,
        "n_warmups": 1, "seed": None,
    }


def outside_ms(ended, test):
    """The last repetition by this script's clock: from the line that announces it to the result."""
    what = "prompt run" if test["kind"] == "prefill" else "generation run"
    began = [at for at, line in ended.stderr if f": {what} " in line]
    return (ended.first_output - began[-1]) * 1e3 if began and ended.first_output else None


def python_peer(settings, program, test):
    work = {
        # There is no decoding without a prompt.
        "n_prompt_tokens": test["n_prompt_tokens"] or max(test["n_depth_tokens"], 1),
        "n_steps": test["n_generated_tokens"],
    }
    shared = ("n_warmups", "n_repetitions", "n_threads", "seed", "n_vocab")
    work |= {key: settings[key] for key in shared}
    script = HERE / "peer_process.py"
    command = [sys.executable, script, program["program"], program["path"], json.dumps(work)]
    ended = Process(command, program)
    told = json.loads(ended.stdout.splitlines()[-1])
    own = statistics.mean(found["own_tokens_per_s"] for found in told["repetitions"])
    return told | {
        "own_tokens_per_s": own, "peak_rss_bytes": ended.peak_rss_bytes,
        "n_warmups": settings["n_warmups"], "seed": settings["seed"],
    }


class Process:
    """A program that was run to its end: `stdout`, the lines of `stderr` with the time of each,
    the time of the first output, and the peak resident set as the kernel counts it."""

    def __init__(self, command, program):
        self.stderr, self.first_output, chunks = [], None, []
        words = [str(word) for word in command]
        try:
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            raise ProgramError(f"cannot run {words[0]} for {program['name']}: {error}") from error

        def read_stderr():
            for line in child.stderr:
                self.stderr.append((time.perf_counter(), line.decode(errors="replace").rstrip()))

        def read_stdout():
            while chunk := os.read(child.stdout.fileno(), 1 << 16):
                self.first_output = self.first_output or time.perf_counter()
                chunks.append(chunk)

        readers = [threading.Thread(target=read) for read in (read_stderr, read_stdout)]
        for reader in readers:
            reader.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            os.wait4(child.pid, 0)
            raise
        finally:
            for reader in readers:
                reader.join()
            child.stdout.close()
            child.stderr.close()
        child.returncode = os.waitstatus_to_exitcode(status)
        self.stdout = b"".join(chunks).decode()
        # Linux counts KiB, macOS bytes.
        self.peak_rss_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if child.returncode != 0:
            end = "\n  ".join(line for _, line in self.stderr[-N_STDERR_LINES:])
            how = f"failed with exit code {child.returncode}"
            if child.returncode < 0:
                how = f"was ended by signal {-child.returncode}"
            raise ProgramError(f"{program['name']} {how}; the end of its stderr:\n  {end}")
        if not self.stdout.strip():
            raise ProgramError(f"{program['name']} printed nothing")
