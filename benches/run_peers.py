#!/usr/bin/env python3
"""Lapwing and its peers on the same work, as records of one schema.

Usage: run_peers.py benches/definitions/NAME.toml --lapwing target/release/lapwing
           --models DIR... --gguf FILE --llama-bench BIN --out FILE.jsonl

A definition says which programs run which models and what they do. First every program answers
once in f32, and the tokens must be the expected ones. Then a round runs every program once for
every test, each in a process of its own, warm; the order turns around from round to round. All
rounds of a program and a test become one record, appended to --out. At the end tables hold the
records against what each tool says of itself; they also go to FILE.checks.txt.

A program that is missing, fails or hangs is told and left out, and the others go on. Exit 1 when
there was one, when a figure is further from the tool's own than --tolerance, or when tokens are
not the expected ones.

The Python that runs this needs jsonschema, and for the peers numpy, openvino-genai and
onnxruntime-genai.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import peer_checks
import peer_conditions
import peer_programs
import peer_record
from peer_programs import ProgramError
from peer_record import RecordError

MODULES = {"openvino-genai": "openvino_genai", "onnxruntime-genai": "onnxruntime_genai"}
BINARIES = {"lapwing": "lapwing", "llama.cpp": "llama_bench"}
KINDS = (*BINARIES, *MODULES)
TESTS = {"prefill": ("pp", "n_prompt_tokens"), "decode": ("tg", "n_generated_tokens")}


class UsageError(Exception):
    """What is wrong before anything runs."""


def main():
    args = arguments()
    try:
        settings, programs, tests, tokens_test = read_definition(args)
        validate = peer_record.validator()
        peer_record.check_writable(args.out)
    except (UsageError, RecordError, OSError) as error:
        sys.exit(f"error: {error}")
    failures, present = {}, []
    for program in programs:
        if reason := missing(args, settings, program):
            fail(failures, program["name"], reason)
        else:
            present.append(program)
    if not present:
        sys.exit("error: none of the programs can run")
    with tempfile.TemporaryDirectory() as folder:
        settings["work_folder"] = folder
        try:
            ok = run(args, settings, present, tests, tokens_test, validate, failures)
        except KeyboardInterrupt:
            sys.exit("error: interrupted before anything was measured")
    if failures:
        print(f"error: left out, see above: {', '.join(failures)}", file=sys.stderr)
    sys.exit(0 if ok and not failures else 1)


def run(args, settings, programs, tests, tokens_test, validate, failures):
    """Check tokens, measure, write records and checks; False when something is not well."""
    lines, ok = [f"run {settings['run_id']}"], True
    if tokens_test:
        told, ok, failed = peer_checks.exact_tokens(settings, programs, tokens_test)
        lines += told
        print("\n".join(told))
        for name, reason in failed.items():
            fail(failures, name, reason)
    n_told = len(lines)
    results, interrupted = measure(settings, programs, tests, failures)
    records = assemble(settings, programs, tests, results)
    ok &= write(args.out, records.values(), validate)
    if records:
        told, is_near = peer_checks.figures(results, records, args.tolerance)
        lines += [*told, *peer_checks.timed_tokens(programs, tests, records)]
        ok &= is_near
    print("\n".join(lines[n_told:]))
    try:
        with open(args.out.with_suffix(".checks.txt"), "a") as checks:
            checks.write("\n".join(lines) + "\n")
    except OSError as error:
        print(f"error: cannot write the checks: {error}", file=sys.stderr)
        ok = False
    if interrupted:
        print("error: interrupted; what was measured until then is kept", file=sys.stderr)
    return ok and not interrupted


def fail(failures, name, reason):
    """Tell why a program is left out from here on."""
    failures[name] = reason
    print(f"error: {name} is left out, the others go on: it {reason}", file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("definition", type=Path)
    parser.add_argument("--lapwing", metavar="BIN", default="lapwing")
    parser.add_argument("--llama-bench", metavar="BIN", default="llama-bench",
                        help="llama.cpp's tool; without it the one in PATH")
    parser.add_argument("--models", nargs="+", type=Path, metavar="DIR", default=[Path(".")],
                        help="folders that hold the models, themselves or one level below")
    parser.add_argument("--gguf", type=Path, metavar="FILE",
                        help="llama.cpp's model, when it is not below --models")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument("--rounds", type=int, metavar="N", help="instead of the definition's")
    parser.add_argument("--skip", metavar="NAME,…", default=[], type=lambda text: text.split(","),
                        help="leave these programs out: names of the definition")
    parser.add_argument("--time-limit", type=float, default=300.0, metavar="SECONDS",
                        help="for one program and one test of a round (default 300)")
    parser.add_argument("--tolerance", type=float, default=5.0, metavar="PERCENT",
                        help="between a figure and the tool's own (default 5)")
    return parser.parse_args()


def read_definition(args):
    """Settings, programs and tests of the definition, and the test that checks tokens or None."""
    try:
        definition = tomllib.loads(args.definition.read_text())
        settings = definition["configuration"] | definition["prompt"] | definition["protocol"]
        needed = ("n_threads", "seed", "n_vocab", "n_rounds", "n_repetitions", "n_warmups")
        if args.rounds is not None:
            settings["n_rounds"] = args.rounds
        for key in needed:
            least = 0 if key in ("n_threads", "seed") else 1
            if not isinstance(settings[key], int) or settings[key] < least:
                raise UsageError(f"expected a {key} of at least {least}, found {settings[key]}")
        if settings["precision"] not in ("fast", "exact"):
            raise UsageError(f"expected precision fast or exact, found {settings['precision']}")
        tests = [named(test) for test in definition["tests"]]
        tokens = definition.get("tokens")
        tokens_test = named({"kind": "decode", **tokens}) if tokens else None
        programs = definition["programs"]
        names = [program["name"] for program in programs]
        for program in programs:
            if program["program"] not in KINDS:
                expected = ", ".join(KINDS)
                raise UsageError(f"expected a program of {expected}, found {program['program']}")
            program["model"]  # Is there, or the definition is refused.
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{args.definition} is not TOML: {error}") from error
    except KeyError as error:
        raise UsageError(f"{args.definition} does not have {error}") from error
    if len(set(names)) != len(names):
        raise UsageError(f"two programs of {args.definition} have the same name")
    if args.time_limit <= 0:
        raise UsageError(f"expected a --time-limit above 0, found {args.time_limit:g}")
    for name in args.skip:
        if name not in names:
            raise UsageError(f"--skip {name}: the definition has {', '.join(names)}")
    if importlib.util.find_spec("jsonschema") is None:
        raise UsageError("this Python has no jsonschema, which checks the records")
    host = peer_conditions.host()
    now = f"{host}\n{time.time_ns()}\n{os.getpid()}"
    settings |= {
        "lapwing": args.lapwing, "llama_bench": args.llama_bench, "host": host,
        "time_limit_s": args.time_limit, "run_id": hashlib.sha256(now.encode()).hexdigest()[:16],
    }
    left = [program for program in programs if program["name"] not in args.skip]
    return settings, left, tests, tokens_test


def named(test):
    """A test as a record has it, with the name that llama-bench would give it."""
    if test["kind"] not in TESTS:
        raise UsageError(f"expected a test of {', '.join(TESTS)}, found {test['kind']}")
    word, field = TESTS[test["kind"]]
    n_tokens, n_depth = test[field], test.get("n_depth_tokens", 0)
    return {
        "kind": test["kind"], "name": f"{word}{n_tokens}" + (f"@d{n_depth}" if n_depth else ""),
        "n_prompt_tokens": 0, "n_depth_tokens": n_depth, "n_generated_tokens": 0,
    } | {field: n_tokens}


def missing(args, settings, program):
    """What `program` needs and does not have, or None; finds its model on the way."""
    kind = program["program"]
    path = args.gguf if kind == "llama.cpp" and args.gguf else find_model(args, program["model"])
    if path is None:
        looked = ", ".join(map(str, args.models))
        return f"has no model: there is no {program['model']} in {looked} (--models)"
    if not path.exists():
        return f"has no model: there is no {path} (--gguf)"
    if kind in MODULES and importlib.util.find_spec(MODULES[kind]) is None:
        return f"needs {MODULES[kind]}, which this Python ({sys.executable}) does not have"
    option = BINARIES.get(kind)
    if option and not shutil.which(settings[option]):
        where = f"--{option.replace('_', '-')}, or a folder in PATH"
        return f"needs the program {settings[option]}, which is not there ({where})"
    program["path"] = path
    if kind == "lapwing":
        # Its records have the hash.
        return None
    try:
        program["sha256"], program["model_bytes"] = model_hash(path)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        return f"has a model that cannot be read, {path}: {error!r}"
    return None


def find_model(args, name):
    places = [place for folder in args.models
              for place in (folder / name, *folder.glob(f"*/{name}"))]
    return next((place for place in places if place.exists()), None)


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


def measure(settings, programs, tests, failures):
    """What each program gave for each test in every round, by their names, in the order of the
    first round; and whether the user broke off. Who fails once is not run again."""
    results = {}
    try:
        for round_idx in range(settings["n_rounds"]):
            for test in tests:
                for program in programs[:: -1 if round_idx % 2 else 1]:
                    if program["name"] in failures:
                        continue
                    place = f"round {round_idx + 1} of {settings['n_rounds']}"
                    print(f"{place}: {test['name']} {program['name']}", file=sys.stderr)
                    try:
                        ran = peer_programs.run(settings, program, test)
                    except ProgramError as error:
                        fail(failures, program["name"], str(error))
                        continue
                    results.setdefault((program["name"], test["name"]), []).append(ran)
    except KeyboardInterrupt:
        return results, True
    return results, False


def assemble(settings, programs, tests, results):
    """Records by names of program and test, Lapwing's first: peers take the machine from there."""
    records, lapwing, order = {}, None, list(results)
    for program in sorted(programs, key=lambda program: program["program"] != "lapwing"):
        for test in tests:
            key = program["name"], test["name"]
            if key not in results:
                continue
            rans, order_idx = results[key], order.index(key)
            if program["program"] == "lapwing":
                records[key] = lapwing = peer_record.of_lapwing(settings, rans, order_idx)
            else:
                records[key] = peer_record.of_peer(
                    settings, program, test, rans, order_idx, lapwing
                )
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


if __name__ == "__main__":
    main()
