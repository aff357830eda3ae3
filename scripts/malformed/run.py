"""Start the daemon, send it what schemathesis makes of its document, and look whether it is the same
afterwards: the process, its descriptors, its memory."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

N_REQUESTS_MIN = 10_000
# Cases of an operation, beside those that cover its schema.
N_EXAMPLES = 300
# Nothing may take longer, in seconds.
PATIENCE_S = 30
# What memory may grow by between the first thousands of requests and the last, as a share, and what
# allocators may keep anyway.
GROWTH_MAX = 0.05
GROWTH_KB_MIN = 2048
CHECKS = (
    "status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,failures_are_told"
)

work = pathlib.Path(os.environ["MALFORMED_WORK"])
model = os.environ["MALFORMED_MODEL"]


def ask(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{address}{path}", data, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def plain(address):
    answer = ask(address, "/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 4, "seed": 1})
    return answer["choices"][0]["text"]


def state(pid):
    """Descriptors, and resident kB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return len(os.listdir(f"/proc/{pid}/fd")), int(resident.split()[1])


def send(address, count, n_examples, seed):
    count.write_text("")
    environment = dict(os.environ, SCHEMATHESIS_HOOKS="hooks", PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
    environment["MALFORMED_COUNT"] = str(count)
    command = ["schemathesis", "run", f"{address}/openapi.json", "--phases", "coverage,fuzzing"]
    command += ["--checks", CHECKS, "--max-examples", str(n_examples), "--seed", str(seed)]
    command += ["--generation-database", "none", "--continue-on-failure", "--warnings", "off"]
    command += ["--request-timeout", str(PATIENCE_S), "--suppress-health-check", "all", "--no-color"]
    result = subprocess.run(command + sys.argv[1:], env=environment, cwd=work, check=False)
    return result.returncode, count.read_text().split()


def main():
    log = open(work / "daemon.log", "w", encoding="utf-8")
    command = [os.environ["LAPWING"], "serve", "--listen", "127.0.0.1:0"]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    drain = None
    try:
        first = daemon.stderr.readline()
        address = "http://" + first.split("http://")[1].strip()
        # Whoever does not read would stop it.
        drain = subprocess.Popen(["cat"], stdin=daemon.stderr, stdout=log)
        before = plain(address)
        # The first round fills what allocators keep.
        failed, statuses = send(address, work / "warm", 10, 0)
        time.sleep(1)
        descriptors, resident = state(daemon.pid)
        more, sent = send(address, work / "sent", N_EXAMPLES, 1)
        statuses += sent
        time.sleep(2)
        problems = []
        if failed or more:
            problems.append("answers are not as they are described, see above")
        if daemon.poll() is not None:
            problems.append(f"the daemon has ended: {daemon.returncode}")
        else:
            now, resident_now = state(daemon.pid)
            if now > descriptors:
                problems.append(f"{now} descriptors are open, {descriptors} were")
            if resident_now > max(resident * (1 + GROWTH_MAX), resident + GROWTH_KB_MIN):
                problems.append(f"{resident_now} kB are resident, {resident} were")
            if plain(address) != before:
                problems.append("the plain request is answered otherwise")
            print(f"descriptors {descriptors} -> {now}, resident {resident} -> {resident_now} kB")
        if len(statuses) < N_REQUESTS_MIN:
            problems.append(f"only {len(statuses)} requests were answered")
        told = ", ".join(f"{n}x {status}" for status, n in collections.Counter(statuses).most_common())
        print(f"{len(statuses)} requests: {told}")
        for problem in problems:
            print(f"failed: {problem}", file=sys.stderr)
        return 1 if problems else 0
    finally:
        daemon.terminate()
        daemon.wait(30)
        if drain is not None:
            drain.wait(5)


sys.exit(main())
