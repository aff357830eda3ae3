#!/usr/bin/env python3
"""What `lapwing serve` costs: under load, beside other answers, at rest, and over `lapwing run`.

Usage: measure_serving.py --lapwing BIN --model NAME [--only load,first,added,idle,program]
                          [--streams 64] [--seconds 600] [--out FILE]

The model is one of the store of LAPWING_HOME; with a build that has the feature `fakes`, `fake` and
`fake-2000` are models that cost nothing, and 2 ms a step. Starts a daemon of its own for each part:

load    `--streams` clients ask for answers one after the other for `--seconds`, by streams, each with
        one of some prompts and a seed. Every answer is compared with the one that the same request got
        alone; it may also be refused (429, 503). Anything else is an error. Some clients hang up in
        the middle. Then the daemon's and the worker's memory and open files against those after the
        first minute.
first   the time to the first token of a request that is alone, and of one behind seven running answers
        of other clients, taken in turns; the step is the mean time between two tokens of those seven.
added   the time to the first token and between tokens over HTTP, and of the same answers by
        `lapwing run --json` as it tells them itself (with a fake model: of the steps alone).
idle    a minute without a request, no model loaded: the daemon's processor time, resident memory and,
        where `strace` is there, system calls; then with a model loaded and idle; then how much of the
        worker's memory comes back within three seconds of unloading it.

program the whole time of `lapwing run` with 20 tokens, by the daemon and with --no-daemon, in turns.

Prints a table and appends one JSON line to --out. Needs only Python.
"""

import argparse
import datetime
import http.client
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROMPTS = ["Once upon a time", "The little cat", "Tom and Lily went to", "A big red ball", "One day",
           "There was a boy who", "In the park", "The sun was"]


