#!/usr/bin/env python3
"""Lapwing and its peers on the same work, as records of one schema.

Usage: run_peers.py benches/definitions/NAME.toml --lapwing target/release/lapwing
           --llama-bench BIN --models DIR... --out FILE.jsonl [--rounds N] [--skip NAME,...]

A definition says which programs run which models and what they do. A round runs every program
once for every test, each in a process of its own, warm; the order turns around from round to
round. All rounds of a program and a test become one record, appended to --out. At the end a table
holds the records against what each tool says of itself. Exit 1 when a program fails, a figure is
further from the tool's own than --tolerance, or Lapwing's tokens are not the expected ones.

The Python that runs this needs openvino-genai, onnxruntime-genai, numpy (for the peers that are
not skipped) and jsonschema.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import peer_conditions
import peer_programs
import peer_record
from peer_programs import ProgramError
from peer_record import RecordError

MODULES = {"openvino-genai": "openvino_genai", "onnxruntime-genai": "onnxruntime_genai"}
KINDS = ("lapwing", "llama.cpp", *MODULES)


class UsageError(Exception):
    """What is wrong before anything runs."""


def main():
    args = arguments()
    try:
        settings, programs, tests = prepare(args)
        validate = peer_record.validator()
    except (UsageError, OSError) as error:
        sys.exit(f"error: {error}")
    ok = check_perplexities(args, settings, programs)
    rounds, failure = measure(settings, programs, tests)
    if rounds:
        records = assemble(settings, programs, tests, rounds)
        ok &= write(args.out, records.values(), validate)
        ok &= print_checks(programs, tests, rounds, records, args.tolerance)
        ok &= check_tokens(programs, tests, records)
    if failure:
        sys.exit(f"error: {failure}\n{len(rounds)} complete rounds were kept")
    sys.exit(0 if ok else 1)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("definition", type=Path)
    parser.add_argument("--lapwing", metavar="BIN")
    parser.add_argument("--llama-bench", metavar="BIN")
    parser.add_argument("--models", nargs="+", type=Path, metavar="DIR", default=[Path(".")],
                        help="folders that hold the models, themselves or one level below")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument("--rounds", type=int, metavar="N", help="instead of the definition's")
    parser.add_argument("--skip", metavar="NAME,…", default="", type=lambda text: text.split(","),
                        help="leave these programs out: names of the definition")
    parser.add_argument("--text", type=Path, metavar="FILE",
                        help="also check the perplexity bands of the definition on this text")
    parser.add_argument("--tolerance", type=float, default=5.0, metavar="PERCENT")
    return parser.parse_args()


def prepare(args):
    """Settings, programs and tests of the definition; everything that can be wrong is found."""
    try:
        definition = tomllib.loads(args.definition.read_text())
        settings = {
            "n_threads": definition["configuration"]["n_threads"],
            "precision": definition["configuration"]["precision"],
            "seed": definition["prompt"]["seed"], "n_vocab": definition["prompt"]["n_vocab"],
            "n_rounds": args.rounds or definition["protocol"]["n_rounds"],
            "n_repetitions": definition["protocol"]["n_repetitions"],
            "n_warmups": definition["protocol"]["n_warmups"],
            "lapwing": args.lapwing, "llama_bench": args.llama_bench,
        }
        tests = [named(test) for test in definition["tests"]]
        programs = definition["programs"]
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{args.definition} is not TOML: {error}") from error
    except KeyError as error:
        raise UsageError(f"{args.definition} does not have {error}") from error
    counts = {key: settings[key] for key in ("n_rounds", "n_repetitions", "n_warmups")}
    for key, value in counts.items():
        if value < 1:
            raise UsageError(f"expected {key} of at least 1, found {value}")
    names = [program["name"] for program in programs]
    for name in args.skip:
        if name and name not in names:
            raise UsageError(f"--skip {name}: the definition has {', '.join(names)}")
    left = [program for program in programs if program["name"] not in args.skip]
    problems = [problem for program in left if (problem := missing(args, settings, program))]
    if importlib.util.find_spec("jsonschema") is None:
        problems.append("this Python has no jsonschema, which checks the records")
    if problems:
        hint = "give what is missing, or leave programs out with --skip NAME,…"
        raise UsageError("\n  ".join(["not everything is there:", *problems, hint]))
    if not left or not tests:
        raise UsageError("there is nothing to run")
    for program in programs:
        if program not in left:
            print(f"{program['name']} is skipped", file=sys.stderr)
    now = f"{peer_conditions.host()}\n{time.time_ns()}\n{os.getpid()}"
    settings["run_id"] = hashlib.sha256(now.encode()).hexdigest()[:16]
    settings["host"] = peer_conditions.host()
    return settings, left, tests


def named(test):
    """A test as a record has it, with the name that llama-bench would give it."""
    n_depth = test.get("n_depth_tokens", 0)
    kind = test["kind"]
    word, field = {"prefill": ("pp", "n_prompt_tokens"), "decode": ("tg", "n_generated_tokens")}[kind]
    n_tokens = test[field]
    return {
        "kind": kind, "name": f"{word}{n_tokens}" + (f"@d{n_depth}" if n_depth else ""),
        "n_prompt_tokens": 0, "n_depth_tokens": n_depth, "n_generated_tokens": 0,
    } | {field: n_tokens}


def missing(args, settings, program):
    """What `program` needs and does not have; finds its model on the way."""
    kind, name = program["program"], program["name"]
    if kind not in KINDS:
        return f"{name}: expected one of {', '.join(KINDS)}, found {kind}"
    places = [place for folder in args.models
              for place in (folder / program["model"], *folder.glob(f"*/{program['model']}"))]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        looked = ", ".join(map(str, args.models))
        return f"{name}: no model {program['model']} in {looked} (--models)"
    if kind in MODULES and importlib.util.find_spec(MODULES[kind]) is None:
        return f"{name}: this Python ({sys.executable}) has no {MODULES[kind]}"
    option = {"lapwing": "lapwing", "llama.cpp": "llama_bench"}.get(kind)
    if option and not settings[option]:
        return f"{name}: needs --{option.replace('_', '-')}"
    if option and not shutil.which(settings[option]):
        return f"{name}: there is no program {settings[option]}"
    program["path"] = path
    if kind == "lapwing":
        # Its records have the hash.
        return None
    try:
        program["sha256"], program["model_bytes"] = model_hash(path)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        return f"{name}: cannot read the model {path}: {error!r}"
    return None


def model_hash(path):
    """The same hash as Lapwing's: of a line for each file, with name, length and SHA-256."""
    files = [path]
    if path.is_dir() and (path / "genai_config.json").exists():
        config = json.loads((path / "genai_config.json").read_text())
        graph = path / config["model"]["decoder"]["filename"]
        files = [graph, *sorted(path.glob(graph.name + "*data"))]
    elif path.is_dir():
        files = [path / "openvino_model.xml", path / "openvino_model.bin"]
    lines, n_bytes = "", 0
    for file in files:
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines += f"{file.name} {file.stat().st_size} {digest}\n"
        n_bytes += file.stat().st_size
    return hashlib.sha256(lines.encode()).hexdigest(), n_bytes


