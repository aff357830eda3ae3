// One answer: what the model is asked, and the message that grows from what it says.

import * as daemon from "./daemon.js";
import { milliseconds, rate } from "./dom.js";

// What the model is told of a conversation, as OpenAI writes messages. Thoughts are left out: models
// are not to read what they thought before.
function toldMessages({ settings, messages }) {
  const told = settings.system ? [{ role: "system", content: settings.system }] : [];
  let ids = [];
  messages.forEach((message, idx) => {
    const { role, content } = message;
    if (role === "user") told.push({ role, content });
    // An answer that never came says nothing.
    if (role === "assistant" && (content || message.calls.length)) {
      ids = message.calls.map((_, nth) => `call_${idx}_${nth}`);
      const calls = message.calls.map((call, nth) => (
        { id: ids[nth], type: "function", function: { name: call.name, arguments: call.arguments } }));
      told.push(calls.length ? { role, content, tool_calls: calls } : { role, content });
    }
    if (role === "tool") told.push({ role, content, name: message.name, tool_call_id: ids.shift() });
  });
  return told;
}

// The request for the next message of `conversation`; throws where its settings make none.
export function request(conversation, model) {
  const { settings } = conversation;
  const messages = toldMessages(conversation);
  let prompt;
  if (model.can.chats) {
    let tools = null;
    if (settings.tools.trim() && model.can.calls) {
      try {
        tools = JSON.parse(settings.tools);
      } catch (error) {
        throw new Error(`the tools in the settings are no JSON: ${error.message}`);
      }
      if (!Array.isArray(tools)) throw new Error("the tools in the settings are no list");
    }
    const thinks = { on: true, off: false }[settings.thinks] ?? null;
    prompt = { chat: { messages, tools, thinks } };
  } else {
    prompt = { text: { text: messages.map((message) => message.content).join("\n"), add_special: true } };
  }
  const { temperature, top_p, top_k, seed, max_tokens } = settings;
  return { prompt, sampling: { temperature, top_p, top_k, seed }, n_tokens_max: max_tokens };
}

// An answer while it is made.
export class Answer {
  // `changed(message, status)` is called, at most once a frame, while it grows, and `status` says how
  // far it is in a few words; `loaded()` once the model is there.
  constructor(model, { changed, loaded }) {
    this.model = model;
    this.changed = changed;
    this.loaded = loaded;
    this.message = {
      role: "assistant", model: model.name, content: "", thoughts: "", calls: [], figures: {}, end: "", error: "",
    };
    this.abort = new AbortController();
    this.begun = performance.now();
    this.first = null;
    this.n_tokens = 0;
    this.stage = model.loaded ? "waiting" : "loading the model";
    this.frame = null;
    this.isOver = false;
  }

  stop() {
    this.abort.abort();
  }

  // Until it has ended, is stopped or cannot be made; what went wrong stands in the message. Throws
  // what says that the key is wanted.
  async run(generate) {
    const { message } = this;
    this.redraw();
    try {
      for await (const [kind, value] of daemon.answer(this.model.name, generate, this.abort.signal)) {
        if (kind === "open") {
          this.stage = "reading the prompt";
          this.loaded();
        } else if (kind === "reading") this.stage = `reading the prompt, ${value.n_read} of ${value.n_prompt} tokens`;
        else if (kind === "piece") this.take(value);
        else if (kind === "ended") this.end(value);
        else if (kind === "failed") message.error = [value.message, value.hint].filter(Boolean).join("; ");
        this.redraw();
      }
      if (!message.end && !message.error) message.error = "the connection ended before the answer did";
    } catch (error) {
      if (error.name === "AbortError") message.end = "cancelled";
      else if (error.wantsKey) throw error;
      else message.error = error.retryAfter ? `${error.message}; come again in ${error.retryAfter} s` : error.message;
    } finally {
      this.isOver = true;
    }
    // Of what did not come to its end only this page knows something.
    if (!message.figures.n_tokens && this.first !== null) {
      message.figures.n_tokens = this.n_tokens;
      // The first token is taken to have cost what the others did.
      const others = this.n_tokens - 1;
      if (0 < others) message.figures.answer_ms = (this.last - this.first) * (this.n_tokens / others);
    }
    if (this.first !== null) message.figures.first_ms = this.first - this.begun;
  }

  take({ parts = [] }) {
    const { message } = this;
    this.last = performance.now();
    this.first ??= this.last;
    this.n_tokens += 1;
    for (const part of parts) {
      const [kind, value] = Object.entries(part)[0];
      if (kind === "content") message.content += value;
      else if (kind === "reasoning") message.thoughts += value;
      else if (kind === "call_start") message.calls[value.index] = { name: value.name, arguments: "" };
      else if (kind === "call_arguments" && message.calls[value.index]) message.calls[value.index].arguments += value.delta;
    }
  }

  end(ended) {
    const { message } = this;
    const { why, n_prompt, n_reused, n_tokens, n_thought_tokens, queue_ms, prompt_ms, answer_ms } = ended;
    message.end = why;
    message.figures = { n_prompt, n_reused, n_tokens, n_thought_tokens, queue_ms, prompt_ms, answer_ms };
    // What the processor took meanwhile, or why that is not known.
    const { energy_j, energy_null } = ended.energy ?? {};
    if (Number.isFinite(energy_j)) message.figures.energy_j = energy_j;
    else if (energy_null) message.figures.energy_why = energy_null;
  }

  status() {
    if (this.first === null) {
      return `${this.stage}… ${milliseconds(performance.now() - this.begun)}`;
    }
    const parts = [`${this.n_tokens} tokens`];
    const seconds = (this.last - this.first) / 1000;
    // A rate of few tokens says nothing.
    if (4 < this.n_tokens && 0 < seconds) parts.push(`${rate((this.n_tokens - 1) / seconds)} tokens/s`);
    parts.push(`first after ${milliseconds(this.first - this.begun)}`);
    return parts.join(" · ");
  }

  redraw() {
    if (this.frame !== null) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      if (this.isOver) return;
      this.changed(this.message, this.status());
      // While nothing comes the time goes on.
      if (this.first === null) setTimeout(() => this.redraw(), 100);
    });
  }
}
