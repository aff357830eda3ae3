// Which model answers, and how it is held.

import * as daemon from "./daemon.js";
import { bytes, el, find, note } from "./dom.js";

let known = [];
let chosen = null;

// Ask the daemon again. Nothing asks now and then: an idle page leaves the machine idle.
export async function refresh() {
  known = await daemon.models();
  if (!known.some((model) => model.name === chosen)) chosen = null;
  chosen ??= (known.find((model) => model.loaded && can(model)) ?? known.find(can))?.name ?? null;
  show();
}

// The model that answers; null where there is none.
export function current() {
  return named(chosen);
}

export function named(name) {
  return known.find((model) => model.name === name) ?? null;
}

export function choose(name) {
  if (known.some((model) => model.name === name && can(model))) chosen = name;
  show();
}

// Call `changed` when somebody chooses another.
export function watch(changed) {
  find("model").addEventListener("change", () => {
    chosen = find("model").value;
    show();
    changed();
  });
  const on = (id, event, run) => find(id).addEventListener(event, () => {
    run().then(refresh).catch((error) => note(error.message));
  });
  on("unload", "click", () => daemon.unload(chosen).then(() => find("model").focus()));
  on("device", "change", () => daemon.choose(chosen, find("device").value || null));
}

// Offer the devices of this machine for the model.
export async function offerDevices() {
  const model = current();
  find("device-label").hidden = !model;
  if (!model) return;
  const fill = (libraries) => {
    const names = new Map([["", "the daemon's choice"]]);
    if (model.device) names.set(model.device, model.device);
    for (const { kind, id, name } of libraries.flatMap((library) => library.devices)) {
      // The test device is for tests.
      if (kind !== "npu:cpu") names.set(id.toLowerCase(), name ? `${id} · ${name}` : id);
    }
    const device = find("device");
    device.replaceChildren(...[...names].map(([value, text]) => el("option", { value }, text)));
    device.value = model.device ?? "";
  };
  fill([]);
  try {
    fill(await daemon.libraries());
  } catch (error) {
    note(error.message);
  }
}

// Whether it can answer here: a conversation, or go on with a text.
function can(model) {
  return !model.unusable && (model.can.chats || model.can.completes);
}

function show() {
  const groups = [
    ["Loaded", known.filter((model) => model.loaded)],
    ["On the disk", known.filter((model) => !model.loaded && can(model))],
    ["Not for answers", known.filter((model) => !model.loaded && !can(model))],
  ];
  const option = (model) => {
    const text = `${model.name} · ${bytes(model.loaded?.resident_bytes ?? model.n_bytes)}`;
    const why = model.unusable ?? (can(model) ? null : "it makes no text");
    return el("option", { value: model.name, disabled: !can(model), title: why }, text);
  };
  const made = groups.filter(([, models]) => models.length)
    .map(([label, models]) => el("optgroup", { label }, ...models.map(option)));
  const select = find("model");
  select.replaceChildren(...made);
  if (known.length === 0) select.append(el("option", {}, "no model"));
  select.value = chosen ?? "";
  select.disabled = known.length === 0;
  [find("state-text").textContent, find("state-more").textContent] = state();
  const loaded = current()?.loaded;
  find("unload").hidden = !loaded;
  find("unload").disabled = Boolean(loaded?.is_busy);
}

// The model and its place in a few words, and what else is known where there is room.
function state() {
  const model = current();
  if (known.length === 0) return ["There is no model yet: lapwing pull and lapwing export bring one.", ""];
  if (!model) return ["None of the models can answer.", ""];
  const parts = [];
  const more = [];
  const { loaded } = model;
  if (loaded) {
    parts.push(loaded.device, `${bytes(loaded.resident_bytes)} in memory`);
    if (loaded.is_outdated) parts.push("loaded anew with the next message");
    if (loaded.expires_in_s !== null) parts.push(`leaves in ${duration(loaded.expires_in_s)} unless used`);
    more.push(`${loaded.backend} ${loaded.backend_version}`, `${loaded.n_positions_max.toLocaleString("en")} tokens of context`);
  } else {
    parts.push("not loaded", `${bytes(model.n_bytes)} on the disk`);
    more.push(model.quantisation, "the first message loads it");
  }
  if (!model.can.chats) parts.push("no chat template: it goes on with the text");
  return [parts.join(" · "), more.map((part) => ` · ${part}`).join("")];
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
