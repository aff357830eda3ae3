#!/usr/bin/env python3
"""Records of a fleet that never was, for scripts/test-fleet: the same at every call.

Machines measured themselves twice before Tuesday, 24 November 2026, and twice after. Since then some
are slower: a device, a driver, a model and five single machines (SLOWER says which); others changed
their driver or model and are not. What machines differ by is drawn once each (15 %), and so is the
noise of each measurement (2 %). Every tenth machine also tells what its answers took in use, half as fast
since Tuesday because people ask for more: no query about what became slower may be misled by that.

Usage: fleet_records.py OUT_FOLDER [N_MACHINES]
"""

import copy
import datetime
import hashlib
import json
import math
import pathlib
import random
import sys

TESTDATA = pathlib.Path(__file__).parent.parent / "crates/lapwing-measure/testdata"
TUESDAY = datetime.datetime(2026, 11, 24)
DAYS_BEFORE, DAYS_AFTER = (-5, -2), (1, 3)
SEED = 20261124

# Name, what it is, drivers before and (of every third machine) after.
DEVICES = [
    ("Example Core 5 U", "CPU", None, None),
    ("Example Core 7 H", "CPU", None, None),
    ("Example Core 7 H", "CPU", None, None),
    ("Example Graphics 140", "GPU", "32.0.101.6314", "32.0.101.6449"),
    ("Example Graphics 130", "GPU", "32.0.101.6314", "32.0.101.6449"),
    ("Example NPU 4", "NPU", "32.0.100.3104", "32.0.100.4023"),
]
# Name, and whether every second machine has had another export of it since Tuesday.
MODELS = [("small-135m-int4", False), ("coder-1.5b-int4", True), ("chat-3b-int4", True)]

# What became slower, and to which share of its speed.
SLOWER_DEVICE = ("Example Core 5 U", 0.88)
SLOWER_DRIVER = ("Example Graphics 140", "32.0.101.6449", "tg128", 0.90)
SLOWER_MODEL = ("coder-1.5b-int4", 0.92)
SLOWER_MACHINES = ({"laptop-00123", "laptop-01234", "laptop-04321", "laptop-07777", "laptop-09001"}, 0.5)

SLOWER = {
    "device": {(SLOWER_DEVICE[0], test) for test in ("pp512", "tg128")},
    "driver": {(SLOWER_DRIVER[0], "32.0.101.6314", SLOWER_DRIVER[1], SLOWER_DRIVER[2])},
    "model": {(SLOWER_MODEL[0], test) for test in ("pp512", "tg128")},
    "machine": {(host, test) for host in SLOWER_MACHINES[0] for test in ("pp512", "tg128")},
}


def hexadecimal(text, n_digits):
    return hashlib.sha256(text.encode()).hexdigest()[:n_digits]


def scaled(figures, factor):
    return {key: None if value is None else value * factor for key, value in figures.items()}


