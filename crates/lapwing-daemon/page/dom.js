// Elements, and numbers as people read them. Nothing on this page is made from markup in a string.

// An element with these attributes and children. A listener is an attribute `onclick`; null and false
// are left out.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const find = (id) => document.getElementById(id);

export function button(label, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, label);
}

// Let a screen reader say something once it has said the rest.
export function announce(text) {
  const announcer = find("announcer");
  announcer.textContent = "";
  // The same text twice is two messages.
  setTimeout(() => { announcer.textContent = text; }, 50);
}

// Say something beside the message field, with something to do about it.
export function note(text, action = null) {
  find("note").hidden = !text;
  find("note-text").textContent = text ?? "";
  const doIt = find("note-action");
  doIt.hidden = !action;
  doIt.textContent = action?.label ?? "";
  doIt.onclick = action ? () => { note(null); action.run(); } : null;
  if (text) announce(text);
}

// Ask for a line of text; null if it is not given.
export function ask({ title, text = "", label, value = "", type = "text" }) {
  const dialog = find("question");
  const input = find("question-input");
  find("question-title").textContent = title;
  find("question-text").textContent = text;
  find("question-label").textContent = label;
  input.type = type;
  input.value = value;
  return new Promise((resolve) => {
    let answer = null;
    find("question-form").onsubmit = (event) => {
      event.preventDefault();
      answer = input.value;
      dialog.close();
    };
    find("question-cancel").onclick = () => dialog.close();
    dialog.onclose = () => {
      input.value = "";
      resolve(answer);
    };
    dialog.showModal();
    input.select();
  });
}

// Put a text into the clipboard, also where a page may not do so by itself.
export async function copy(text, pressed) {
  let isDone = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    isDone = document.execCommand("copy");
    area.remove();
    pressed?.focus();
  }
  announce(isDone ? "Copied" : "The browser does not let the page copy");
  if (!pressed || !isDone) return;
  const label = pressed.textContent;
  if (label === "Copied") return;
  pressed.textContent = "Copied";
  setTimeout(() => { pressed.textContent = label; }, 1500);
}

// Let the browser save a text as a file.
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (999.5 <= n && unit + 1 < units.length) {
    n /= 1000;
    unit += 1;
  }
  return `${n < 10 && 0 < unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

export function milliseconds(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function rate(perSecond) {
  return perSecond < 100 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en");
}

export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
