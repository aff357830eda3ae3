#!/usr/bin/env python3
"""Stands in for `llama-server` in llama.cpp's own tests: starts `lapwing serve` by its options.

What they ask of the server and Lapwing has no option for (seeds and limits of the server, batches) is
left out; tests that look at it fail, and docs/serving-llama-cpp.md says so. What would make a test
another one (models, proxies, adapters) ends this with 3, which fails the test at once.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

# Options that change nothing a client should see, without a value and with one.
FLAGS = {
    "--offline", "--slots", "--no-slots", "--metrics", "--cont-batching", "--jinja", "--no-jinja",
    "--verbose", "--kv-unified", "--swa-full", "--backend_sampling", "--no-cache-idle-slots", "--no-ui",
    "--embedding", "--reranking",
}
VALUES = {
    "--temp", "--seed", "--hf-repo", "--hf-file", "--batch-size", "--ubatch-size", "--threads",
    "--n-predict", "-fa", "-ctk", "-ctv", "--cache-ram", "--tags", "--reasoning-format", "--reasoning",
    "--pooling",
}
KNOWN = {
    "--port", "--host", "--ctx-size", "--parallel", "--alias", "--api-key", "--sleep-idle-seconds",
    "--chat-template", "--chat-template-file", "--cors-origins",
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main():
    given = read(sys.argv[1:])
    n_slots = int(given.get("--parallel", 1))
    arguments = [
        "--listen", f"127.0.0.1:{given['--port']}", "--default-model", "stories", "--any-name",
        "--parallel", str(n_slots),
        # There the context is shared out among the answers; here each has as much.
        "--context", str(int(given.get("--ctx-size", 512)) // (1 if "--kv-unified" in given else n_slots)),
    ]
    for name in given.get("--alias", "").split(","):
        arguments += ["--alias", f"{name}=stories"] if name else []
    work = Path(os.environ["CLIENTS_WORK"], "llama_cpp")
    if "--api-key" in given:
        path = work / f"key-{given['--port']}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(given["--api-key"])
        arguments += ["--key-file", str(path)]
    if "--sleep-idle-seconds" in given:
        arguments += ["--keep-alive", given["--sleep-idle-seconds"] + "s"]
    environment = dict(os.environ, LAPWING_HOME=str(home(work, template(given))))
    program = os.environ["LAPWING"]
    os.execve(program, [program, "serve", *arguments], environment)


def read(arguments):
    given = {}
    while arguments:
        name = arguments.pop(0)
        if name in FLAGS:
            given[name] = None
            continue
        if name not in VALUES | KNOWN:
            refuse(name)
        value = arguments.pop(0)
        if name == "--host" and value != "127.0.0.1":
            refuse(f"{name} {value}")
        if name in KNOWN:
            given[name] = value
    return given


def template(given):
    """Of a model without one llama-server takes ChatML."""
    if "--chat-template-file" in given:
        return Path(given["--chat-template-file"]).read_text()
    name = given.get("--chat-template", "chatml")
    if name == "chatml":
        return CHATML
    # The names of templates that are built in there.
    return name if " " in name else refuse(f"--chat-template {name}")


def home(work, template):
    """A home in which the small model has this template."""
    home = work / hashlib.sha256(template.encode()).hexdigest()[:16]
    folder = home / "models/stories"
    if not folder.exists():
        made = home / f"making-{os.getpid()}"
        shutil.copytree(os.environ["STORIES"], made, copy_function=shutil.copyfile)
        (made / "chat_template.jinja").write_text(template)
        folder.parent.mkdir(exist_ok=True)
        made.rename(folder)
        (home / "natives").symlink_to(Path(os.environ["CLIENTS_HOME"], "natives").resolve())
    return home


def refuse(what):
    print(f"lapwing has no {what}", file=sys.stderr)
    sys.exit(3)


main()
