// The page: conversations on the left, the open one on the right, and what the buttons do.

import { Answer, request } from "./answer.js";
import * as daemon from "./daemon.js";
import { announce, ask, button, copy, el, find, note, save } from "./dom.js";
import * as log from "./log.js";
import * as models from "./models.js";
import * as store from "./store.js";

// The conversation on the page, and the answer that is made, which may be of another.
let open = store.create("");
let running = null;

const actions = {
  again: () => {
    if (open.messages.at(-1)?.role === "assistant") open.messages.pop();
    answer();
  },
  edit: (message, text) => {
    open.messages.splice(open.messages.indexOf(message));
    send(text);
  },
  result: (results) => {
    open.messages.push(...results);
    keep();
    answer();
  },
};

// --- Conversations

function show(conversation) {
  open = conversation;
  const wanted = running?.conversation === open ? running.answer.model.name : open.model;
  if (wanted) models.choose(wanted);
  const title = open.title || "New chat";
  find("title").textContent = title;
  document.title = open.title ? `${open.title} – Lapwing` : "Lapwing";
  log.show(open.messages, canAct() ? actions : null);
  fillSettings();
  list();
  // Reloading shows it again.
  history.replaceState(null, "", open.messages.length ? `#${open.id}` : "/");
}

const canAct = () => running === null;

function list() {
  const conversations = store.list();
  const row = (conversation) => {
    const isOpen = conversation.id === open.id;
    const press = button(conversation.title || "Without a title", () => {
      const isRunning = running?.conversation.id === conversation.id;
      show(isRunning ? running.conversation : conversation);
      if (isNarrow()) showList(false);
      focusText();
    }, { "aria-current": isOpen ? "true" : null, title: new Date(conversation.changed).toLocaleString() });
    return el("li", {}, press);
  };
  find("conversations").replaceChildren(...conversations.map(row));
  find("export-all").disabled = conversations.length === 0;
}

// Keep the open conversation, or say why it cannot be.
function keep(conversation = open) {
  conversation.changed = Date.now();
  try {
    store.keep(conversation);
  } catch (error) {
    note(error.message);
  }
  list();
}

function startNew() {
  show(store.create(models.current()?.name ?? ""));
  if (isNarrow()) showList(false);
  focusText();
}

async function rename() {
  const title = await ask({ title: "Rename this chat", label: "Title", value: open.title });
  if (!title?.trim()) return;
  open.title = title.trim().slice(0, 200);
  if (open.messages.length) keep();
  show(open);
}

function remove() {
  const removed = open;
  if (running?.conversation === removed) running.answer.stop();
  store.remove(removed.id);
  startNew();
  if (removed.messages.length === 0) return;
  note(`“${removed.title}” is deleted.`, { label: "Undo", run: () => { keep(removed); show(removed); } });
}

async function importFiles(files) {
  let n_taken = 0;
  for (const file of files) {
    try {
      for (const conversation of store.fromJson(await file.text())) {
        store.keep(conversation);
        open = conversation;
        n_taken += 1;
      }
    } catch (error) {
      note(`${file.name} cannot be imported: ${error.message}`);
    }
  }
  if (n_taken) show(open);
}

// --- Answers

function send(text) {
  if (!canAct()) {
    note(`An answer is being made in “${running.conversation.title}”: stop it or wait.`);
    return false;
  }
  open.title ||= shortened(text.replace(/\s+/g, " "));
  open.messages.push({ role: "user", content: text });
  keep();
  show(open);
  answer();
  return true;
}

// A title of whole words.
function shortened(text) {
  if (text.length <= 60) return text;
  return `${text.slice(0, 60).replace(/\s+\S*$/, "")}…`;
}

