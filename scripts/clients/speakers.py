"""One conversation through each of the protocols, by the clients that their makers publish: whoever
asks does not see which protocol it is, nor whether the answer came whole or as a stream."""

import dataclasses
import json

import anthropic
import ollama
import openai


@dataclasses.dataclass
class Call:
    """A call of a function; arguments that are no JSON object stay text."""

    name: str
    arguments: object
    id: str | None = None


@dataclasses.dataclass
class Answer:
    """`why` is `stop`, `length` or `tool_calls`; `sent` is the answer as it goes back."""

    text: str
    calls: list
    why: str
    n_tokens: int
    sent: object

    def same(self, other):
        calls = [(call.name, call.arguments) for call in self.calls]
        others = [(call.name, call.arguments) for call in other.calls]
        return (self.text, calls, self.why) == (other.text, others, other.why)


@dataclasses.dataclass
class Tool:
    name: str
    description: str
    parameters: dict


def arguments_of(text):
    """Arguments as the client shows them: as text, or as an object already."""
    if not isinstance(text, str):
        return dict(text)
    try:
        return json.loads(text)
    except ValueError:
        return text


class Speaker:
    """`ask` sends a conversation of `("user", text)`, `("answer", Answer)`, `("result", Call, text)`.

    `tools` may be called; `forced` is the name of one that must be, or `any`; `schema` is what the
    answer must fit; `settings` are `temperature`, `seed` (where a protocol has one), `n_tokens_max`.
    """

    name = None
    can_force = True

    def __init__(self, url, model):
        self.url, self.model = url, model

    def ask(self, conversation, *, tools=(), forced=None, schema=None, is_stream=False, **settings):
        raise NotImplementedError


class OpenAiChat(Speaker):
    name = "openai chat.completions"

    def __init__(self, url, model):
        super().__init__(url, model)
        self.client = openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=900)

    def ask(self, conversation, *, tools=(), forced=None, schema=None, is_stream=False, **settings):
        asked = {"model": self.model, "messages": [self.message(*each) for each in conversation]}
        if tools:
            asked["tools"] = [{"type": "function", "function": vars(tool)} for tool in tools]
        if forced:
            named = {"type": "function", "function": {"name": forced}}
            asked["tool_choice"] = "required" if forced == "any" else named
        if schema is not None:
            form = {"name": "answer", "schema": schema}
            asked["response_format"] = {"type": "json_schema", "json_schema": form}
        asked["max_completion_tokens"] = settings.pop("n_tokens_max")
        completions = self.client.chat.completions
        if is_stream:
            asked["stream_options"] = {"include_usage": True}
            try:
                with completions.stream(**asked, **settings) as stream:
                    for _ in stream:
                        pass
                    completion = stream.get_final_completion()
            except openai.LengthFinishReasonError as error:
                completion = error.completion
        else:
            completion = completions.create(**asked, **settings)
        choice = completion.choices[0]
        calls = [
            Call(call.function.name, arguments_of(call.function.arguments), call.id)
            for call in choice.message.tool_calls or []]
        # The helper of streams adds what it parsed, which is not sent.
        sent = {"role": "assistant", "content": choice.message.content}
        if calls:
            sent["tool_calls"] = [
                {"id": call.id, "type": "function",
                 "function": {"name": call.function.name, "arguments": call.function.arguments}}
                for call in choice.message.tool_calls]
        return Answer(choice.message.content or "", calls, choice.finish_reason,
                      completion.usage.completion_tokens, sent)

    @staticmethod
    def message(kind, what, result=None):
        if kind == "user":
            return {"role": "user", "content": what}
        if kind == "answer":
            return what.sent
        return {"role": "tool", "tool_call_id": what.id, "content": result}


