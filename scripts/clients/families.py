"""Models whose calls are written as other families write them: the small model with some of its special
tokens renamed, and a template in the form of the family."""

import json
import os
import shutil

TURNS = """\
{%- if tools %}{{ '<|im_start|>system\\nFunctions:' }}
    {%- for tool in tools %}{{ '\\n' + (tool.function | tojson) }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {{- '<|im_start|>assistant\\n' + @before }}
        {%- for call in message.tool_calls %}
            {%- set name, arguments = call.function.name, call.function.arguments %}
            {%- if arguments is not string %}{% set arguments = arguments | tojson %}{% endif %}
            {{- (@between if not loop.first else '') + @call }}
        {%- endfor %}
        {{- @after + '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- @result + '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ @prompt }}{% endif %}
"""
TOOL_TURN = "'<|im_start|>tool\\n' + message.content + '<|im_end|>'"
OBJECT = """'{"name": "' + name + '", "arguments": ' + arguments + '}'"""


def family(tokens, call, *, before="''", between="''", after="''", result=TOOL_TURN,
           prompt="'<|im_start|>assistant\\n'", ends=(), written):
    """`written` is the beginning of a call of `get_weather` in the prompt that a conversation becomes."""
    template = TURNS
    words = {"before": before, "between": between, "call": call, "after": after, "result": result,
             "prompt": prompt}
    for word, expression in words.items():
        template = template.replace(f"@{word}", expression)
    return {"tokens": tokens, "template": template, "ends": ends, "written": written}


FAMILIES = {
    "hermes": family(
        (), f"'<tool_call>\\n' + {OBJECT} + '\\n</tool_call>'", between="'\\n'",
        written='<tool_call>\n{"name": "get_weather", "arguments": {'),
    "llama": family(
        ("<|python_tag|>",), """'{"name": "' + name + '", "parameters": ' + arguments + '}'""",
        between="'; '", result="'<|im_start|>ipython\\n' + message.content + '<|im_end|>'",
        written='{"name": "get_weather", "parameters": {'),
    "mistral": family(
        ("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"), OBJECT, before="'[TOOL_CALLS]['",
        between="', '", after="']'", result="'[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]'",
        written='[TOOL_CALLS][{"name": "get_weather", "arguments": {'),
    "mistral-named": family(
        ("[TOOL_CALLS]", "[ARGS]"), "'[TOOL_CALLS]' + name + '[ARGS]' + arguments",
        written="[TOOL_CALLS]get_weather[ARGS]{"),
    "granite": family(
        ("<|tool_call|>",), OBJECT, before="'<|tool_call|>['", between="', '", after="']'",
        written='<|tool_call|>[{"name": "get_weather", "arguments": {'),
    "lfm2": family(
        ("<|tool_call_start|>", "<|tool_call_end|>"), "name + '(' + arguments + ')'",
        before="'<|tool_call_start|>['", between="', '", after="']<|tool_call_end|>'",
        written="<|tool_call_start|>[get_weather("),
    "deepseek": family(
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
         "<｜tool▁calls▁end｜>"),
        "'<｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>' + arguments + '<｜tool▁call▁end｜>'",
        before="'<｜tool▁calls▁begin｜>'", between="'\\n'", after="'<｜tool▁calls▁end｜>'",
        written="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"),
    "gpt-oss": family(
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>", "<|call|>", "<|return|>"),
        "'<|channel|>commentary to=functions.' + name + ' <|constrain|>json<|message|>' + arguments",
        prompt="'<|start|>assistant'", ends=("<|call|>", "<|return|>"),
        written="<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"),
}


def make(model, folder, name):
    """A model folder of a family, made of that of `model`."""
    family = FAMILIES[name]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, copy_function=lambda a, b: os.link(os.path.realpath(a), b))

    def replace(file, change):
        path = os.path.join(folder, file)
        value = json.load(open(path))
        change(value)
        os.remove(path)
        with open(path, "w") as out:
            json.dump(value, out, ensure_ascii=False)

    def rename(tokenizer):
        spare = [token for token in tokenizer["added_tokens"]
                 if token["special"] and not token["content"].startswith("<|")]
        for token, new in zip(spare, family["tokens"], strict=False):
            vocabulary = tokenizer["model"]["vocab"]
            if token["content"] in vocabulary:
                vocabulary[new] = vocabulary.pop(token["content"])
            token["content"] = new
            ids[new] = token["id"]

    ids = {}
    replace("tokenizer.json", rename)
    if family["ends"]:
        replace("generation_config.json", lambda config: config.update(
            eos_token_id=[ids[token] for token in family["ends"]]))
    template = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(template):
        os.remove(template)
    with open(template, "w") as out:
        out.write(family["template"])
