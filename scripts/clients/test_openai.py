"""The `openai` package: chats, streams, parsed answers, responses, texts, models, errors."""

import json

import openai
import pydantic
import pytest

from conftest import MODEL, TOOLS_MODEL

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
FLAT_WEATHER = {"type": "function", **WEATHER["function"]}


class Bird(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    legs: int = pydantic.Field(ge=0, le=9)


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def whole_and_streamed(client, **asked):
    """An answer and the same as a stream, which must agree."""
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 12, "temperature": 0, **asked}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    for choice in whole.choices:
        of = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        text = "".join(each.delta.content or "" for each in of)
        assert text == (choice.message.content or "")
        assert of[-1].finish_reason == choice.finish_reason
    return whole, chunks


def test_chat(client):
    whole, _ = whole_and_streamed(client)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason in ("stop", "length")
    usage = whole.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert whole.model == MODEL


def test_chat_of_a_model_whose_answers_are_known(client, fake):
    messages = [{"role": "user", "content": "abc"}]
    whole, chunks = whole_and_streamed(client, model=fake, messages=messages, max_tokens=5)
    assert whole.choices[0].message.content == "defgh"
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 5


def test_an_alias_is_answered_with_its_name(client):
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=2)
    assert answer.model == "gpt-4o-mini"


def test_usage_of_a_stream_comes_last(client):
    options = {"include_usage": True}
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 4, "stream": True}
    chunks = list(client.chat.completions.create(**asked, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4
    chunks = list(client.chat.completions.create(**asked))
    assert all(chunk.choices for chunk in chunks)


def test_contents_in_parts_are_as_good_as_text(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    first, second = (
        client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8, temperature=0)
        for messages in (HELLO, parts))
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage.prompt_tokens == second.usage.prompt_tokens


def test_several_answers(client):
    whole, _ = whole_and_streamed(client, n=3, temperature=1, seed=5)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage.completion_tokens > 12


def test_seeds_repeat_and_differ(client):
    def text(seed):
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=12, temperature=1.5, seed=seed)
        return answer.choices[0].message.content

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1


def test_stop_strings_end_an_answer_and_are_not_in_it(client, fake):
    messages = [{"role": "user", "content": "abc"}]
    whole, _ = whole_and_streamed(
        client, model=fake, messages=messages, max_tokens=20, stop=["x", "y", "z", "fg", "qr"])
    assert whole.choices[0].message.content == "de"
    assert whole.choices[0].finish_reason == "stop"


def test_log_probabilities(client):
    whole, chunks = whole_and_streamed(client, logprobs=True, top_logprobs=3, max_tokens=5)
    entries = whole.choices[0].logprobs.content
    assert len(entries) == 5 and all(len(entry.top_logprobs) == 3 for entry in entries)
    assert "".join(entry.token for entry in entries) == whole.choices[0].message.content
    assert all(entry.token == entry.top_logprobs[0].token for entry in entries)
    told = b"".join(bytes(entry.bytes) for entry in entries)
    assert told.decode() == whole.choices[0].message.content
    streamed = [
        entry for chunk in chunks for choice in chunk.choices if choice.logprobs
        for entry in choice.logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


def test_a_token_may_be_a_part_of_a_character(client):
    # The form allows nothing but what the tokens of one character spell together.
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": {"enum": ["\u5abd"]}}}
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, response_format=form, logprobs=True, max_tokens=20)
    entries = answer.choices[0].logprobs.content
    told = b"".join(bytes(entry.bytes) for entry in entries)
    assert answer.choices[0].message.content == '"\u5abd"' and told.decode() == '"\u5abd"'
    assert any(len(entry.bytes) < 3 and entry.bytes[0] >= 0x80 for entry in entries)


def test_a_bias_forbids_a_token(client):
    def first(**more):
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=1, temperature=0, logprobs=True, **more)
        return answer.choices[0].message.content

    import requests

    usual = first()
    base = str(client.base_url).removesuffix("/v1/")
    found = requests.post(f"{base}/tokenize", json={"model": MODEL, "content": usual}).json()
    assert first(logit_bias={str(found["tokens"][0]): -100}) != usual


def test_the_helper_of_streams(client):
    # It raises where the limit ends an answer.
    messages = [{"role": "user", "content": "Answer with the word hello."}]
    with client.chat.completions.stream(
        model=MODEL, messages=messages, max_tokens=400, stop=".") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and kinds.count("content.done") == 1
    assert final.choices[0].message.content


def test_an_answer_is_parsed(client):
    parsed = client.chat.completions.parse(
        model=MODEL, messages=HELLO, response_format=Bird, max_tokens=60)
    assert isinstance(parsed.choices[0].message.parsed, Bird)


def test_a_streamed_answer_is_parsed(client):
    with client.chat.completions.stream(
        model=MODEL, messages=HELLO, response_format=Bird, max_tokens=60) as stream:
        for _ in stream:
            pass
    assert isinstance(stream.get_final_completion().choices[0].message.parsed, Bird)


