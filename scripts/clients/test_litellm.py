"""`litellm`, which many programs ask through: by the interfaces of OpenAI, Ollama and Anthropic."""

import json

import litellm
import pytest

from conftest import MODEL, TOOLS_MODEL

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"], "additionalProperties": False,
        },
    },
}

litellm.telemetry = False
litellm.num_retries = 0


@pytest.fixture(params=["openai", "ollama", "ollama_chat", "anthropic"])
def asked(request, url):
    """How a provider is asked."""
    provider = request.param
    base = {"openai": f"{url}/v1"}.get(provider, url)
    return {"model": f"{provider}/{MODEL}", "api_base": base, "api_key": "none", "max_tokens": 8}


def test_answers(asked):
    answer = litellm.completion(messages=HELLO, **asked)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens > 0 and answer.usage.prompt_tokens > 0


def test_streams(asked):
    options = {"include_usage": True}
    chunks = list(litellm.completion(messages=HELLO, stream=True, stream_options=options, **asked))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    built = litellm.stream_chunk_builder(chunks, messages=HELLO)
    assert built.choices[0].message.content and built.usage.completion_tokens > 0


def test_unknown_models_are_not_found(asked):
    provider = asked["model"].split("/")[0]
    # Of Ollama's it makes one kind of all errors.
    kinds = (litellm.NotFoundError, litellm.APIConnectionError)
    with pytest.raises(kinds if "ollama" in provider else litellm.NotFoundError):
        litellm.completion(messages=HELLO, **{**asked, "model": f"{provider}/nobody"})


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_calls(url, provider, is_stream):
    base = f"{url}/v1" if provider == "openai" else url
    asked = {
        "model": f"{provider}/{TOOLS_MODEL}", "api_base": base, "api_key": "none", "max_tokens": 100,
        "messages": HELLO, "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False,
    }
    if is_stream:
        chunks = list(litellm.completion(stream=True, **asked))
        message = litellm.stream_chunk_builder(chunks).choices[0].message
    else:
        message = litellm.completion(**asked).choices[0].message
    assert "city" in json.loads(message.tool_calls[0].function.arguments)


def test_a_prompt_that_is_too_long_is_told_as_such(url):
    messages = [{"role": "user", "content": "a b c " * 20000}]
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(
            model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="none", messages=messages)


def test_an_answer_in_a_form(url):
    schema = {
        "type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["legs"], "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "bird", "schema": schema, "strict": True}}
    answer = litellm.completion(
        model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="none", messages=HELLO,
        response_format=form, max_tokens=40)
    assert set(json.loads(answer.choices[0].message.content)) == {"legs"}


def test_responses(url):
    answer = litellm.responses(
        model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="none", input="hi", max_output_tokens=16)
    assert answer.output