def measure(settings, programs, tests):
    """Complete rounds, each by names of program and test; and what ended them early, if anything."""
    rounds, order_idxs = [], {}
    try:
        for round_idx in range(settings["n_rounds"]):
            found = {}
            for test in tests:
                for program in programs[:: -1 if round_idx % 2 else 1]:
                    key = program["name"], test["name"]
                    order_idx = order_idxs.setdefault(key, len(order_idxs))
                    place = f"round {round_idx + 1} of {settings['n_rounds']}"
                    print(f"{place}: {test['name']} {program['name']}", file=sys.stderr)
                    ran = peer_programs.run(settings, program, test)
                    found[key] = ran | {"order_idx": order_idx}
            rounds.append(found)
    except ProgramError as error:
        return rounds, error
    except KeyboardInterrupt:
        return rounds, "interrupted"
    return rounds, None


def assemble(settings, programs, tests, rounds):
    """Records by names of program and test, Lapwing's first: peers take the machine from there."""
    records, lapwing = {}, None
    for program in sorted(programs, key=lambda program: program["program"] != "lapwing"):
        for test in tests:
            key = program["name"], test["name"]
            rans = [found[key] for found in rounds]
            if program["program"] == "lapwing":
                records[key] = lapwing = peer_record.of_lapwing(settings, rans)
            else:
                records[key] = peer_record.of_peer(settings, program, test, rans, lapwing)
    return records


