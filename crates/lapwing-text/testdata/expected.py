#!/usr/bin/env python3
"""Write what jinja2, set up as the transformers library does it, makes of the test templates.

Needs jinja2 (pip install jinja2). Run in this folder; writes expected/*.json. Each result is
{"text": ...}, {"raised": ...} (raise_exception) or {"failed": true} (any other error).
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 7, 26, 14, 5, 9)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


class Raised(Exception):
    pass


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise Raised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def result(source, variables):
    try:
        return {"text": environment().from_string(source).render(**variables)}
    except Raised as raised:
        return {"raised": str(raised)}
    except Exception:
        return {"failed": True}


def write(name, results):
    path = HERE / "expected" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def variables(case, tool):
    n_tools = case.get("tools")
    tools = None if n_tools is None else [tool] * n_tools
    given = {k: case[k] for k in ("messages", "add_generation_prompt")}
    return {**TOKENS, **given, "tools": tools, "documents": None, **case.get("extra", {})}


def main():
    data = json.loads((HERE / "conversations.json").read_text())
    for path in sorted((HERE / "templates").glob("*.jinja")):
        source = path.read_text()
        write(path.stem, {c["name"]: result(source, variables(c, data["tool"])) for c in data["cases"]})
    given = {
        "text": "Héllo world",
        "message": {"role": "user", "content": " hi ", "n": 1},
        "items": [1, 2, 3],
        "people": [{"name": "Al", "age": 40, "nick": "A"}, {"name": "Bo", "age": 30}],
    }
    case = {"messages": [], "add_generation_prompt": False, "extra": given}
    snippets = (HERE / "snippets.txt").read_text().splitlines()
    write("snippets", {s: result(s, variables(case, None)) for s in snippets})


def typed():
    """What templates make of texts that are spelled like control tokens."""
    given = json.loads((HERE / "typed.json").read_text())

    def results(source):
        made = [result(source, {"t": t, "m": {"content": t, t: 1}}) for t in given["texts"]]
        return [r.get("text", r.get("raised")) for r in made]

    write("typed", {source: results(source) for source in given["templates"]})


if __name__ == "__main__":
    main()
    typed()
