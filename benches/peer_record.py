"""Records of schema version 1 (`profiles/schema.md`) of what `run_peers.py` measured.

A record of a peer has the form of Lapwing's own; what a peer does not tell is null with the reason.
"""

import fcntl
import hashlib
import json
import os
import statistics
import tempfile
from pathlib import Path

import peer_conditions
import peer_statistics

SCHEMA = Path(__file__).parent.parent / "profiles" / "record.schema.json"
FILE_BYTES_MAX = 1 << 30
PHASES = ("idle", "loaded", "prefilled", "decoding")
LIBRARIES = {
    "llama.cpp": "llama.cpp", "openvino-genai": "openvino", "onnxruntime-genai": "onnxruntime",
}
KINDS = {"llama.cpp": "gguf", "openvino-genai": "openvino-ir", "onnxruntime-genai": "onnx-genai"}
# How the reasons name who does not tell.
TELLERS = {
    "llama.cpp": "llama-bench does not tell", "openvino-genai": "OpenVINO GenAI does not tell",
    "onnxruntime-genai": "ONNX Runtime GenAI does not tell",
}


class RecordError(Exception):
    """A record that does not fit the schema, or cannot be appended."""


def of_peer(run, program, test, rounds, order_idx, lapwing):
    """One record of all rounds of a peer; `lapwing` is a record of Lapwing of this run, or None."""
    nulls, name = {}, program["program"]
    not_told = TELLERS[name]
    about = rounds[0]["about"]
    repetitions = [repetition for ran in rounds for repetition in ran["repetitions"]]
    record = {
        "schema_version": 1, "record_id": "", "run_id": run["run_id"],
        "measured_at": rounds[-1]["measured_at"], "host": run["host"],
        "program": {"name": name, "version": about["version"],
                    "git_revision": about["git_revision"]},
        "configuration": configuration(run, program, about),
        "test": test,
        "protocol": {
            "n_warmups": rounds[0]["n_warmups"], "n_repetitions": len(repetitions),
            "stopped_because": "repetitions", "relative_interval_target": None,
            "time_budget_s": None, "is_isolated": True, "order_idx": order_idx,
            "seed": rounds[0]["seed"], "prompts_permuted": True,
        },
        "start": None,
        "latency": latency(test, repetitions, nulls),
        "step_us": None,
        "memory": memory(name, test, rounds, nulls),
        "energy": None,
        "conditions": peer_conditions.conditions(
            rounds[0]["before"], rounds[-1]["after"], about["library_versions"], lapwing, nulls
        ),
        "tokens_sha256": one_hash([ran["tokens_sha256"] for ran in rounds], nulls),
        "nulls": nulls,
    }
    nulls |= {
        "configuration.variant": "the file or folder holds one graph",
        "configuration.driver_version": "a CPU has none",
        "configuration.correction_sha256": "no correction is applied",
        "configuration.n_threads": "the library chooses",
        "protocol.relative_interval_target": "the number of repetitions was given",
        "protocol.time_budget_s": "the number of repetitions was given",
        "start": f"{test['name']} does not measure a start",
        "step_us": not_told,
        "energy": energy_reason(lapwing),
    }
    if name == "llama.cpp":
        nulls["protocol.seed"] = "llama-bench draws its tokens by itself"
        nulls["tokens_sha256"] = f"{not_told}, and reads another file than the exports"
    if test["kind"] == "prefill":
        nulls["latency.inter_token_ms"] = nulls["step_us"] = "a prefill has no decoding steps"
    return finished(record, not_told)


def configuration(run, program, about):
    model_sha256, model_bytes = program["sha256"], program["model_bytes"]
    return {
        "model": program["path"].name, "model_sha256": model_sha256,
        "model_kind": KINDS[program["program"]], "variant": None, "model_bytes": model_bytes,
        "n_parameters": about.get("n_parameters"), "backend": LIBRARIES[program["program"]],
        "backend_version": about["backend_version"], "device_requested": "cpu",
        "device_used": about["device_used"], "device_name": about["device_name"],
        "driver_version": None, "precision": about.get("precision", "fast"),
        "n_threads": run["n_threads"] or None, "n_positions_max": None, "correction": "off",
        "correction_sha256": None, "settings": about.get("settings", {}),
    }


def latency(test, repetitions, nulls):
    ttfts = [repetition["ttft_ms"] for repetition in repetitions]
    gaps = [gap for repetition in repetitions for gap in repetition["gaps_ms"] or []]
    return peer_statistics.latency(
        [repetition["total_ms"] for repetition in repetitions],
        test["n_prompt_tokens"] or test["n_generated_tokens"],
        ttfts if None not in ttfts else None,
        peer_statistics.inter_token(gaps) if gaps else None,
        nulls,
    )


def memory(name, test, rounds, nulls):
    told = {"peak_rss_bytes": max(ran["peak_rss_bytes"] for ran in rounds)}
    not_told = TELLERS[name]
    for phase in PHASES:
        for set_name in ("rss_bytes", "pss_bytes"):
            found = [ran["memory"].get(phase, {}).get(set_name) for ran in rounds]
            field = f"{phase}_{set_name}"
            told[field] = None if None in found else int(statistics.median(found))
            if told[field] is None and name != "llama.cpp":
                nulls[f"memory.{field}"] = {
                    "prefilled": "the process is looked at after the whole answer only",
                    "decoding": f"{test['name']} has no such phase",
                }.get(phase, "the system does not tell")
    for field in ("weights_mapped_bytes", "kv_bytes", "scratch_bytes", "device_bytes"):
        told[field] = None
        nulls[f"memory.{field}"] = not_told
    return told