// Let the model answer the open conversation.
async function answer() {
  const conversation = open;
  // Who is quick writes before the list has come.
  if (!models.current()) await refreshModels();
  if (!canAct()) return;
  const model = models.current();
  let generate;
  try {
    if (!model) throw new Error("there is no model that could answer");
    generate = request(conversation, model);
  } catch (error) {
    show(conversation);
    note(error.message);
    return;
  }
  note(null);
  conversation.model = model.name;
  // Its device and its memory are known now.
  const loaded = () => { if (!model.loaded) models.refresh().catch(() => {}); };
  const made = new Answer(model, { changed: log.update, loaded });
  running = { conversation, answer: made };
  conversation.messages.push(made.message);
  show(conversation);
  exchange("send", "stop");
  let wantsKey = false;
  try {
    await made.run(generate);
  } catch {
    wantsKey = true;
  }
  running = null;
  const { message } = made;
  const isEmpty = !message.content && !message.thoughts && !message.calls.length && !message.error;
  const isGone = isEmpty && (wantsKey || message.end === "cancelled");
  if (isGone) conversation.messages.pop();
  exchange("stop", "send");
  if (document.activeElement === find("send")) focusText();
  await refreshModels();
  message.figures.device = models.named(message.model)?.loaded?.device ?? "";
  if (store.load(conversation.id)) keep(conversation);
  if (open !== conversation || isGone) {
    show(open);
    return;
  }
  log.update(message);
  log.offer(conversation.messages, actions);
  if (message.error) announce(`No answer: ${message.error}`);
  else if (message.end === "cancelled") announce("Stopped");
  else log.sayAnswer(message);
}

// Show a button in the place of another, which takes its focus along.
function exchange(old, next) {
  const hadFocus = document.activeElement === find(old);
  find(next).hidden = false;
  if (hadFocus) find(next).focus();
  find(old).hidden = true;
}

// Ask which models there are, and for the key where one is wanted; once, however many want to know.
let refreshing = null;
function refreshModels() {
  refreshing ??= askForModels().finally(() => { refreshing = null; });
  return refreshing;
}

async function askForModels() {
  for (let text = "This daemon wants its key. It is kept until this tab is closed."; ;) {
    try {
      await models.refresh();
      return;
    } catch (error) {
      find("state-text").textContent = error.message;
      find("state-more").textContent = "";
      if (!error.wantsKey) {
        note(`No list of models: ${error.message}`, { label: "Ask again", run: start });
        return;
      }
    }
    const key = await ask({ title: "Key", text, label: "Key", type: "password" });
    if (key === null) {
      note("Without the key there is nothing to see here.", { label: "Enter the key", run: start });
      return;
    }
    try {
      daemon.useKey(key.trim());
    } catch (error) {
      note(error.message);
      return;
    }
    text = "That was not the key. Once more:";
  }
}

// --- Settings

const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
const TEXTS = ["system", "tools", "thinks"];

function fillSettings() {
  for (const name of TEXTS) find(name).value = open.settings[name];
  for (const name of NUMBERS) find(name).value = open.settings[name] ?? "";
}

function takeSettings() {
  for (const name of TEXTS) open.settings[name] = find(name).value;
  const wrong = NUMBERS.filter((name) => !find(name).validity.valid);
  for (const name of NUMBERS) {
    const input = find(name);
    input.setAttribute("aria-invalid", String(wrong.includes(name)));
    if (!wrong.includes(name)) open.settings[name] = input.value === "" ? null : input.valueAsNumber;
  }
  const error = find("settings-error");
  const wrongInput = wrong.length ? find(wrong[0]) : null;
  error.textContent = wrongInput ? `${wrongInput.parentElement.firstChild.textContent.trim()}: ${wrongInput.validationMessage}` : "";
  error.hidden = wrong.length === 0;
}

function openSettings() {
  const model = models.current();
  find("thinks-label").hidden = !model?.can.thinks_when_asked;
  find("tools-part").hidden = !model?.can.calls;
  takeSettings();
  models.offerDevices();
  find("settings").showModal();
}