def measurement(template, test, machine, day, draw):
    """One record of `machine`, a dict, made `day` days after Tuesday."""
    is_after = day > 0
    record = copy.deepcopy(template)
    host, device, model = machine["host"], machine["device"], machine["model"]
    driver = machine["driver_after"] if is_after else machine["driver_before"]
    has_new_model = is_after and machine["has_new_model"]
    speed = machine["speed"] * math.exp(draw.gauss(0, 0.02))
    if is_after and device == SLOWER_DEVICE[0]:
        speed *= SLOWER_DEVICE[1]
    if (device, driver, test) == SLOWER_DRIVER[:3]:
        speed *= SLOWER_DRIVER[3]
    if has_new_model and model == SLOWER_MODEL[0]:
        speed *= SLOWER_MODEL[1]
    if is_after and host in SLOWER_MACHINES[0]:
        speed *= SLOWER_MACHINES[1]

    measured_at = TUESDAY + datetime.timedelta(days=day, seconds=draw.randrange(8 * 3600, 18 * 3600))
    record["host"] = host
    record["measured_at"] = measured_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    record["run_id"] = hexadecimal(f"run {host} {day}", 16)
    record["record_id"] = hexadecimal(f"record {host} {day} {test}", 16)
    configuration = record["configuration"]
    configuration["model"] = model
    configuration["model_sha256"] = hexadecimal(f"{model} {has_new_model}", 64)
    configuration["device_used"] = machine["kind"]
    configuration["device_name"] = device
    configuration["driver_version"] = driver
    reasons = record["nulls"]
    for path, value in (("configuration.driver_version", driver), ("conditions.driver_versions", driver)):
        if value is None:
            reasons[path] = "a CPU has none"
        else:
            reasons.pop(path, None)
    record["conditions"]["driver_versions"] = None if driver is None else {machine["kind"]: driver}
    record["test"]["name"] = test
    n_tokens = int(test[2:])
    record["test"]["n_depth_tokens"] = 0
    if record["test"]["kind"] == "decode":
        record["test"]["n_generated_tokens"] = n_tokens
    else:
        record["test"]["n_prompt_tokens"] = n_tokens
    latency = record["latency"]
    latency["samples_ms"] = [sample / speed for sample in latency["samples_ms"]]
    latency["ms_median"] /= speed
    latency["ms_mad"] /= speed
    spread = latency["tokens_per_s"]["coefficient_of_variation"]
    latency["tokens_per_s"] = scaled(latency["tokens_per_s"], speed)
    latency["tokens_per_s"]["coefficient_of_variation"] = spread
    return record


def in_use(measured, factor):
    """What answers of the same machine took, made of a measurement."""
    record = copy.deepcopy(measured)
    record["record_id"] = hexadecimal(f"use {record['record_id']}", 16)
    record["test"] |= {"kind": "use", "name": "use", "n_prompt_tokens": 200}
    record["protocol"] |= {"stopped_because": "asked"}
    latency = record["latency"]
    latency["samples_ms"] = [sample / factor for sample in latency["samples_ms"]]
    latency["tokens_per_s"]["median"] *= factor
    latency["ttft_ms"] = {"median": 300.0 / factor, "low": 250.0 / factor, "high": 350.0 / factor}
    record["nulls"].pop("latency.ttft_ms", None)
    return record


def machines(n_machines, draw):
    for idx in range(n_machines):
        device, kind, driver, newer = draw.choice(DEVICES)
        model, is_exported_again = draw.choice(MODELS)
        yield {
            "host": f"laptop-{idx:05}",
            "device": device,
            "kind": kind,
            "driver_before": driver,
            "driver_after": newer if draw.randrange(3) == 0 else driver,
            "model": model,
            "has_new_model": is_exported_again and draw.randrange(2) == 0,
            "speed": math.exp(draw.gauss(0, 0.15)),
        }


def main(out, n_machines=10_000):
    lines = (TESTDATA / "records_version_1.jsonl").read_text().splitlines()
    templates = {"tg128": json.loads(lines[0]), "pp512": json.loads(lines[1])}
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(SEED)
    n_records = 0
    # A file for a thousand machines.
    files = {}
    for idx, machine in enumerate(machines(int(n_machines), draw)):
        name = out / f"{idx // 1000:03}.jsonl"
        if name not in files:
            files[name] = name.open("w")
        for day in DAYS_BEFORE + DAYS_AFTER:
            for test, template in templates.items():
                record = measurement(template, test, machine, day, draw)
                records = [record]
                if idx % 10 == 0 and test == "tg128" and day in (DAYS_BEFORE[0], DAYS_AFTER[0]):
                    records.append(in_use(record, 0.5 if day > 0 else 1.0))
                for record in records:
                    files[name].write(json.dumps(record, separators=(",", ":")) + "\n")
                n_records += len(records)
    for file in files.values():
        file.close()
    print(f"{n_records} records of {n_machines} machines", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
