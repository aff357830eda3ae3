"""The `ollama` package: what there is, chats, texts, loading and unloading; and `curl` as Ollama's own
examples have it."""

import json
import shutil
import subprocess
import time

import ollama
import pytest
import requests

from conftest import MODEL, TOOLS_MODEL

HELLO = [{"role": "user", "content": "Say hello."}]
FIXED = {"num_predict": 12, "temperature": 0}


@pytest.fixture
def client(url):
    return ollama.Client(host=url)


def names(listed):
    return {model.model for model in listed.models}


def test_what_there_is(client):
    models = client.list().models
    assert MODEL in {model.model for model in models}
    raw = requests.get(f"{client._client.base_url}/api/tags").json()["models"]
    for model in raw:
        assert all(model[key] is not None for key in ("name", "model", "modified_at", "size", "digest"))
        details = model["details"]
        keys = ("format", "family", "families", "parameter_size", "quantization_level")
        assert all(details[key] is not None for key in keys), details


def test_what_a_model_is(client):
    shown = client.show(MODEL)
    assert "completion" in shown.capabilities and "tools" not in shown.capabilities
    assert "tools" in client.show(TOOLS_MODEL).capabilities
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] > 0
    assert isinstance(shown.template, str) and isinstance(shown.parameters or "", str)
    with pytest.raises(ollama.ResponseError) as error:
        client.show("nobody")
    assert error.value.status_code == 404 and "not found" in error.value.error


