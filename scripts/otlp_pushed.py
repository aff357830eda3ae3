#!/usr/bin/env python3
"""What `lapwing serve --otlp` pushes: asked of a daemon with a model that costs nothing, behind Rotel.

Usage: otlp_pushed.py LAPWING WORK_FOLDER
"""

import gzip
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import rotel
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

ROTEL = pathlib.Path(rotel.__file__).parent / "rotel-agent"
SECRET = "xylophone"
INTERVAL_S = 1


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, holds, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Receiver:
    """What stands behind the collector, and keeps the newest value of everything."""

    def __init__(self):
        self.resource, self.metrics, self.raw, self.n_pushes = {}, {}, b"", 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                is_gzip = self.headers.get("content-encoding") == "gzip"
                receiver.take(gzip.decompress(body) if is_gzip else body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body):
        request = ExportMetricsServiceRequest.FromString(body)
        self.raw += body
        self.n_pushes += 1
        for of in request.resource_metrics:
            self.resource = {pair.key: pair.value.string_value for pair in of.resource.attributes}
            for scope in of.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    for point in data.data_points:
                        about = tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes))
                        self.metrics.setdefault(metric.name, {"unit": metric.unit, "points": {}})
                        self.metrics[metric.name]["points"][about] = point

    def points(self, name, **wanted):
        points = self.metrics.get(name, {"points": {}})["points"]
        wanted = {key.replace("__", "."): value for key, value in wanted.items()}
        return [point for about, point in points.items() if wanted.items() <= dict(about).items()]

    def number(self, name, **wanted):
        return sum(point.as_int or point.as_double for point in self.points(name, **wanted))

    def count(self, name, **wanted):
        return sum(point.count for point in self.points(name, **wanted))


class Collector:
    def __init__(self, port, behind, work):
        self.command = [
            ROTEL, "start", "--otlp-http-endpoint", f"127.0.0.1:{port}",
            "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--pid-file", work / "rotel.pid",
            "--exporter", "otlp", "--otlp-exporter-protocol", "http",
            "--otlp-exporter-endpoint", f"http://127.0.0.1:{behind}",
        ]
        self.port, self.log = port, (work / "rotel.log").open("w")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        until("the collector listens", self.listens)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        self.process.kill()
        self.process.wait()


class Daemon:
    def __init__(self, program, work, *arguments, **variables):
        home = work / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LAPWING_"))}
        environment |= {"LAPWING_HOME": str(home), **variables}
        command = [program, "serve", "-v", "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.said = []
        while not self.said or "http://" not in self.said[-1]:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said.append(line)
        self.address = self.said[-1].split("listening on ")[1].strip()
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()

    def chat(self, text, n_tokens):
        body = {"model": "fake-500", "messages": [{"role": "user", "content": text}], "max_tokens": n_tokens}
        request = urllib.request.Request(f"{self.address}/v1/chat/completions", json.dumps(body).encode())
        begin = time.monotonic()
        usage = json.load(urllib.request.urlopen(request))["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"], time.monotonic() - begin

    def has_said(self, words):
        return sum(words in line for line in self.said)

    def n_wakes(self):
        """How often its threads were woken since they began."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        status = [(task / "status").read_text() for task in tasks.iterdir()]
        return sum(int(line.split()[1]) for text in status for line in text.splitlines() if line.startswith("voluntary"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def check_pushed(receiver, asked):
    n_prompt, n_tokens = (sum(answer[idx] for answer in asked) for idx in (0, 1))
    model = {"gen_ai__request__model": "fake-500"}
    until("all answers are told", lambda: receiver.count("gen_ai.server.request.duration") == len(asked))
    until("tokens of answers", lambda: receiver.number("lapwing.tokens", gen_ai__token__type="output") == n_tokens)
    assert receiver.number("lapwing.tokens", gen_ai__token__type="input", **model) == n_prompt
    for name in ("time_to_first_token", "time_per_output_token", "request.duration"):
        metric = receiver.metrics[f"gen_ai.server.{name}"]
        assert metric["unit"] == "s", (name, metric["unit"])
        (point,) = receiver.points(f"gen_ai.server.{name}", gen_ai__operation__name="chat", **model)
        assert point.count == len(asked) and sum(point.bucket_counts) == len(asked), (name, point)
        assert 0 < point.sum < sum(answer[2] for answer in asked) + 1, (name, point)
    (first,) = receiver.points("gen_ai.server.time_to_first_token")
    assert list(first.explicit_bounds)[:3] == [0.001, 0.005, 0.01], first
    assert receiver.number("lapwing.model.memory", **model) > 1_000_000
    assert receiver.points("lapwing.requests.open") and receiver.points("lapwing.requests.refused")
    told = {key for metric in receiver.metrics.values() for about in metric["points"] for key, _ in about}
    assert {"lapwing.device", "lapwing.backend", "gen_ai.provider.name"} <= told, told
    assert SECRET.encode() not in receiver.raw


def main(program, work):
    work = pathlib.Path(work)
    receiver = Receiver()
    port = free_port()
    collector = Collector(port, receiver.port, work)
    variables = {
        "OTEL_METRIC_EXPORT_INTERVAL": str(INTERVAL_S * 1000),
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,host.name=laptop-1",
    }
    daemon = Daemon(program, work, "--otlp", f"http://127.0.0.1:{port}", **variables)
    asked = [daemon.chat(f"{SECRET} {idx}", 10 + idx) for idx in range(5)]
    check_pushed(receiver, asked)
    assert receiver.resource["service.name"] == "lapwing" and receiver.resource["service.version"], receiver.resource
    assert receiver.resource["host.name"] == "laptop-1", "what the user says counts"
    assert receiver.resource["deployment.environment.name"] == "test"
    print(f"{len(receiver.metrics)} metrics through the collector: {', '.join(sorted(receiver.metrics))}")

    collector.end()
    before = max(answer[2] for answer in asked)
    without = [daemon.chat(f"{SECRET} alone", 10) for _ in range(20)]
    until("it says that the collector is gone", lambda: daemon.has_said("takes no metrics"))
    time.sleep(3 * INTERVAL_S)
    assert daemon.has_said("takes no metrics") == 1, daemon.said
    without += [daemon.chat(f"{SECRET} alone", 10) for _ in range(20)]
    slowest = max(answer[2] for answer in without)
    assert slowest < 5 * before + 0.2, (slowest, before)
    collector.start()
    asked += without
    check_pushed(receiver, asked)
    until("it says that it is there again", lambda: daemon.has_said("takes metrics again"))
    print(f"40 answers while the collector was away, at most {slowest * 1e3:.0f} ms each, all told afterwards")

    asked.append(daemon.chat(f"{SECRET} last", 7))
    daemon.end()
    until("the last answer is told at the end", lambda: receiver.count("gen_ai.server.request.duration") == len(asked), 5)
    print("SIGTERM pushes what is left")

    quiet = {"OTEL_METRIC_EXPORT_INTERVAL": "60000"}
    for arguments, words in ([], "off"), (["--otlp", f"http://127.0.0.1:{port}"], "on, every 60 s"):
        # What names a collector for other programs turns nothing on.
        named = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        daemon, n_pushes = Daemon(program, work, *arguments, **quiet, **named), receiver.n_pushes
        time.sleep(2)
        begin = daemon.n_wakes()
        time.sleep(10)
        n_wakes = daemon.n_wakes() - begin
        assert n_wakes == 0 and receiver.n_pushes == n_pushes, (words, n_wakes)
        daemon.end()
        print(f"{words}: an idle daemon was not woken within 10 s")
    collector.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
