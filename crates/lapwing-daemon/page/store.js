// Conversations, in this browser alone: each under a key of its own, as JSON. They also leave and come
// as files, so what is read is looked at as what somebody else wrote.
//
// A conversation is `{id, title, changed, model, settings, messages}`. A message is
// `{role: "user", content}`, `{role: "assistant", model, content, thoughts, calls, figures, end}` or
// `{role: "tool", name, content}`, which follows the assistant's message whose call it is the result of.

const PREFIX = "lapwing.chat.";
const SETTINGS = "lapwing.settings";
const FORMAT = "lapwing-conversations";
const N_MESSAGES_MAX = 10_000;
const N_CHARACTERS_MAX = 4_000_000;

// How answers are made; null is up to the model's authors.
export const NO_SETTINGS = Object.freeze({
  system: "", tools: "", thinks: "",
  temperature: null, top_p: null, top_k: null, max_tokens: null, seed: null,
});

export function create(model) {
  const settings = { ...NO_SETTINGS, ...read(SETTINGS) };
  return { id: crypto.randomUUID?.() ?? fallbackId(), title: "", changed: Date.now(), model, settings, messages: [] };
}

// `crypto.randomUUID` is not there where the page comes over a network without TLS.
function fallbackId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The newest first. What cannot be read is left where it is.
export function list() {
  const conversations = [];
  for (let idx = 0; idx < storage().length; idx += 1) {
    const key = storage().key(idx);
    if (!key.startsWith(PREFIX)) continue;
    const conversation = checked(read(key));
    if (conversation) conversations.push(conversation);
  }
  return conversations.sort((one, other) => other.changed - one.changed);
}

export function load(id) {
  return checked(read(PREFIX + id));
}

// Keep a conversation as it is now; throws where the browser has no room.
export function keep(conversation) {
  write(PREFIX + conversation.id, conversation);
}

// What the next new conversation begins with.
export function keepSettings(settings) {
  // What one conversation was told is not for all that follow.
  write(SETTINGS, { ...settings, system: "", tools: "", seed: null });
}

export function remove(id) {
  storage().removeItem(PREFIX + id);
}

// Call `changed` when another tab keeps or removes a conversation.
export function watch(changed) {
  addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(PREFIX)) changed(event.key?.slice(PREFIX.length) ?? null);
  });
}

export function toJson(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 2);
}

// The conversations of a file that `toJson` wrote, under new ids where theirs are taken.
export function fromJson(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("it is no JSON");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("it holds no conversations of this page");
  }
  if (file.version !== 1) throw new Error("it was written by a later version");
  return file.conversations.map((found, idx) => {
    const conversation = checked(found);
    if (!conversation) throw new Error(`its conversation ${idx + 1} is damaged`);
    if (load(conversation.id)) conversation.id = create("").id;
    return conversation;
  });
}

export function toMarkdown({ title, settings, messages }) {
  const parts = [`# ${title || "Conversation"}`];
  if (settings.system) parts.push("## System", settings.system);
  for (const message of messages) {
    const who = { user: "You", assistant: message.model || "Answer", tool: `Result of ${message.name}` };
    parts.push(`## ${who[message.role]}`);
    if (message.thoughts) parts.push(message.thoughts.trim().replace(/^/gm, "> "));
    if (message.content) parts.push(message.content.trim());
    for (const call of message.calls ?? []) parts.push(fenced(`${call.name}(${call.arguments})`));
  }
  return `${parts.join("\n\n")}\n`;
}

// A fence longer than any within.
function fenced(text) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

// A name for a file that holds it.
export function fileName(title, ending) {
  const words = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40);
  return `${words || "conversation"}.${ending}`;
}

// A conversation with only what belongs into one; null where it is none.
function checked(found) {
  const isText = (text) => typeof text === "string" && text.length <= N_CHARACTERS_MAX;
  const text = (value) => (isText(value) ? value : "");
  const number = (value) => (Number.isFinite(value) ? value : null);
  const isConversation = found && isText(found.id) && /^[\w-]{1,64}$/.test(found.id)
    && Array.isArray(found.messages) && found.messages.length <= N_MESSAGES_MAX;
  if (!isConversation) return null;
  const messages = [];
  for (const message of found.messages) {
    if (!isText(message?.content)) return null;
    const { role, content } = message;
    if (role === "user") messages.push({ role, content });
    else if (role === "tool") messages.push({ role, name: text(message.name), content });
    else if (role === "assistant") {
      const calls = (Array.isArray(message.calls) ? message.calls : [])
        .map((call) => ({ name: text(call?.name), arguments: text(call?.arguments) }));
      const figures = {};
      for (const [key, value] of Object.entries(message.figures ?? {})) {
        if (Number.isFinite(value) || (isText(value) && value.length < 200)) figures[key] = value;
      }
      messages.push({
        role, content, calls, figures, model: text(message.model), thoughts: text(message.thoughts),
        end: text(message.end), error: text(message.error),
      });
    } else return null;
  }
  const given = found.settings ?? {};
  const settings = { ...NO_SETTINGS };
  for (const name of Object.keys(settings)) {
    settings[name] = settings[name] === null ? number(given[name]) : text(given[name]);
  }
  return {
    id: found.id, title: text(found.title).slice(0, 200), changed: number(found.changed) ?? 0,
    model: text(found.model), settings, messages,
  };
}

function storage() {
  try {
    return localStorage;
  } catch {
    return memory;
  }
}

// Where the browser keeps nothing for this page, conversations last as long as the tab.
const memory = {
  items: new Map(),
  get length() { return this.items.size; },
  key(idx) { return [...this.items.keys()][idx]; },
  getItem(key) { return this.items.get(key) ?? null; },
  setItem(key, value) { this.items.set(key, value); },
  removeItem(key) { this.items.delete(key); },
};

function read(key) {
  try {
    return JSON.parse(storage().getItem(key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    storage().setItem(key, JSON.stringify(value));
  } catch {
    throw new Error("the browser has no room for this conversation: save and delete others");
  }
}
