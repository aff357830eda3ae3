"""Calls as families write them: whole and in streams, through each protocol that can ask for one."""

import os
import pathlib

import jsonschema
import pytest
import requests

from conftest import MODEL
from families import FAMILIES, make
from schemas import TEXT, several, thing
from speakers import Anthropic, OpenAiChat, OpenAiResponses, Tool

TOOLS = (
    Tool("get_weather", "The weather of a city.", thing(
        city=TEXT, unit={"enum": ["c", "f"]}, days={"type": "integer", "minimum": 1, "maximum": 9},
        at=several(thing(hour={"type": "integer", "minimum": 0, "maximum": 23}), 2))),
    Tool("now", "The time.", {"type": "object", "properties": {}}),
)
QUESTION = ("user", "What is the weather in Paris?")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, url):
    models = pathlib.Path(os.environ["CLIENTS_HOME"], "models")
    make(models / MODEL, models / f"family-{request.param}", request.param)
    return request.param


@pytest.mark.parametrize("speaker", [OpenAiChat, OpenAiResponses, Anthropic])
@pytest.mark.parametrize("forced", ["get_weather", "now", "any"])
def test_calls_that_must_come(url, family, speaker, forced):
    speaker = speaker(url, f"family-{family}")
    asked = {"tools": TOOLS, "forced": forced, "temperature": 0, "n_tokens_max": 900}
    whole = speaker.ask([QUESTION], **asked)
    assert whole.calls and whole.text == "" and whole.why == "tool_calls", whole
    for call in whole.calls:
        tool, = [tool for tool in TOOLS if tool.name == call.name]
        jsonschema.validate(call.arguments, tool.parameters)
    if forced != "any":
        assert [call.name for call in whole.calls] == [forced]
    streamed = speaker.ask([QUESTION], is_stream=True, **asked)
    assert streamed.same(whole), (streamed, whole)
    # What came goes back, with a result of each call.
    results = [("result", call, "sunny") for call in whole.calls]
    answer = speaker.ask([QUESTION, ("answer", whole), *results], tools=TOOLS, temperature=0,
                         n_tokens_max=4)
    assert answer.n_tokens > 0


def test_calls_stand_in_prompts_as_the_family_writes_them(url, family):
    call = {"id": "call_1", "type": "function",
            "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}
    messages = [
        {"role": "user", "content": QUESTION[1]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    prompt = requests.post(f"{url}/apply-template", json={
        "model": f"family-{family}", "messages": messages}).json()["prompt"]
    assert FAMILIES[family]["written"] in prompt and "sunny" in prompt
