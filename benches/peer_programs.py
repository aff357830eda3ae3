"""How each program of a definition is run once, for one test, in a process of its own.

Every function here gives the same: what was measured, the peak resident set as the kernel counts
it, the state of the machine before and after, and what the program says of itself (`own`).
"""

import datetime
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import peer_conditions

HERE = Path(__file__).parent
N_STDERR_LINES = 12
# An answer with other fields than expected ends in one of these.
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError)


class ProgramError(Exception):
    """A program that failed, with the end of what it said."""


def run(settings, program, test):
    """Run `program` once for `test`."""
    before = peer_conditions.snapshot()
    command, environment, read = {
        "lapwing": lapwing, "llama.cpp": llama_bench, "openvino-genai": python_peer,
        "onnxruntime-genai": python_peer,
    }[program["program"]](settings, program, test)
    ended = Process(command, environment, settings["time_limit_s"])
    after = peer_conditions.snapshot()
    try:
        ran = read(ended)
    except UNREADABLE as error:
        start = ended.stdout.strip()[:200]
        found = f"{type(error).__name__}: {error}; its output begins with: {start}"
        raise ProgramError(f"printed what cannot be read: {found}") from error
    now = datetime.datetime.now(datetime.timezone.utc)
    return ran | {
        "before": before, "after": after, "peak_rss_bytes": ended.peak_rss_bytes,
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
    # The record comes by stdout; its file must not be among those of the user.
    command += ["--out", Path(settings["work_folder"], f"{time.time_ns()}.jsonl")]

    def read(ended):
        record = json.loads(ended.stdout)
        if record["test"] != test:
            raise ValueError(f"expected {test}, found {record['test']}")
        return {"record": record, "tokens_sha256": record["tokens_sha256"]}

    return command, {}, read


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

    def read(ended):
        [told] = json.loads(ended.stdout)
        n_tokens = test["n_prompt_tokens"] or test["n_generated_tokens"]
        commit = None if told["build_commit"] in ("", "unknown") else told["build_commit"]
        version = llama_version(settings["llama_bench"], told["build_number"])
        known = version or commit
        return {
            "about": {
                "version": version, "git_revision": commit, "backend_version": known,
                "library_versions": {"llama.cpp": known} if known else {},
                "device_used": told["backends"] or None, "device_name": told["cpu_info"] or None,
                "n_parameters": told["model_n_params"],
                "precision": told["model_type"].split()[-1].lower(),
                "settings": {"n_gpu_layers": "0"},
            },
            "repetitions": [
                {"ttft_ms": None, "total_ms": n_ns / 1e6, "gaps_ms": None}
                for n_ns in told["samples_ns"]
            ],
            "own_tokens_per_s": told["avg_ts"],
            "outside": {"ms": outside_ms(ended, test), "own_ms": told["samples_ns"][-1] / 1e6,
                        "n_tokens": n_tokens},
            "memory": {}, "tokens_sha256": None, "n_warmups": 1, "seed": None,
        }

    return command, {}, read


def llama_version(binary, build_number):
    """The build's number as releases are named, or what `--version` says, or None."""
    if build_number > 1:
        return f"b{build_number}"
    # A checkout without history counts one commit.
    try:
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^version: (\S+)", told.stdout + told.stderr, re.MULTILINE)
    return found[1] if found and told.returncode == 0 else None


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
    shared = ("n_warmups", "n_repetitions", "n_threads", "precision", "seed", "n_vocab")
    work |= {key: settings[key] for key in shared}
    script = HERE / "peer_process.py"
    command = [sys.executable, script, program["program"], program["path"], json.dumps(work)]

    def read(ended):
        told = json.loads(ended.stdout.splitlines()[-1])
        # What OpenVINO logs of each model that it compiled, the tokenizers first.
        devices = re.findall(r"^\s*EXECUTION_DEVICES: *(\S+)", ended.stdout, re.MULTILINE)
        if devices:
            told["about"]["device_used"] = devices[-1]
        own = statistics.mean(found["own_tokens_per_s"] for found in told["repetitions"])
        return told | {
            "own_tokens_per_s": own, "n_warmups": settings["n_warmups"], "seed": settings["seed"],
        }

    # OpenVINO GenAI tells the device in its log only, while it loads.
    return command, {"OPENVINO_LOG_LEVEL": "2"}, read


class Process:
    """A program that was run to its end: `stdout`, the lines of `stderr` with the time of each,
    the time of the first output, and the peak resident set as the kernel counts it."""

    def __init__(self, command, environment, time_limit_s):
        self.stderr, self.first_output, self.is_late, self.chunks = [], None, False, []
        words = [str(word) for word in command]
        try:
            # A session of its own, so that what it starts can be ended with it.
            self.child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=os.environ | environment, start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"cannot be run as {words[0]}: {error}") from error
        status, usage = self.wait(time_limit_s)
        self.stdout = b"".join(self.chunks).decode(errors="replace")
        # Linux counts KiB, macOS bytes.
        self.peak_rss_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        code = os.waitstatus_to_exitcode(status)
        how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        if self.is_late:
            how = f"was ended after {time_limit_s:g} s (--time-limit)"
        end = "".join(f"\n  {line}" for _, line in self.stderr[-N_STDERR_LINES:])
        end = f"; the end of its stderr:{end}" if end else ", and said nothing"
        if code != 0 or self.is_late:
            raise ProgramError(how + end)
        if not self.stdout.strip():
            raise ProgramError(f"printed no result{end}")

    def wait(self, time_limit_s):
        readers = [threading.Thread(target=read) for read in (self.read_stderr, self.read_stdout)]
        timer = threading.Timer(time_limit_s, self.end_late)
        for thread in (*readers, timer):
            thread.start()
        try:
            _, status, usage = os.wait4(self.child.pid, 0)
        except BaseException:
            self.kill()
            os.wait4(self.child.pid, 0)
            raise
        finally:
            timer.cancel()
            # Whatever it left running would hold the pipes open.
            self.kill()
            for reader in readers:
                reader.join()
            self.child.stdout.close()
            self.child.stderr.close()
            self.child.returncode = 0  # Waited for already.
        return status, usage

    def end_late(self):
        self.is_late = True
        self.kill()

    def kill(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def read_stderr(self):
        for line in self.child.stderr:
            self.stderr.append((time.perf_counter(), line.decode(errors="replace").rstrip()))

    def read_stdout(self):
        while chunk := os.read(self.child.stdout.fileno(), 1 << 16):
            self.first_output = self.first_output or time.perf_counter()
            self.chunks.append(chunk)