class Daemon:
    """A daemon on a port of its own."""

    def __init__(self, program, *options):
        command = [program, "serve", "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "http://" not in line:
            sys.exit(f"the daemon does not start: {line}{self.process.stderr.read()}")
        self.address = line.split("http://")[1].strip()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def ask(self, method, path, body=None, agent="measure", timeout=600):
        """A response whose body is not read, and its connection."""
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        headers = {"User-Agent": agent, "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        return connection.getresponse(), connection

    def json(self, method, path, body=None):
        response, connection = self.ask(method, path, body)
        text = response.read()
        connection.close()
        if response.status != 200:
            sys.exit(f"{path}: {response.status} {text[:300]}")
        return json.loads(text)

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def status(pid, key):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def n_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def completion(model, prompt, n_tokens, seed):
    return {"model": model, "prompt": prompt, "max_tokens": n_tokens, "seed": seed, "temperature": 1.0,
            "stream": True, "logprobs": 0}


class Cut(Exception):
    """A stream that did not end as it should."""


def stream(daemon, body, agent, stop_after=None):
    """Status, text, and the times of pieces since the request; (503, "", []) where it is refused."""
    started = time.perf_counter()
    response, connection = daemon.ask("POST", "/v1/completions", body, agent)
    try:
        if response.status != 200:
            response.read()
            return response.status, "", []
        text, times, is_done = [], [], False
        for line in response:
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                is_done = True
                break
            choice = json.loads(line[6:])
            if "error" in choice:
                raise Cut(choice["error"]["message"])
            if choice["choices"] and choice["choices"][0].get("logprobs"):
                text.append(choice["choices"][0]["text"])
                times.append(time.perf_counter() - started)
            elif choice["choices"]:
                text.append(choice["choices"][0]["text"])
            if stop_after is not None and len(times) == stop_after:
                return 0, "", times
        if not is_done:
            raise Cut("the stream ended without its last word")
        return 200, "".join(text), times
    finally:
        connection.close()


def load(options):
    with Daemon(options.lapwing, "--parallel", str(options.parallel)) as daemon:
        jobs = [(prompt, seed) for prompt in PROMPTS for seed in range(4)]
        body = lambda job: completion(options.model, job[0], options.tokens, job[1])
        alone = {job: stream(daemon, body(job), "alone")[1] for job in jobs}
        counts = {"answered": 0, "refused": 0, "given_up": 0, "wrong": 0, "cut": 0, "tokens": 0}
        lock, problems = threading.Lock(), []
        ends = time.monotonic() + options.seconds

        def client(idx):
            generator = random.Random(idx)
            while time.monotonic() < ends:
                job = generator.choice(jobs)
                leaves = generator.random() < 0.05
                try:
                    code, text, times = stream(daemon, body(job), f"client {idx}", 3 if leaves else None)
                    if code == 200:
                        what = "answered" if text == alone[job] else "wrong"
                    else:
                        what = {0: "given_up", 429: "refused", 503: "refused"}.get(code, "wrong")
                    if what == "wrong":
                        problems.append([code, job, text[:200], alone[job][:200]])
                except (Cut, OSError, http.client.HTTPException) as error:
                    what, times = "cut", []
                    problems.append(repr(error))
                with lock:
                    counts[what] += 1
                    counts["tokens"] += len(times)
                if what == "refused":
                    time.sleep(generator.random())

        threads = [threading.Thread(target=client, args=(idx,)) for idx in range(options.streams)]
        for thread in threads:
            thread.start()
        look = lambda: {
            "daemon_rss_bytes": status(daemon.process.pid, "VmRSS"),
            "worker_rss_bytes": sum(status(pid, "VmRSS") for pid in daemon.workers()),
            "daemon_files": n_files(daemon.process.pid),
            "worker_files": sum(n_files(pid) for pid in daemon.workers()),
        }
        time.sleep(min(60, options.seconds / 4))
        early = look()
        for thread in threads:
            thread.join()
        late = look()
        time.sleep(2)
        rest = look()
        counts["tokens_per_s"] = round(counts["tokens"] / options.seconds, 1)
        return {"streams": options.streams, "seconds": options.seconds, **counts, "early": early,
                "late": late, "rest": rest, "problems": problems[:5]}


def first(options):
    with Daemon(options.lapwing, "--parallel", "8") as daemon:
        long = lambda seed: completion(options.model, "Once upon a time", 1500, seed)
        short = completion(options.model, "The little cat was very", 8, 1)
        stream(daemon, short, "warm")
        alone, behind, steps = [], [], []
        for _ in range(options.rounds):
            alone.append(stream(daemon, short, "interactive")[2][0])
            run, gaps = [True], []

            def other(idx):
                body = long(idx) | {"ignore_eos": True}
                response, connection = daemon.ask("POST", "/v1/completions", body, f"other {idx}")
                last = None
                while run[0] and (line := response.readline()):
                    if line.startswith(b"data: {"):
                        now = time.perf_counter()
                        if last:
                            gaps.append(now - last)
                        last = now
                connection.close()

            others = [threading.Thread(target=other, args=(idx,)) for idx in range(7)]
            for thread in others:
                thread.start()
            while len(gaps) < 70:
                time.sleep(0.01)
            behind.append(stream(daemon, short, "interactive")[2][0])
            run[0] = False
            for thread in others:
                thread.join()
            steps.append(statistics.mean(gaps[-70:]))
        median = lambda values: round(statistics.median(values) * 1e3, 3)
        return {"alone_ms": median(alone), "behind_seven_ms": median(behind), "step_ms": median(steps),
                "rounds": options.rounds}


def added(options):
    with Daemon(options.lapwing) as daemon:
        n_tokens = 100
        body = completion(options.model, "Once upon a time", n_tokens, 1) | {"temperature": 0}
        over_http, by_run = [], []
        stream(daemon, body, "warm")
        for _ in range(options.rounds):
            # Nothing of the prompt is kept, so that all of it is read.
            text = body["prompt"] = f"{random.random()} once upon a time"
            times = stream(daemon, body, "measure")[2]
            over_http.append((times[0], (times[-1] - times[0]) / (len(times) - 1)))
            if options.model.startswith("fake"):
                continue
            command = [options.lapwing, "run", "--no-daemon", "-m", options.model, "-p", text, "--raw",
                       "-n", str(n_tokens), "--temperature", "0", "--json", "--warmup"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            timings = json.loads(told)["timings"]
            by_run.append((timings["ttft_ms"] / 1e3, timings["decode_ms_p50"] / 1e3))
        median = lambda values, idx: statistics.median(value[idx] for value in values)
        step = int(options.model.rsplit("-", 1)[1]) / 1e6 if options.model.startswith("fake-") else 0
        own = [median(by_run, idx) for idx in (0, 1)] if by_run else [step, step]
        return {"first_us": round((median(over_http, 0) - own[0]) * 1e6, 1),
                "token_us": round((median(over_http, 1) - own[1]) * 1e6, 1),
                "over": "lapwing run" if by_run else "the steps alone", "rounds": options.rounds}


def idle(options):
    def minute(daemon):
        before = cpu_s(daemon.process.pid), [cpu_s(pid) for pid in daemon.workers()]
        calls = None
        if shutil.which("strace"):
            with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
                command = ["strace", "-f", "-qq", "-o", log.name, "-p", str(daemon.process.pid)]
                tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                time.sleep(options.idle_seconds)
                tracer.send_signal(signal.SIGINT)
                tracer.wait()
                lines = [line for line in Path(log.name).read_text().splitlines()
                         if "resumed" not in line and "unfinished" not in line
                         and "detached" not in line]
                calls = len(lines)
        # The processor time is of another minute, in which nobody traces.
        start = cpu_s(daemon.process.pid)
        time.sleep(options.idle_seconds)
        return {"processor_s": round(cpu_s(daemon.process.pid) - start, 3), "calls": calls,
                "seconds": options.idle_seconds,
                "workers_processor_s": [round(cpu_s(pid) - old, 3)
                                        for pid, old in zip(daemon.workers(), before[1])]}

    with Daemon(options.lapwing) as daemon:
        daemon.json("GET", "/v1/models")
        time.sleep(1)
        empty = {"rss_bytes": status(daemon.process.pid, "VmRSS"), **minute(daemon)}
        stream(daemon, completion(options.model, "One", 32, 1), "measure")
        [worker] = daemon.workers()
        loaded = {"rss_bytes": status(daemon.process.pid, "VmRSS"),
                  "worker_rss_bytes": status(worker, "VmRSS"), **minute(daemon)}
        total = lambda: sum(status(pid, "VmRSS") for pid in [daemon.process.pid, *daemon.workers()])
        before = total()
        daemon.json("POST", "/v1/lapwing/models/unload", {"model": options.model})
        time.sleep(3)
        after = total()
        worker_bytes = loaded["worker_rss_bytes"]
        return {"empty": empty, "loaded": loaded,
                "unloading_returns": round(min(1.0, (before - after) / worker_bytes), 4)}


def program(options):
    with Daemon(options.lapwing):
        def run(*more):
            command = [options.lapwing, "run", "-m", options.model, "-p", "Name three birds.", "-n", "20",
                       "--temperature", "0", *more]
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            return time.perf_counter() - started

        run(), run("--no-daemon")
        times = [(run(), run("--no-daemon")) for _ in range(options.rounds)]
        by_daemon, alone = zip(*times)
        ms = lambda values: round(statistics.median(values) * 1e3, 1)
        ratio = statistics.median(one / other for one, other in times)
        return {"by_daemon_ms": ms(by_daemon), "no_daemon_ms": ms(alone), "ratio": round(ratio, 3),
                "rounds": options.rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lapwing", required=True, type=os.path.abspath)
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", default="load,first,added,idle,program")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--out")
    options = parser.parse_args()
    parts = {"load": load, "first": first, "added": added, "idle": idle, "program": program}
    version = subprocess.run([options.lapwing, "--version"], capture_output=True, text=True).stdout
    record = {"schema": "lapwing/measure-serving/1", "model": options.model,
              "date": datetime.date.today().isoformat(), "version": version.strip(),
              "machine": platform.machine(), "processor": processor(), "n_cpus": os.cpu_count()}
    for name in options.only.split(","):
        record[name] = parts[name](options)
        print(name, json.dumps(record[name], indent=1))
    if options.out:
        with open(options.out, "a") as out:
            out.write(json.dumps(record) + "\n")
    is_bad = "load" in record and (record["load"]["wrong"] or record["load"]["cut"])
    sys.exit(1 if is_bad else 0)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
