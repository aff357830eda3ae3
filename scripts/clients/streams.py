"""Streams as their readers demand them, beyond what a schema can say: what comes first, once, last."""

import collections
import json

DONE = "[DONE]"

Event = collections.namedtuple("Event", ["name", "data"])


def events(body):
    """The events of a stream; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and line[0] != ":")
        if "data" in fields:
            data = fields["data"]
            found.append(Event(fields.get("event"), DONE if data == DONE else json.loads(data)))
    return found


def faults(path, found):
    """What is wrong with the order of a whole stream."""
    check = {
        "/v1/chat/completions": chat,
        "/v1/completions": completion,
        "/v1/responses": responses,
        "/v1/messages": messages,
    }.get(path)
    if not found:
        return ["a stream of nothing"]
    return list(check(found)) if check and "error" not in last_object(found) else []


def last_object(found):
    objects = [event.data for event in found if event.data is not DONE]
    return objects[-1] if objects else {}


def same_in_all(chunks, keys):
    for key in keys:
        if len({chunk[key] for chunk in chunks}) != 1:
            yield f"{key} is not the same in all chunks"


def chat(found):
    if found[-1].data is not DONE:
        yield "the stream does not end with [DONE]"
    chunks = [event.data for event in found if event.data is not DONE]
    yield from same_in_all(chunks, ["id", "created", "model", "object"])
    empty = [idx for idx, chunk in enumerate(chunks) if not chunk["choices"]]
    if empty not in ([], [len(chunks) - 1]):
        yield f"chunks without choices at {empty} of {len(chunks)}"
    if empty and not chunks[-1].get("usage"):
        yield "the chunk without choices has no usage"
    indices = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
    for index in indices:
        of = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        roles = [idx for idx, choice in enumerate(of) if "role" in choice["delta"]]
        if roles != [0]:
            yield f"roles at {roles}"
        reasons = [idx for idx, choice in enumerate(of) if choice["finish_reason"]]
        if reasons != [len(of) - 1] or of[-1]["delta"]:
            yield f"reasons at {reasons} of {len(of)}, with {of[-1]['delta']}"
        yield from calls([call for choice in of for call in choice["delta"].get("tool_calls", [])],
                         of[-1]["finish_reason"])


def calls(deltas, reason):
    begun = {}
    for delta in deltas:
        if delta["index"] in begun:
            if delta.get("id") or delta["function"].get("name"):
                yield f"call {delta['index']} begins twice"
        elif not (delta.get("id") and delta.get("type") == "function" and delta["function"].get("name")):
            yield f"call {delta['index']} begins without id, type or name"
        begun.setdefault(delta["index"], delta.get("id"))
    if len(set(begun.values())) != len(begun):
        yield "calls share an id"
    if begun and reason not in ("tool_calls", "length"):
        yield f"calls end with {reason}"


def completion(found):
    if found[-1].data is not DONE:
        yield "the stream does not end with [DONE]"
    chunks = [event.data for event in found if event.data is not DONE]
    yield from same_in_all(chunks, ["id", "created", "model", "object"])


RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")


def responses(found):
    names = [event.name for event in found]
    if names != [event.data["type"] for event in found]:
        yield "names are not the types"
    if [event.data["sequence_number"] for event in found] != list(range(len(found))):
        yield "sequence numbers do not count from 0"
    if names[:2] != ["response.created", "response.in_progress"]:
        yield f"it begins with {names[:2]}"
    if names[-1] not in RESPONSE_ENDS or sum(name in RESPONSE_ENDS for name in names) != 1:
        yield f"it ends with {names[-1]}"
    n_added, n_done = (names.count(f"response.output_item.{what}") for what in ("added", "done"))
    if n_added != n_done:
        yield f"{n_added} items begin and {n_done} end"
    items = [e.data["item"] for e in found if e.name == "response.output_item.done"]
    if items != found[-1].data["response"]["output"]:
        yield "the items are not those of the whole response"
    text = "".join(e.data["delta"] for e in found if e.name == "response.output_text.delta")
    whole = "".join(e.data["text"] for e in found if e.name == "response.output_text.done")
    if text != whole:
        yield "the pieces are not the text"


def messages(found):
    found = [event for event in found if event.name != "ping"]
    names = [event.name for event in found]
    if names != [event.data["type"] for event in found]:
        yield "names are not the types"
    if names[0] != "message_start" or names[-2:] != ["message_delta", "message_stop"]:
        yield f"it begins with {names[0]} and ends with {names[-2:]}"
    open_at, n_blocks = None, 0
    for event in found:
        if event.name == "content_block_start":
            if open_at is not None or event.data["index"] != n_blocks:
                yield f"block {event.data['index']} begins while {open_at} is open, behind {n_blocks}"
            open_at, n_blocks = event.data["index"], n_blocks + 1
        elif event.name.startswith("content_block") and event.data["index"] != open_at:
            yield f"{event.name} of block {event.data['index']} while {open_at} is open"
        if event.name == "content_block_stop":
            open_at = None
    if open_at is not None:
        yield f"block {open_at} does not end"


DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def lines_faults(lines):
    """What is wrong with the lines of Ollama's chats and texts."""
    if not lines or "error" in lines[-1]:
        return []
    ends = [idx for idx, line in enumerate(lines) if line["done"]]
    found = [] if ends == [len(lines) - 1] else [f"lines that are done at {ends} of {len(lines)}"]
    last = lines[-1]
    if last.get("done_reason") in ("load", "unload"):
        return found
    counts = (*DURATIONS, "prompt_eval_count", "eval_count")
    found += [f"{key} is {last.get(key)!r}" for key in counts if not isinstance(last.get(key), int)]
    texts = [line["message"]["content"] if "message" in line else line["response"] for line in lines]
    return found + [f"text is {text!r}" for text in texts if not isinstance(text, str)]
