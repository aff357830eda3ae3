// The messages of a conversation on the page.

import { announce, button, copy, count, el, find, milliseconds, rate } from "./dom.js";
import { codeBlock, show as showMarkdown } from "./markdown.js";

// What is shown of each message that is on the page.
let views = new Map();

// Show `messages`; `actions` are what can be done with the last ones: `again`, `edit`, `result`.
export function show(messages, actions) {
  views = new Map();
  const log = find("log");
  log.replaceChildren(...messages.map((message) => create(message)));
  if (messages.length === 0) log.append(el("p", { class: "empty soft" }, "What is written here goes to the models of this daemon and nowhere else."));
  offer(messages, actions);
  log.scrollTop = log.scrollHeight;
}

// Show how far a message has come; `status` in place of its figures while it grows.
export function update(message, status = null) {
  const view = views.get(message);
  if (!view) return;
  const isAtEnd = atEnd();
  fill(view, message, status);
  keepEnd(isAtEnd);
}

// Say the whole answer to who does not see it.
export function sayAnswer(message) {
  const text = views.get(message)?.body.innerText ?? message.content;
  announce(`${message.model} answered: ${text.slice(0, 4000)}`);
}

function create(message) {
  const who = { user: "You", assistant: message.model || "Answer", tool: `Result of ${message.name}` }[message.role];
  const view = {
    thoughts: el("div"), body: el("div", { class: "body" }), calls: el("div", { class: "calls" }),
    error: el("p", { class: "error" }), figures: el("span", { class: "soft figures" }),
    buttons: el("span", { class: "buttons" }),
  };
  const summary = el("summary", {}, "Thoughts");
  view.thinking = el("details", { class: "thoughts" }, summary, view.thoughts);
  view.summary = summary;
  view.article = el("article", { class: message.role },
    el("h2", {}, who), view.thinking, view.body, view.calls, view.error,
    el("div", { class: "under" }, view.figures, view.buttons));
  views.set(message, view);
  fill(view, message, null);
  return view.article;
}

function fill(view, message, status) {
  const { thinking, thoughts, body, calls, error, figures, article, summary } = view;
  article.setAttribute("aria-busy", status === null ? "false" : "true");
  thinking.hidden = !message.thoughts;
  if (message.thoughts) {
    const isThinking = status !== null && !message.content;
    summary.textContent = isThinking ? "Thinking…" : "Thoughts";
    showMarkdown(thoughts, message.thoughts);
  }
  // What people wrote is shown as they wrote it.
  if (message.role === "assistant") showMarkdown(body, message.content);
  else body.textContent = message.content;
  const made = message.calls ?? [];
  if (0 < made.length) calls.replaceChildren(...made.map((call) => callBlock(call)));
  error.textContent = message.error ?? "";
  error.hidden = !message.error;
  figures.textContent = status ?? told(message);
  figures.title = status === null && message.role === "assistant" ? details(message) : "";
}

function callBlock(call) {
  let text = call.arguments;
  try {
    text = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Still growing, or the model made a mistake: as it is.
  }
  return el("section", { "aria-label": `Call of ${call.name}` },
    el("h3", {}, "Calls ", el("code", {}, call.name)), codeBlock(text, "json"));
}

// What became of an answer, in a line.
function told({ role, end, figures = {} }) {
  if (role !== "assistant") return "";
  const parts = [];
  const { n_tokens, answer_ms, first_ms, device, energy_j } = figures;
  if (n_tokens) parts.push(count(n_tokens, "token"));
  const perSecond = speed(figures);
  if (perSecond) parts.push(`${rate(perSecond)} tokens/s`);
  if (first_ms) parts.push(`first after ${milliseconds(first_ms)}`);
  if (device) parts.push(device);
  if (energy_j && answer_ms) parts.push(`${(energy_j / ((figures.prompt_ms + answer_ms) / 1000)).toFixed(1)} W`);
  if (end === "length") parts.push("most tokens reached");
  if (end === "full") parts.push("context full");
  if (end === "cancelled") parts.push("stopped");
  return parts.join(" · ");
}

// Tokens a second; null where it cannot be told.
function speed({ n_tokens, answer_ms }) {
  return n_tokens && answer_ms ? n_tokens / (answer_ms / 1000) : null;
}

function details({ figures = {} }) {
  const { n_prompt, n_reused, n_thought_tokens, queue_ms, prompt_ms, energy_j, energy_why } = figures;
  const parts = [];
  if (n_prompt) parts.push(`prompt: ${count(n_prompt, "token")}, ${count(n_reused ?? 0, "token")} known from before`);
  if (prompt_ms) parts.push(`prompt read in ${milliseconds(prompt_ms)}`);
  if (queue_ms) parts.push(`waited ${milliseconds(queue_ms)}`);
  if (n_thought_tokens) parts.push(`${count(n_thought_tokens, "token")} of thoughts`);
  if (n_prompt && !energy_j) parts.push(`watts: ${energy_why ?? "the daemon tells none"}`);
  return parts.join("\n");
}

// Offer what can be done: copying everywhere, the rest at the end of the conversation.
export function offer(messages, actions) {
  const last = messages.at(-1);
  const lastUser = messages.findLast((message) => message.role === "user");
  for (const message of messages) {
    const view = views.get(message);
    if (!view) continue;
    const press = button("Copy", () => copy(message.content, press), { class: "small" });
    const buttons = [press];
    if (actions && message === lastUser) {
      buttons.push(button("Edit", () => edit(view, message, actions), { class: "small" }));
    }
    if (actions && message === last) {
      const label = message.role === "assistant" ? "Answer again" : "Answer";
      buttons.push(button(label, () => actions.again(), { class: "small" }));
    }
    view.buttons.replaceChildren(...buttons);
    view.article.querySelector("form.results")?.remove();
    if (actions && message === last && 0 < (message.calls?.length ?? 0)) {
      view.calls.after(resultForm(message, actions));
    }
  }
}

// Write the last question anew.
function edit(view, message, actions) {
  const area = el("textarea", { "aria-label": "Your message", rows: String(Math.min(12, message.content.split("\n").length + 1)) });
  area.value = message.content;
  const end = () => {
    form.replaceWith(view.body);
    view.buttons.hidden = false;
    view.buttons.querySelector("button:nth-child(2)")?.focus();
  };
  const send = () => {
    const text = area.value.trim();
    end();
    if (text) actions.edit(message, text);
  };
  const form = el("form", { class: "edit", onsubmit: (event) => { event.preventDefault(); send(); } }, area,
    el("div", { class: "bar end" }, button("Cancel", end), el("button", { type: "submit", class: "primary" }, "Send")));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      end();
    }
  });
  view.body.replaceWith(form);
  view.buttons.hidden = true;
  area.focus();
}

// What each call gives, written by whoever sits here.
function resultForm(message, actions) {
  const fields = message.calls.map((call) => el("textarea", { rows: "2", "aria-label": `Result of ${call.name}`, placeholder: `What ${call.name} gives` }));
  return el("form", {
    class: "results",
    onsubmit: (event) => {
      event.preventDefault();
      actions.result(message.calls.map((call, idx) => ({ role: "tool", name: call.name, content: fields[idx].value })));
    },
  }, ...fields, el("div", { class: "bar end" }, el("button", { type: "submit" }, "Send results")));
}

function atEnd() {
  const log = find("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function keepEnd(wasAtEnd) {
  const log = find("log");
  if (wasAtEnd) log.scrollTop = log.scrollHeight;
}