function closeSettings() {
  takeSettings();
  try {
    store.keepSettings(open.settings);
  } catch {
    // The conversation has them all the same.
  }
  if (open.messages.length) keep();
}

// --- The list

const isNarrow = () => matchMedia("(max-width: 52rem)").matches;

function showList(isShown) {
  document.body.classList.toggle("with-list", isShown);
  find("show-list").setAttribute("aria-expanded", String(isShown));
  if (isShown && isNarrow()) find("new").focus();
}

// --- The message field

function sendText() {
  const text = find("text").value.trim();
  if (text && send(text)) {
    find("text").value = "";
    grow();
  }
}

const isTouch = () => matchMedia("(pointer: coarse)").matches;

// On a touch screen it would bring the keyboard, which covers half of the page.
function focusText() {
  if (!isTouch()) find("text").focus();
}

// As high as its lines, within bounds.
function grow() {
  const area = find("text");
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, 240)}px`;
}

function onKey(event) {
  if (event.key !== "Escape") return;
  // What lies above is closed by it first.
  if (document.querySelector("dialog[open], :popover-open")) return;
  if (running) running.answer.stop();
  else if (isNarrow() && document.body.classList.contains("with-list")) {
    showList(false);
    find("show-list").focus();
  }
}

function listen() {
  const on = (id, run) => find(id).addEventListener("click", run);
  on("new", startNew);
  on("import", () => find("file").click());
  on("export-all", () => save("conversations.json", "application/json", store.toJson(store.list())));
  on("show-list", () => showList(!document.body.classList.contains("with-list")));
  on("show-settings", openSettings);
  on("close-settings", () => find("settings").close());
  on("stop", () => running?.answer.stop());
  const fromMenu = (id, run) => on(id, () => { find("menu").hidePopover(); run(); });
  fromMenu("rename", rename);
  fromMenu("copy-all", () => copy(store.toMarkdown(open)));
  fromMenu("save-markdown", () => save(store.fileName(open.title, "md"), "text/markdown", store.toMarkdown(open)));
  fromMenu("save-json", () => save(store.fileName(open.title, "json"), "application/json", store.toJson([open])));
  fromMenu("delete", remove);
  find("file").addEventListener("change", async () => {
    await importFiles(find("file").files);
    find("file").value = "";
  });
  find("settings").addEventListener("input", takeSettings);
  find("settings").addEventListener("close", closeSettings);
  find("composer").addEventListener("submit", (event) => { event.preventDefault(); sendText(); });
  find("text").addEventListener("input", grow);
  find("text").addEventListener("keydown", (event) => {
    // On a touch screen there is a button, and no other way to begin a line.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch()) return;
    event.preventDefault();
    sendText();
  });
  addEventListener("keydown", onKey);
  // On a phone the list lies over the room, until somebody goes elsewhere.
  const leave = (target) => {
    const isInside = ["list", "show-list"].some((id) => find(id).contains(target));
    if (isNarrow() && target && !isInside) showList(false);
  };
  document.addEventListener("click", (event) => leave(event.target));
  find("list").addEventListener("focusout", (event) => leave(event.relatedTarget));
  matchMedia("(max-width: 52rem)").addEventListener("change", () => showList(!isNarrow()));
  // An answer that is cut off by a reload keeps what came.
  addEventListener("pagehide", () => { if (running) keep(running.conversation); });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && !running && !document.querySelector("dialog[open]")) refreshModels();
  });
  models.watch(() => {
    open.model = models.current()?.name ?? "";
    if (open.messages.length && canAct()) keep();
  });
  store.watch((id) => {
    const isOther = id === null || id === open.id;
    if (isOther && running?.conversation !== open) show(store.load(open.id) ?? open);
    else list();
  });
}

async function start() {
  await refreshModels();
  // Who follows a link shows no key.
  find("report").hidden = Boolean(daemon.key());
  show(open);
}

listen();
showList(!isNarrow());
show(store.load(location.hash.slice(1)) ?? open);
focusText();
start();
