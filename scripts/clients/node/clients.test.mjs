// npm's `openai`, `@anthropic-ai/sdk`, `ollama`, and `ai` with an OpenAI-compatible provider.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, streamObject, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const url = process.env.LAPWING_URL;
const [model, toolsModel] = ["smollm2", "smollm2-tools"];
const messages = [{ role: "user", content: "Say hello." }];
const question = [{ role: "user", content: "What is the weather in Paris?" }];
const bird = z.object({ name: z.string().max(20), legs: z.number().int().min(0).max(9) });
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const weather = { type: "function", function: { name: "get_weather", parameters, strict: true } };

describe("openai", () => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

  test("a chat, whole and streamed", async () => {
    const asked = { model, messages, max_tokens: 12, temperature: 0 };
    const whole = await client.chat.completions.create(asked);
    let text = "";
    const options = { stream: true, stream_options: { include_usage: true } };
    let usage;
    for await (const chunk of await client.chat.completions.create({ ...asked, ...options })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
  });

  test("the helper of streams", async () => {
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 8 });
    const final = await stream.finalChatCompletion();
    assert.ok(final.choices[0].message.content);
  });

  test("a parsed answer", async () => {
    const response_format = zodResponseFormat(bird, "bird");
    const asked = { model, messages, response_format, max_tokens: 60 };
    const { choices } = await client.chat.completions.parse(asked);
    assert.ok(choices[0].message.parsed.name !== undefined);
  });

  test("a streamed call", async () => {
    const stream = client.chat.completions.stream({
      model: toolsModel, messages: question, tools: [weather], tool_choice: "required",
      parallel_tool_calls: false, max_tokens: 100,
    });
    const { choices } = await stream.finalChatCompletion();
    assert.equal(choices[0].finish_reason, "tool_calls");
    assert.ok("city" in JSON.parse(choices[0].message.tool_calls[0].function.arguments));
  });

  test("responses, whole and streamed", async () => {
    const asked = { model, input: "Say hello.", max_output_tokens: 16, temperature: 0 };
    const whole = await client.responses.create(asked);
    const stream = client.responses.stream(asked);
    let text = "";
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    const final = await stream.finalResponse();
    assert.equal(text, whole.output_text);
    assert.equal(final.status, whole.status);
  });

  test("models and errors", async () => {
    const ids = [];
    for await (const each of client.models.list()) ids.push(each.id);
    assert.ok(ids.includes(model));
    const unknown = client.chat.completions.create({ model: "nobody", messages });
    await assert.rejects(unknown, (error) => error.status === 404 && error.code === "model_not_found");
  });

  test("a reader that leaves", async () => {
    const asked = { model, messages, stream: true, max_tokens: 2000 };
    const stream = await client.chat.completions.create(asked);
    for await (const _ of stream) break;
    stream.controller.abort();
  });
});

describe("@anthropic-ai/sdk", () => {
  const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });

  test("messages, whole and streamed", async () => {
    const asked = { model, messages, max_tokens: 12, temperature: 0 };
    const whole = await client.messages.create(asked);
    const stream = client.messages.stream(asked);
    let text = "";
    stream.on("text", (delta) => (text += delta));
    const final = await stream.finalMessage();
    assert.equal(text, whole.content[0].text);
    assert.equal(final.stop_reason, whole.stop_reason);
    const counted = await client.messages.countTokens({ model, messages });
    const { input_tokens, cache_read_input_tokens } = final.usage;
    assert.equal(counted.input_tokens, input_tokens + cache_read_input_tokens);
  });

  test("a call", async () => {
    const tools = [{ name: "get_weather", input_schema: parameters }];
    const tool_choice = { type: "any", disable_parallel_tool_use: true };
    const asked = { model: toolsModel, messages: question, tools, tool_choice, max_tokens: 100 };
    const final = await client.messages.stream(asked).finalMessage();
    const call = final.content.find((block) => block.type === "tool_use");
    assert.ok("city" in call.input);
    assert.equal(final.stop_reason, "tool_use");
  });
});

describe("ollama", () => {
  const client = new Ollama({ host: url });
  const options = { num_predict: 12, temperature: 0 };

  test("a chat, whole and streamed", async () => {
    const whole = await client.chat({ model, messages, options });
    let text = "";
    for await (const line of await client.chat({ model, messages, options, stream: true })) {
      text += line.message.content;
    }
    assert.equal(text, whole.message.content);
  });

  test("what there is", async () => {
    const { models } = await client.list();
    assert.ok(models.some((each) => each.name === model));
    assert.ok((await client.show({ model })).capabilities.includes("completion"));
    assert.ok((await client.ps()).models.length > 0);
    await assert.rejects(client.show({ model: "nobody" }), /not found/);
  });
});

describe("ai with an OpenAI-compatible provider", () => {
  const provider = createOpenAICompatible({
    name: "lapwing", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true,
  });
  const small = provider(model);
  const base = { maxRetries: 0, temperature: 0 };

  test("a text, whole and streamed", async () => {
    const asked = { ...base, model: small, prompt: "Say hello.", maxOutputTokens: 12 };
    const whole = await generateText(asked);
    const stream = streamText(asked);
    let text = "";
    for await (const delta of stream.textStream) text += delta;
    assert.equal(text, whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    assert.ok((await stream.usage).outputTokens > 0);
  });

  test("an object, whole and streamed", async () => {
    const asked = { ...base, model: small, schema: bird, prompt: "A bird.", maxOutputTokens: 60 };
    const { object } = await generateObject(asked);
    assert.ok(object.legs >= 0);
    const stream = streamObject(asked);
    for await (const _ of stream.partialObjectStream);
    assert.ok((await stream.object).legs >= 0);
  });

  test("a call and the answer to its result", async () => {
    const asked = { ...base, model: provider(toolsModel), prompt: question[0].content };
    const inputSchema = z.object({ city: z.string().max(20) });
    const tools = { get_weather: tool({ inputSchema, execute: async () => "sunny" }) };
    const { toolCalls, toolResults } = await generateText({
      ...asked, tools, toolChoice: "required", maxOutputTokens: 100,
    });
    assert.ok(toolCalls.every((call) => call.toolName === "get_weather" && call.input.city !== undefined));
    assert.equal(toolResults[0].output, "sunny");
    const stream = streamText({ ...asked, tools, toolChoice: "required", maxOutputTokens: 100 });
    for await (const _ of stream.fullStream);
    assert.ok((await stream.toolCalls).length > 0);
  });

  test("an error", async () => {
    const unknown = generateText({ ...base, model: provider("nobody"), prompt: "a" });
    await assert.rejects(unknown, (error) => error.statusCode === 404);
  });
});