class OpenAiResponses(OpenAiChat):
    name = "openai responses"

    def ask(self, conversation, *, tools=(), forced=None, schema=None, is_stream=False, **settings):
        items = []
        for each in conversation:
            items += self.items(*each)
        asked = {"model": self.model, "input": items}
        if tools:
            asked["tools"] = [{"type": "function", "strict": False, **vars(tool)} for tool in tools]
        if forced:
            asked["tool_choice"] = (
                "required" if forced == "any" else {"type": "function", "name": forced})
        if schema is not None:
            asked["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
        asked["max_output_tokens"] = settings.pop("n_tokens_max")
        # The interface has no seed.
        settings.pop("seed", None)
        if is_stream:
            with self.client.responses.stream(**asked, **settings) as stream:
                events = list(stream)
            response = events[-1].response
        else:
            response = self.client.responses.create(**asked, **settings)
        calls = [
            Call(item.name, arguments_of(item.arguments), item.call_id)
            for item in response.output if item.type == "function_call"]
        why = "tool_calls" if calls else "stop"
        if response.status == "incomplete":
            why = {"max_output_tokens": "length"}[response.incomplete_details.reason]
        sent = [item.model_dump(exclude_none=True) for item in response.output]
        # The helper of streams adds what it parsed, which is not sent.
        for item in sent:
            item.pop("parsed_arguments", None)
            for part in item.get("content") or []:
                part.pop("parsed", None)
        return Answer(response.output_text, calls, why, response.usage.output_tokens, sent)

    @staticmethod
    def items(kind, what, result=None):
        if kind == "user":
            return [{"role": "user", "content": what}]
        if kind == "answer":
            return what.sent
        return [{"type": "function_call_output", "call_id": what.id, "output": result}]


class Anthropic(Speaker):
    name = "anthropic messages"

    def __init__(self, url, model):
        super().__init__(url, model)
        self.client = anthropic.Anthropic(
            base_url=url, api_key="none", max_retries=0, timeout=900)

    def ask(self, conversation, *, tools=(), forced=None, schema=None, is_stream=False, **settings):
        asked = {"model": self.model, "messages": self.messages(conversation)}
        if tools:
            asked["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in tools]
        if forced:
            named = {"type": "tool", "name": forced}
            asked["tool_choice"] = {"type": "any"} if forced == "any" else named
        if schema is not None:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        asked["max_tokens"] = settings.pop("n_tokens_max")
        # The interface has no seed, and this version of the client no temperature.
        settings.pop("seed", None)
        if is_stream:
            with self.client.messages.stream(**asked, extra_body=settings) as stream:
                for _ in stream:
                    pass
                message = stream.get_final_message()
        else:
            message = self.client.messages.create(**asked, extra_body=settings)
        calls = [
            Call(block.name, block.input, block.id)
            for block in message.content if block.type == "tool_use"]
        text = "".join(block.text for block in message.content if block.type == "text")
        reasons = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length",
                   "model_context_window_exceeded": "length"}
        sent = []
        for block in message.content:
            keys = ("type", "text") if block.type == "text" else ("type", "id", "name", "input")
            sent.append({key: getattr(block, key) for key in keys})
        return Answer(text, calls, reasons[message.stop_reason], message.usage.output_tokens, sent)

    @staticmethod
    def messages(conversation):
        """Results that follow one another go into one message."""
        messages = []
        for kind, what, *result in conversation:
            if kind == "result":
                block = {"type": "tool_result", "tool_use_id": what.id, "content": result[0]}
                if messages[-1]["role"] == "user":
                    messages[-1]["content"].append(block)
                else:
                    messages.append({"role": "user", "content": [block]})
            elif kind == "user":
                messages.append({"role": "user", "content": what})
            else:
                messages.append({"role": "assistant", "content": what.sent})
        return messages


class Ollama(Speaker):
    name = "ollama chat"
    # The interface has no choice of tools.
    can_force = False

    def __init__(self, url, model):
        super().__init__(url, model)
        self.client = ollama.Client(host=url, timeout=900)

    def ask(self, conversation, *, tools=(), forced=None, schema=None, is_stream=False, **settings):
        options = {"num_predict": settings.pop("n_tokens_max"), **settings}
        asked = {
            "model": self.model, "messages": [self.message(*each) for each in conversation],
            "options": options, "format": schema,
            "tools": [{"type": "function", "function": vars(tool)} for tool in tools] or None}
        if is_stream:
            lines = list(self.client.chat(**asked, stream=True))
        else:
            lines = [self.client.chat(**asked)]
        text = "".join(line.message.content or "" for line in lines)
        told = [call for line in lines for call in line.message.tool_calls or []]
        calls = [Call(call.function.name, arguments_of(call.function.arguments)) for call in told]
        # It says `stop` behind calls, too.
        why = lines[-1].done_reason
        why = "tool_calls" if calls and why == "stop" else why
        sent = {"role": "assistant", "content": text}
        if calls:
            sent["tool_calls"] = [
                {"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
        return Answer(text, calls, why, lines[-1].eval_count, sent)

    @staticmethod
    def message(kind, what, result=None):
        if kind == "user":
            return {"role": "user", "content": what}
        if kind == "answer":
            return what.sent
        return {"role": "tool", "tool_name": what.name, "content": result}


SPEAKERS = (OpenAiChat, OpenAiResponses, Anthropic, Ollama)