def test_a_json_object(client):
    messages = [{"role": "user", "content": "A bird as JSON, as short as can be."}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, response_format={"type": "json_object"}, max_tokens=200,
        temperature=0)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    else:
        assert answer.choices[0].message.content.lstrip().startswith("{")


def test_a_json_object_with_a_schema_as_llama_cpp_takes_it(client):
    form = {"type": "json_object", "schema": {"enum": ["a"]}}
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, response_format=form)
    assert answer.choices[0].message.content == '"a"'
    with pytest.raises(openai.BadRequestError):
        form = {"type": "json_object", "schema": 7}
        client.chat.completions.create(model=MODEL, messages=HELLO, response_format=form)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"grammar": "root ::= [a]"})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_that_must_come(client, choice):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = {
        "model": TOOLS_MODEL, "messages": messages, "tools": [WEATHER], "tool_choice": choice,
        "parallel_tool_calls": False, "max_tokens": 100, "temperature": 0,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    call, = whole.message.tool_calls
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    with client.chat.completions.stream(**asked) as stream:
        kinds = [event.type for event in stream]
    final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in kinds
    assert final.message.tool_calls[0].function.arguments == call.function.arguments
    # The result goes back.
    messages = [
        *messages,
        # As most programs send it, with null where there is no text.
        {**whole.message.model_dump(exclude_none=True), "content": None},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 20 °C"},
    ]
    answer = client.chat.completions.create(
        model=TOOLS_MODEL, messages=messages, tools=[WEATHER], max_tokens=8)
    assert answer.usage.prompt_tokens > 0


def test_tools_may_be_left_alone(client):
    answer = client.chat.completions.create(
        model=TOOLS_MODEL, messages=HELLO, tools=[WEATHER], tool_choice="none", max_tokens=8)
    assert answer.choices[0].message.tool_calls is None


def test_an_answer_goes_on_from_its_begin(client):
    messages = [
        {"role": "user", "content": "Count to ten in digits."},
        {"role": "assistant", "content": "1, 2, 3, 4, 5,"},
    ]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=4, temperature=0)
    assert answer.choices[0].message.content.lstrip().startswith("6")


def test_responses(client):
    whole = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16, temperature=0)
    assert whole.output_text and whole.status in ("completed", "incomplete")
    with client.responses.stream(
        model=MODEL, input="Say hello.", max_output_tokens=16, temperature=0) as stream:
        kinds = [event.type for event in stream]
        if whole.status == "completed":
            assert stream.get_final_response().output_text == whole.output_text
    assert kinds[-1] == f"response.{whole.status}"
    raw = client.responses.create(
        model=MODEL, input="Say hello.", max_output_tokens=16, temperature=0, stream=True)
    text = "".join(event.delta for event in raw if event.type == "response.output_text.delta")
    assert text == whole.output_text


def test_a_response_that_comes_to_its_end(client, fake):
    # The fake ends with no token of its own: a form ends it.
    form = {"type": "json_schema", "name": "e", "schema": {"enum": ["a"]}, "strict": True}
    with client.responses.stream(model=fake, input="abc", text={"format": form}) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == '"a"'
    assert kinds[-1] == "response.completed"


def test_responses_of_items_and_settings(client):
    answer = client.responses.create(
        model=MODEL, instructions="Be brief.", max_output_tokens=16, temperature=0.5, top_p=0.9,
        metadata={"a": "b"}, store=False, truncation="auto", user="me", include=["message.output_text.logprobs"],
        top_logprobs=2,
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi!", "annotations": []}]},
            {"role": "user", "content": "Who are you?"},
        ])
    part = answer.output[0].content[0]
    assert len(part.logprobs) > 0 and len(part.logprobs[0].top_logprobs) == 2
    assert answer.metadata == {"a": "b"} and answer.instructions == "Be brief."


def test_responses_parsed(client):
    parsed = client.responses.parse(
        model=MODEL, input="A bird.", text_format=Bird, max_output_tokens=60)
    assert isinstance(parsed.output_parsed, Bird)


def test_responses_with_calls(client):
    asked = {
        "model": TOOLS_MODEL, "tools": [FLAT_WEATHER], "tool_choice": "required",
        "parallel_tool_calls": False, "max_output_tokens": 100, "temperature": 0,
    }
    question = {"role": "user", "content": "What is the weather in Paris?"}
    whole = client.responses.create(input=[question], **asked)
    call, = [item for item in whole.output if item.type == "function_call"]
    assert "city" in json.loads(call.arguments)
    with client.responses.stream(input=[question], **asked) as stream:
        kinds = [event.type for event in stream]
    assert "response.function_call_arguments.done" in kinds
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    sent = call.model_dump(exclude_none=True)
    answer = client.responses.create(
        input=[question, sent, result], model=TOOLS_MODEL, tools=[FLAT_WEATHER], max_output_tokens=16)
    assert answer.output