def test_chats_whole_and_streamed(client):
    whole = client.chat(model=MODEL, messages=HELLO, options=FIXED)
    assert whole.done and whole.done_reason in ("stop", "length") and whole.eval_count <= 12
    lines = list(client.chat(model=MODEL, messages=HELLO, options=FIXED, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content
    assert lines[-1].done and not any(line.done for line in lines[:-1])
    assert lines[-1].total_duration > 0


def test_an_answer_that_is_known(client, fake):
    asked = {"model": fake, "messages": [{"role": "user", "content": "abc"}]}
    answer = client.chat(**asked, options={"num_predict": 20, "stop": ["gh"]})
    assert (answer.message.content, answer.done_reason) == ("def", "stop")
    assert client.chat(**asked, options={"num_predict": 2}).done_reason == "length"


def test_an_answer_goes_on_from_its_begin(client):
    messages = [
        {"role": "user", "content": "Count to ten in digits."},
        {"role": "assistant", "content": "1, 2, 3, 4, 5,"},
    ]
    answer = client.chat(model=MODEL, messages=messages, options=FIXED)
    assert answer.message.content.lstrip().startswith("6")


def test_answers_in_a_form(client):
    schema = {
        "type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["legs"], "additionalProperties": False,
    }
    answer = client.chat(model=MODEL, messages=HELLO, format=schema)
    assert set(json.loads(answer.message.content)) == {"legs"}
    answer = client.generate(model=MODEL, prompt="A bird", format="json", options={"num_predict": 200})
    if answer.done_reason == "stop":
        assert isinstance(json.loads(answer.response), dict)
    assert client.chat(model=MODEL, messages=HELLO, format="", options=FIXED).message.content


def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
      city: its name
    """
    return f"sunny in {city}"


def test_tools_of_python_functions(client):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat(model=TOOLS_MODEL, messages=messages, tools=[get_weather], options=FIXED)
    # Whether it calls is the model's own matter here: Ollama's interface has no choice of tools.
    assert answer.message.content or answer.message.tool_calls
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    history = [
        *messages, {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    assert client.chat(model=TOOLS_MODEL, messages=history, tools=[get_weather], options=FIXED).done
    with pytest.raises(ollama.ResponseError) as error:
        client.chat(model=MODEL, messages=messages, tools=[get_weather], options=FIXED)
    assert error.value.status_code == 400


def test_texts(client):
    whole = client.generate(model=MODEL, prompt="Say hello.", options=FIXED)
    lines = list(client.generate(model=MODEL, prompt="Say hello.", options=FIXED, stream=True))
    assert "".join(line.response for line in lines) == whole.response
    assert len(whole.context) == whole.prompt_eval_count + whole.eval_count
    more = client.generate(model=MODEL, prompt="And again.", context=whole.context, options=FIXED)
    assert more.prompt_eval_count > whole.prompt_eval_count
    raw = client.generate(model=MODEL, prompt="Once upon a time", raw=True, options=FIXED)
    assert raw.response and raw.context is None
    with pytest.raises(ollama.ResponseError):
        client.generate(model=MODEL, prompt="a", suffix="b")


def test_loading_and_unloading(client):
    loaded = client.chat(model=MODEL, messages=[], keep_alive="1h30m")
    assert loaded.done_reason == "load"
    running, = [model for model in client.ps().models if model.model == MODEL]
    assert running.context_length > 0 and running.expires_at is not None
    assert client.generate(model=MODEL, keep_alive=0).done_reason == "unload"
    deadline = time.monotonic() + 5
    while MODEL in names(client.ps()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert MODEL not in names(client.ps())


@pytest.mark.parametrize("keep_alive", ["5m", "300", 300, 5.0, -1, "-1m", "1h30m", None])
def test_how_long_a_model_is_kept(client, keep_alive):
    asked = {"model": MODEL, "messages": HELLO, "options": {"num_predict": 1}}
    assert client.chat(**asked, keep_alive=keep_alive).done


def test_another_context_loads_nothing_anew(client):
    client.chat(model=MODEL, messages=HELLO, options={"num_predict": 1})
    answer = client.chat(model=MODEL, messages=HELLO, options={"num_predict": 1, "num_ctx": 512})
    assert answer.load_duration < 50_000_000


def test_log_probabilities(client):
    answer = client.chat(model=MODEL, messages=HELLO, options=FIXED, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == answer.eval_count
    assert all(len(each.top_logprobs) == 2 for each in answer.logprobs)


@pytest.mark.parametrize("asked,status", [
    ({"model": "nobody"}, 404),
    ({"think": True}, 400),
    ({"messages": [{"role": "user", "content": "a", "images": [b"no picture"]}]}, 400),
    ({"options": {"temperature": 9}}, 400),
])
def test_errors_are_words_with_a_status(client, asked, status):
    with pytest.raises(ollama.ResponseError) as error:
        client.chat(**{"model": MODEL, "messages": HELLO, **asked})
    assert error.value.status_code == status
    with pytest.raises(ollama.ResponseError) as error:
        list(client.chat(**{"model": MODEL, "messages": HELLO, **asked}, stream=True))
    assert error.value.status_code == status


def test_what_is_not_done_is_told(client):
    for ask in (lambda: client.pull("llama3.2"), lambda: client.copy(MODEL, "b"),
                lambda: client.delete(MODEL), lambda: client.push(MODEL)):
        with pytest.raises(ollama.ResponseError) as error:
            ask()
        assert error.value.status_code == 501


# As Ollama's own documentation asks: without a content type of its own.
CURLS = [
    ("/api/generate", {"prompt": "Why is the sky blue?"}),
    ("/api/generate", {"prompt": "Why is the sky blue?", "stream": False}),
    ("/api/generate", {"prompt": "Give a bird as JSON", "format": "json", "stream": False}),
    ("/api/generate", {"prompt": "<|im_start|>user\nhi<|im_end|>\n", "raw": True, "stream": False}),
    ("/api/generate", {"prompt": "hi", "stream": False, "options": {"seed": 123, "top_k": 20, "top_p": 0.9,
     "min_p": 0.0, "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2, "num_ctx": 1024,
     "num_keep": 5, "typical_p": 0.7, "penalize_newline": True, "numa": False, "use_mmap": True,
     "num_thread": 8, "stop": ["\n", "user:"]}}),
    ("/api/generate", {}),
    ("/api/chat", {"messages": HELLO}),
    ("/api/chat", {"messages": HELLO, "stream": False}),
    ("/api/chat", {"messages": []}),
    ("/v1/chat/completions", {"messages": HELLO}),
    ("/v1/completions", {"prompt": "Say this is a test"}),
    ("/v1/responses", {"input": "hi", "max_output_tokens": 16}),
    ("/v1/messages", {"max_tokens": 16, "messages": HELLO}),
    ("/api/show", {}),
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("path,asked", CURLS)
def test_curl_as_in_the_examples(url, path, asked):
    asked = {"model": MODEL, **asked}
    if path in ("/api/generate", "/api/chat"):
        asked["options"] = {"num_predict": 20, **asked.get("options", {})}
    elif "max_tokens" not in asked and path not in ("/v1/responses", "/api/show"):
        asked["max_tokens"] = 16
    run = subprocess.run(
        ["curl", "-sS", "--fail-with-body", f"{url}{path}", "-d", json.dumps(asked)],
        capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    for line in run.stdout.splitlines():
        assert not json.loads(line).get("error")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_looks_whether_it_is_alive(url):
    run = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, timeout=60)
    assert run.stdout == "Ollama is running"
    run = subprocess.run(["curl", "-sS", "-I", url], capture_output=True, text=True, timeout=60)
    assert " 200 " in run.stdout.splitlines()[0]
    version = json.loads(subprocess.run(
        ["curl", "-sS", f"{url}/api/version"], capture_output=True, text=True, timeout=60).stdout)
    assert [int(part) for part in version["version"].split(".")] >= [0, 6, 4]