def energy_reason(lapwing):
    reason = lapwing and lapwing["nulls"].get("energy")
    return reason or "only Lapwing reads the sensors"


def one_hash(hashes, nulls):
    if len(set(hashes)) == 1:
        return hashes[0]
    nulls["tokens_sha256"] = "the rounds produced different tokens"
    return None


def of_lapwing(run, rounds, order_idx):
    """One record of Lapwing's own records of all rounds."""
    records = [ran["record"] for ran in rounds]
    first, last = records[0], records[-1]
    nulls = dict(first["nulls"])
    for path in [path for path in nulls if path.startswith(("latency.tokens", "latency.ttft"))]:
        del nulls[path]
    test, latencies = first["test"], [record["latency"] for record in records]
    ttfts = [found["ttft_ms"]["median"] for found in latencies if found["ttft_ms"]]
    samples_ms = [sample for found in latencies for sample in found["samples_ms"]]
    steps = [found["inter_token_ms"] for found in latencies if found["inter_token_ms"]]
    record = first | {
        "record_id": "", "run_id": run["run_id"], "measured_at": last["measured_at"],
        "protocol": first["protocol"] | {
            "n_repetitions": sum(found["protocol"]["n_repetitions"] for found in records),
            "order_idx": order_idx,
        },
        "latency": peer_statistics.latency(
            samples_ms,
            test["n_prompt_tokens"] or test["n_generated_tokens"],
            # Of a decode a record has the median only.
            samples_ms if test["kind"] == "prefill" else ttfts,
            peer_statistics.merged_inter_token(steps) if steps else None,
            nulls,
        ),
        "step_us": medians([found["step_us"] for found in records], nulls, "step_us"),
        "memory": medians([found["memory"] for found in records], nulls, "memory"),
        "energy": energy([found["energy"] for found in records], nulls),
        "conditions": first["conditions"] | {
            field: last["conditions"][field] for field in first["conditions"] if "_after" in field
        },
        "tokens_sha256": one_hash([found["tokens_sha256"] for found in records], nulls),
        "nulls": nulls,
    }
    record["conditions"]["n_throttle_events"] = total(
        [found["conditions"]["n_throttle_events"] for found in records]
    )
    if record["step_us"]:
        record["step_us"]["n_steps"] = total([found["step_us"]["n_steps"] for found in records])
    record["memory"]["peak_rss_bytes"] = max(
        (found["memory"]["peak_rss_bytes"] or 0 for found in records), default=0
    ) or None
    return finished(record, "not every round told it")


def total(values):
    return None if None in values else sum(values)


def medians(parts, nulls, path):
    """The median of every field over the rounds; null where a round has none."""
    if None in parts:
        return None
    merged = {}
    for field in parts[0]:
        values = [part[field] for part in parts]
        merged[field] = None
        if None not in values:
            merged[field] = statistics.median(values)
            if all(isinstance(value, int) for value in values):
                merged[field] = int(merged[field])
    return merged


def energy(parts, nulls):
    """All rounds together: joules and seconds add up."""
    if None in parts:
        return None
    merged = parts[0] | {
        field: total([part[field] for part in parts])
        for field in ("measured_s", "total_energy_j", "energy_j", "n_tokens")
    }
    powers = [part["idle_power_w"] for part in parts]
    merged["idle_power_w"] = None if None in powers else statistics.median(powers)
    is_known = merged["energy_j"] is not None and merged["n_tokens"]
    merged["joules_per_token"] = merged["energy_j"] / merged["n_tokens"] if is_known else None
    return merged


def finished(record, reason):
    """Explain nulls that nothing explains by `reason`, drop reasons for values, name the record."""
    paths = set(null_paths(record))
    nulls = {path: text for path, text in record["nulls"].items() if path in paths}
    record["nulls"] = dict(sorted(({path: reason for path in paths} | nulls).items()))
    content = json.dumps(record | {"record_id": ""}, sort_keys=True)
    record["record_id"] = hashlib.sha256(content.encode()).hexdigest()[:16]
    return record


def null_paths(value, path=""):
    """Paths with dots of all nulls; nothing inside of a null."""
    if value is None:
        yield path
    elif isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in items:
            yield from null_paths(below, f"{path}.{key}" if path else str(key))


def validator():
    """What checks a record against `profiles/record.schema.json`."""
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def check(record, validate):
    """Raises RecordError when the record does not fit the schema."""
    name = f"{record['program']['name']} {record['test']['name']}"
    for error in validate.iter_errors(record):
        raise RecordError(f"the record of {name} is wrong at {error.json_path}: {error.message}")


def check_writable(path):
    """Raises before hours are spent when nothing can be appended to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise RecordError(f"cannot write to {place}")
    if path.is_dir():
        raise RecordError(f"expected a file for the records, found the folder {path}")


def append(path, records):
    """Append records as lines, with the lock and the replacement that Lapwing itself uses: every
    byte that is there stays, whatever happens."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with open(f"{path}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = path.read_bytes() if path.exists() else b""
        if path.exists() and not os.access(path, os.W_OK):
            raise RecordError(f"cannot write to {path}: it is read-only")
        separator = b"\n" if old and not old.endswith(b"\n") else b""
        new = old + separator + lines.encode()
        if len(new) > FILE_BYTES_MAX:
            raise RecordError(f"{path} is full: expected at most {FILE_BYTES_MAX} bytes")
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~umask()
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        ) as partial:
            try:
                partial.write(new)
                partial.flush()
                os.fsync(partial.fileno())
                os.chmod(partial.name, mode)
                os.replace(partial.name, path)
            except BaseException:
                os.unlink(partial.name)
                raise


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