def test_tokens_of_a_prompt_are_counted(client):
    counted = client.responses.input_tokens.count(model=MODEL, input="Say hello.")
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1)
    assert counted.input_tokens == answer.usage.prompt_tokens


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [504, 216], [[504], [216, 504]]])
def test_texts(client, prompt):
    asked = {"model": MODEL, "prompt": prompt, "max_tokens": 6, "temperature": 0}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    n_prompts = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    assert [choice.index for choice in whole.choices] == list(range(n_prompts))
    for choice in whole.choices:
        of = [each.text for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert "".join(of) == choice.text


def test_texts_with_probabilities_or_an_echo(client):
    asked = {"model": MODEL, "prompt": "Once upon", "max_tokens": 4, "temperature": 0}
    assert client.completions.create(**asked, echo=True).choices[0].text.startswith("Once upon")
    logprobs = client.completions.create(**asked, logprobs=2).choices[0].logprobs
    columns = (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset)
    assert [len(column) for column in columns] == [4] * 4
    assert client.completions.create(**{**asked, "max_tokens": 0}, echo=True).choices[0].text == "Once upon"
    with pytest.raises(openai.BadRequestError):
        client.completions.create(**asked, echo=True, logprobs=2)


def test_a_limit_of_none_reads_the_prompt_for_the_next_request(client):
    messages = [{"role": "user", "content": "Remember this sentence, if you please."}]
    asked = {"model": MODEL, "messages": messages}
    read = client.chat.completions.create(**asked, max_tokens=0)
    assert read.choices[0].message.content == "" and read.choices[0].finish_reason == "length"
    next = client.chat.completions.create(**asked, max_tokens=1)
    assert next.usage.prompt_tokens_details.cached_tokens == read.usage.prompt_tokens - 1


def test_models(client):
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("some/other")
    assert error.value.code == "model_not_found"


NO_TOKENS = [{"role": "user", "content": "a b c " * 20000}]


@pytest.mark.parametrize("asked,kind,code,param", [
    ({"model": "nobody"}, openai.NotFoundError, "model_not_found", "model"),
    ({"model": "nobody", "stream": True}, openai.NotFoundError, "model_not_found", "model"),
    ({"messages": []}, openai.BadRequestError, None, "messages"),
    ({"temperature": 3}, openai.BadRequestError, None, "temperature"),
    ({"top_logprobs": 2}, openai.BadRequestError, None, "top_logprobs"),
    ({"messages": NO_TOKENS}, openai.BadRequestError, "context_length_exceeded", None),
    ({"messages": NO_TOKENS, "stream": True}, openai.BadRequestError, "context_length_exceeded", None),
    ({"tool_choice": "required"}, openai.BadRequestError, None, "tool_choice"),
    ({"messages": [{"role": "robot", "content": "a"}]}, openai.BadRequestError, None, None),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "poem"}}}},
     openai.BadRequestError, None, None),
    ({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]},
     openai.BadRequestError, None, None),
])
def test_errors_are_raised_as_their_kind(client, asked, kind, code, param):
    with pytest.raises(kind) as error:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 2, **asked})
    assert error.value.code == code
    assert param is None or error.value.param == param
    assert error.value.request_id


def test_what_is_unknown_is_left_alone(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=2, store=False, metadata={"a": "b"}, user="me",
        service_tier="auto", prompt_cache_key="k", safety_identifier="s", verbosity="low",
        extra_body={"what_comes_next_year": [1]})
    assert answer.choices


def test_more_tokens_than_the_context_has_are_cut(client, fake):
    answer = client.chat.completions.create(
        model=fake, messages=[{"role": "user", "content": "abc"}], max_tokens=32000,
        stop="hij")
    assert answer.choices[0].message.content == "defg"


def test_a_reader_that_leaves_stops_the_work(client, fake, url):
    import time

    import requests

    def n_tokens():
        page = requests.get(f"{url}/metrics").text
        values = [line.split(" ")[1] for line in page.splitlines()
                  if line.startswith('lapwing_model_tokens_total{model="fake-20000"')]
        return float(values[0]) if values else 0

    stream = client.chat.completions.create(
        model="fake-20000", messages=HELLO, max_tokens=4000, stream=True)
    for _, _ in zip(range(3), stream):
        pass
    stream.close()
    time.sleep(1)
    before = n_tokens()
    time.sleep(0.5)
    assert 0 < before == n_tokens()


@pytest.mark.asyncio
async def test_clients_that_do_not_wait(url):
    import asyncio

    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    answers = await asyncio.gather(*(
        client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=6, temperature=0)
        for _ in range(6)))
    assert len({answer.choices[0].message.content for answer in answers}) == 1
    await client.close()
