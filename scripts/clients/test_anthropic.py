"""The `anthropic` package: messages, its helper of streams, tools, counts, errors."""

import anthropic
import pytest

from conftest import MODEL, TOOLS_MODEL

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def test_messages_whole_and_streamed(client):
    asked = {"model": MODEL, "max_tokens": 12, "messages": HELLO}
    whole = client.messages.create(**asked, extra_body={"temperature": 0})
    assert whole.content[0].type == "text" and whole.content[0].text
    assert whole.stop_reason in ("end_turn", "max_tokens")
    with client.messages.stream(**asked, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == whole.stop_reason
    events = list(client.messages.create(**asked, stream=True))
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]


def test_an_answer_that_is_known(client, fake):
    answer = client.messages.create(
        model=fake, max_tokens=9, messages=[{"role": "user", "content": "abc"}], stop_sequences=["gh", "x"])
    assert answer.content[0].text == "def"
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "gh")


def test_systems_and_blocks(client):
    cached = {"cache_control": {"type": "ephemeral"}}
    answer = client.messages.create(
        model=MODEL, max_tokens=4, metadata={"user_id": "u"},
        system=[{"type": "text", "text": "Be brief.", **cached}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hello", **cached}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi!"}]},
            {"role": "user", "content": "Who are you?"},
        ])
    assert answer.usage.output_tokens == 4 or answer.stop_reason == "end_turn"


def test_what_was_read_before_counts_as_cached(client):
    messages = [{"role": "user", "content": "A sentence that nobody else sends: seven grey geese."}]
    asked = {"model": MODEL, "max_tokens": 0, "messages": messages}
    first, second = (client.messages.create(**asked).usage for _ in range(2))
    n_prompt = client.messages.count_tokens(model=MODEL, messages=messages).input_tokens
    for usage in (first, second):
        assert usage.input_tokens + usage.cache_read_input_tokens == n_prompt
    assert second.cache_read_input_tokens == n_prompt - 1


def test_an_answer_goes_on_from_its_begin(client):
    messages = [
        {"role": "user", "content": "Count to ten in digits."},
        {"role": "assistant", "content": "1, 2, 3, 4, 5,"},
    ]
    answer = client.messages.create(
        model=MODEL, max_tokens=4, messages=messages, extra_body={"temperature": 0})
    assert answer.content[0].text.lstrip().startswith("6")


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_calls_and_their_results(client, choice):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = {
        "model": TOOLS_MODEL, "max_tokens": 100, "messages": messages, "tools": [WEATHER],
        "tool_choice": {**choice, "disable_parallel_tool_use": True}, "extra_body": {"temperature": 0},
    }
    whole = client.messages.create(**asked)
    call, = [block for block in whole.content if block.type == "tool_use"]
    assert whole.stop_reason == "tool_use" and call.name == "get_weather" and "city" in call.input
    with client.messages.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    assert "input_json" in kinds
    assert [b.input for b in final.content if b.type == "tool_use"] == [call.input]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    sent = [block.model_dump(exclude_none=True) for block in whole.content]
    answer = client.messages.create(
        model=TOOLS_MODEL, max_tokens=8, tools=[WEATHER],
        messages=[*messages, {"role": "assistant", "content": sent}, {"role": "user", "content": [result]}])
    assert answer.usage.input_tokens > 0


def test_an_answer_in_a_form(client):
    import json

    schema = {
        "type": "object", "properties": {"legs": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["legs"], "additionalProperties": False,
    }
    answer = client.messages.create(
        model=MODEL, max_tokens=40, messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}})
    assert set(json.loads(answer.content[0].text)) == {"legs"}


def test_tokens_are_counted(client):
    counted = client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.")
    answer = client.messages.create(model=MODEL, max_tokens=1, messages=HELLO, system="Be brief.")
    usage = answer.usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    tools = client.messages.count_tokens(model=TOOLS_MODEL, messages=HELLO, tools=[WEATHER])
    assert tools.input_tokens > counted.input_tokens


def test_what_is_in_trial(client):
    answer = client.beta.messages.create(
        model=MODEL, max_tokens=4, messages=HELLO, betas=["context-management-2025-06-27"])
    assert answer.content
    assert client.beta.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0


@pytest.mark.parametrize("asked,kind,word", [
    ({"model": "nobody"}, anthropic.NotFoundError, "not_found_error"),
    ({"model": "nobody", "stream": True}, anthropic.NotFoundError, "not_found_error"),
    ({"messages": [{"role": "robot", "content": "a"}]}, anthropic.BadRequestError, "invalid_request_error"),
    ({"messages": [{"role": "user", "content": "a b c " * 20000}]}, anthropic.BadRequestError,
     "invalid_request_error"),
    ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError, "invalid_request_error"),
    ({"max_tokens": -1}, anthropic.BadRequestError, "invalid_request_error"),
])
def test_errors_are_raised_as_their_kind(client, asked, kind, word):
    with pytest.raises(kind) as error:
        client.messages.create(**{"model": MODEL, "max_tokens": 2, "messages": HELLO, **asked})
    assert error.value.body["error"]["type"] == word
    assert error.value.request_id
    if "a b c" in str(asked):
        assert "prompt is too long" in error.value.message