def write(path, records, validate):
    """Append what fits the schema; False when something does not, or cannot be written."""
    good, ok = [], True
    for record in records:
        try:
            peer_record.check(record, validate)
            good.append(record)
        except RecordError as error:
            print(f"error: {error}", file=sys.stderr)
            ok = False
    try:
        peer_record.append(path, good)
    except (OSError, RecordError) as error:
        print(f"error: cannot append to {path}: {error}; here are the records", file=sys.stderr)
        for record in good:
            print(json.dumps(record))
        return False
    print(f"{len(good)} records appended to {path}", file=sys.stderr)
    return ok


def print_checks(programs, tests, rounds, records, tolerance):
    """Our records against what each tool says of itself; False when one is too far away."""
    rows = []
    for program in programs:
        for test in tests:
            key = program["name"], test["name"]
            rans, record = [found[key] for found in rounds], records[key]
            mean = record["latency"]["tokens_per_s"]["mean"]
            if program["program"] == "lapwing":
                outside = max(ran["peak_rss_bytes"] for ran in rans)
                peak = record["memory"]["peak_rss_bytes"]
                if peak:
                    rows.append((key, "peak MB, kernel's", peak / 1e6, outside / 1e6))
                continue
            own = sum(ran["own_tokens_per_s"] for ran in rans) / len(rans)
            rows.append((key, "tokens/s, its own", mean, own))
            outside = [ran["outside"] for ran in rans if "outside" in ran and ran["outside"]["ms"]]
            if outside:
                rate = [sum(found["n_tokens"] / found[ms] for found in outside) / len(outside) * 1e3
                        for ms in ("own_ms", "ms")]
                rows.append((key, "tokens/s, our clock", *rate))
    width = max(len(program["name"]) for program in programs)
    print(f"{'program':{width}} {'test':12} {'against':20} {'record':>10} {'tool':>10} {'%':>7}")
    ok = True
    for (name, test), what, ours, theirs in rows:
        percent = (ours / theirs - 1) * 100
        mark = "" if abs(percent) <= tolerance else " !"
        ok &= not mark
        print(f"{name:{width}} {test:12} {what:20} {ours:10.2f} {theirs:10.2f} {percent:+7.2f}{mark}")
    return ok


def check_tokens(programs, tests, records):
    """Whether the tokens are those of the definition; False when Lapwing's are not."""
    ok = True
    for program in programs:
        for test in tests:
            found = records[program["name"], test["name"]]["tokens_sha256"]
            expected = program.get("expected_tokens_sha256", {}).get(test["name"])
            if expected and found not in expected:
                label = f"{program['name']} {test['name']}"
                print(f"{label}: tokens {found} are not among the expected", file=sys.stderr)
                ok &= program["program"] != "lapwing"
    return ok


def check_perplexities(args, settings, programs):
    """Whether Lapwing's perplexity of the text is in the bands; True when no text was given."""
    ok = True
    for program in programs if args.text else []:
        band = program.get("expected_perplexity")
        if not band or program["program"] != "lapwing":
            continue
        command = [settings["lapwing"], "eval", "ppl", "--model", program["path"], "--text",
                   args.text, "--limit", band["n_windows"], "--json", "--fresh", "--quiet",
                   "--precision", settings["precision"], "--device", "cpu"]
        try:
            ended = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            found = json.loads(ended.stdout)["result"]["perplexity"]
        except (OSError, KeyError, json.JSONDecodeError):
            sys.exit(f"error: cannot measure the perplexity of {program['name']}: {ended.stderr}")
        is_within = band["low"] <= found <= band["high"]
        word = "within" if is_within else "not within"
        print(f"{program['name']}: perplexity {found:.3f}, {word} {band['low']} to {band['high']}")
        ok &= is_within
    return ok


if __name__ == "__main__":
    main()
