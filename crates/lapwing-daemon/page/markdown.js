// Markdown becomes elements: those of what models write (headings, lists, tables, code, quotes, links)
// and no others. Markup in a text stays text, and a picture its description: an address that is loaded
// by itself would carry away what was said.
//
// Two steps: lines become blocks, blocks become elements. Blocks whose source did not change keep
// their elements while an answer grows.

import { button, copy, el } from "./dom.js";

const DEPTH_MAX = 8;
// Tries to find the other end of a mark, for each paragraph: what goes beyond is text.
const N_TRIES_MAX = 3000;

// Show `text` in `container`, of which elements that are still right are kept.
export function show(container, text) {
  const found = blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
  const known = container.knownBlocks ?? [];
  found.forEach((block, idx) => {
    if (known[idx] === block.source) return;
    const element = block.make();
    const old = container.children[idx];
    if (old) old.replaceWith(element);
    else container.append(element);
  });
  while (found.length < container.children.length) container.lastElementChild.remove();
  container.knownBlocks = found.map((block) => block.source);
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(\s+|$)/;
const DELIMITERS = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

// The blocks of these lines: what they are made from and how.
function blocks(lines, depth) {
  const found = [];
  // Headings of an answer stand below the page's own, and none is left out between two.
  let level = 2;
  const isBegin = (line) => FENCE.test(line) || HEADING.test(line) || RULE.test(line)
    || QUOTE.test(line) || ITEM.test(line);
  let idx = 0;
  while (idx < lines.length) {
    const begin = idx;
    const line = lines[idx];
    let make;
    if (!line.trim()) {
      idx += 1;
      continue;
    } else if (FENCE.test(line)) {
      const [, fence, language] = FENCE.exec(line);
      idx += 1;
      while (idx < lines.length && !closes(lines[idx], fence)) idx += 1;
      const code = lines.slice(begin + 1, idx).join("\n");
      idx += 1;
      make = () => codeBlock(code, language.trim().split(/\s/)[0]);
    } else if (HEADING.test(line)) {
      const [, marks, text] = HEADING.exec(line);
      idx += 1;
      level = Math.min(6, marks.length + 2, level + 1);
      const name = `h${level}`;
      make = () => (depth === 0 ? el(name, { dir: "auto" }, ...inline(text))
        : el("p", { dir: "auto" }, el("strong", {}, ...inline(text))));
    } else if (RULE.test(line)) {
      idx += 1;
      make = () => el("hr");
    } else if (QUOTE.test(line) && depth < DEPTH_MAX) {
      while (idx < lines.length && QUOTE.test(lines[idx])) idx += 1;
      const inner = lines.slice(begin, idx).map((quoted) => quoted.replace(QUOTE, ""));
      make = () => el("blockquote", {}, ...blocks(inner, depth + 1).map((block) => block.make()));
    } else if (ITEM.test(line) && depth < DEPTH_MAX) {
      const items = [];
      idx = takeItems(lines, idx, items);
      make = () => list(items, depth);
    } else if (isTable(lines, idx)) {
      idx += 2;
      while (idx < lines.length && lines[idx].trim() && lines[idx].includes("|")) idx += 1;
      const rows = lines.slice(begin, idx);
      make = () => table(rows);
    } else {
      idx += 1;
      while (idx < lines.length && lines[idx].trim() && !isBegin(lines[idx]) && !isTable(lines, idx)) idx += 1;
      const text = lines.slice(begin, idx).map((part) => part.trim()).join("\n");
      make = () => el("p", { dir: "auto" }, ...inline(text));
    }
    found.push({ source: lines.slice(begin, idx).join("\n"), make });
  }
  return found;
}

function closes(line, fence) {
  const rest = line.trim();
  return fence.length <= rest.length && rest === fence[0].repeat(rest.length);
}

// Take the items of a list into `items`, as `{mark, lines}`; the line behind it.
function takeItems(lines, idx, items) {
  const [, indent, firstMark] = ITEM.exec(lines[idx]);
  const kind = (mark) => mark.at(-1);
  while (idx < lines.length) {
    const item = ITEM.exec(lines[idx]);
    if (!item || item[1].length !== indent.length || kind(item[2]) !== kind(firstMark)) break;
    if (RULE.test(lines[idx])) break;
    // What belongs to it stands further in than its mark.
    const width = item[1].length + item[2].length + Math.min(Math.max(item[3].length, 1), 4);
    const inner = [lines[idx].slice(width)];
    idx += 1;
    while (idx < lines.length) {
      const spaces = /^ */.exec(lines[idx])[0].length;
      const isBlank = !lines[idx].trim();
      // An empty line belongs to it if what follows does.
      const next = isBlank ? lines.slice(idx).find((line) => line.trim()) : lines[idx];
      const nextSpaces = next === undefined ? -1 : /^ */.exec(next)[0].length;
      const isInside = indent.length + 2 <= nextSpaces;
      const goesOn = !isBlank && !ITEM.test(lines[idx]) && inner.at(-1).trim() !== ""
        && !FENCE.test(lines[idx]) && !HEADING.test(lines[idx]) && !QUOTE.test(lines[idx]);
      if (!isInside && !goesOn) break;
      inner.push(lines[idx].slice(Math.min(spaces, width)));
      idx += 1;
    }
    items.push({ mark: item[2], lines: inner });
    // Empty lines between items.
    let next = idx;
    while (next < lines.length && !lines[next].trim()) next += 1;
    if (next < lines.length && ITEM.test(lines[next])) idx = next;
  }
  return idx;
}

function list(items, depth) {
  const number = parseInt(items[0].mark, 10);
  const isOrdered = !Number.isNaN(number);
  const start = isOrdered && number !== 1 ? String(number) : null;
  return el(isOrdered ? "ol" : "ul", { start }, ...items.map((item) => {
    const inner = blocks(item.lines, depth + 1).map((block) => block.make());
    // A paragraph alone needs no space around it.
    const isTight = inner.filter((element) => element.tagName === "P").length < 2;
    const parts = inner.map((element) => (isTight && element.tagName === "P" ? [...element.childNodes] : [element]));
    return el("li", { dir: "auto" }, ...parts.flat());
  }));
}

function isTable(lines, idx) {
  return lines[idx].includes("|") && idx + 1 < lines.length && lines[idx + 1].includes("-")
    && DELIMITERS.test(lines[idx + 1]) && cells(lines[idx]).length === cells(lines[idx + 1]).length;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  const found = [""];
  for (let idx = 0; idx < inner.length; idx += 1) {
    if (inner[idx] === "\\" && inner[idx + 1] === "|") {
      found[found.length - 1] += "|";
      idx += 1;
    } else if (inner[idx] === "|") found.push("");
    else found[found.length - 1] += inner[idx];
  }
  return found.map((cell) => cell.trim());
}

function table([head, delimiters, ...rows]) {
  const sides = cells(delimiters).map((mark) => {
    if (mark.endsWith(":")) return mark.startsWith(":") ? "center" : "right";
    return null;
  });
  const row = (line, name) => {
    const found = cells(line);
    const made = sides.map((side, idx) => el(name, { dir: "auto", class: side }, ...inline(found[idx] ?? "")));
    return el("tr", {}, ...made);
  };
  const scope = row(head, "th");
  for (const cell of scope.children) cell.scope = "col";
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, scope), el("tbody", {}, ...rows.map((line) => row(line, "td")))));
}

export function codeBlock(code, language) {
  const press = button("Copy", () => copy(code, press), { class: "small", "aria-label": `Copy ${language || "code"}` });
  return el("figure", { class: "code" },
    el("figcaption", {}, el("span", {}, language || "text"), press),
    el("pre", { tabindex: "0", role: "region", "aria-label": `${language || "Text"}, code` }, el("code", {}, code)));
}

// Text with its marks, as nodes.
export function inline(text, tries = { left: N_TRIES_MAX }, depth = 0) {
  const nodes = [];
  let plain = "";
  const push = (...made) => {
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(...made);
  };
  let idx = 0;
  while (idx < text.length) {
    const found = depth < DEPTH_MAX && 0 < tries.left ? mark(text, idx, tries, depth) : null;
    if (found) {
      push(...found.nodes);
      idx = found.end;
    } else {
      plain += text[idx];
      idx += 1;
    }
  }
  push();
  return nodes;
}

// What begins at `idx`, if it is a mark: its nodes and where it ends.
function mark(text, idx, tries, depth) {
  const rest = (pattern) => {
    tries.left -= 1;
    pattern.lastIndex = idx;
    return pattern.exec(text);
  };
  const inner = (part) => inline(part, tries, depth + 1);
  const end = (match) => idx + match[0].length;
  let match;
  switch (text[idx]) {
    case "\n":
      return { nodes: [el("br")], end: idx + 1 };
    case "\\":
      match = rest(/\\([!-/:-@[-`{-~])/y);
      return match && { nodes: [match[1]], end: end(match) };
    case "`": {
      const fence = rest(/`+/y)[0];
      let close = text.indexOf(fence, idx + fence.length);
      // As many ticks, and no more.
      while (close !== -1 && text[close + fence.length] === "`") {
        while (text[close] === "`") close += 1;
        close = text.indexOf(fence, close);
        tries.left -= 1;
      }
      if (close === -1) return { nodes: [fence], end: idx + fence.length };
      const code = text.slice(idx + fence.length, close).replace(/\n/g, " ").replace(/^ (.*\S.*) $/, "$1");
      return { nodes: [el("code", {}, code)], end: close + fence.length };
    }
    case "!":
      match = rest(/!\[([^\]]{0,300})\]\(([^()\s]{0,2000})[^()]{0,300}\)/y);
      return match && { nodes: [el("span", { class: "picture" }, match[1] || "picture")], end: end(match) };
    case "[": {
      match = rest(/\[((?:[^[\]\\]|\\.){1,1000})\]\(<?([^\s<>()]{0,1000}(?:\([^\s<>()]{0,300}\)[^\s<>()]{0,1000})?)>?(?:\s+"[^"]{0,300}")?\)/y);
      return match && { nodes: [link(match[2], inner(match[1]))], end: end(match) };
    }
    case "<":
      match = rest(/<(https?:\/\/[^\s<>]{1,2000})>/y);
      return match && { nodes: [link(match[1], [match[1]])], end: end(match) };
    case "h":
      if (/\w/.test(text[idx - 1] ?? "")) return null;
      match = rest(/https?:\/\/[^\s<>"`*]{1,2000}/y);
      if (!match) return null;
      match[0] = match[0].replace(/[.,;:!?'_~]+$/, "");
      // A bracket that nothing within opened is around it.
      if (match[0].endsWith(")") && !match[0].includes("(")) match[0] = match[0].slice(0, -1);
      return { nodes: [link(match[0], [match[0]])], end: end(match) };
    case "*":
    case "_":
    case "~":
      return emphasis(text, idx, tries, inner);
    default:
      return null;
  }
}

const EMPHASES = { "***": ["strong", "em"], "**": ["strong"], __: ["strong"], "*": ["em"], _: ["em"], "~~": ["del"] };

function emphasis(text, idx, tries, inner) {
  const run = /^([*_~])\1*/.exec(text.slice(idx, idx + 4))[0];
  const names = EMPHASES[run];
  const nothing = { nodes: [run], end: idx + run.length };
  const isWord = (character) => /[\p{L}\p{N}]/u.test(character ?? "");
  const isSpace = (character) => !(character ?? "").trim();
  if (!names || isSpace(text[idx + run.length])) return nothing;
  // Names_like_this are no emphasis.
  if (run[0] === "_" && isWord(text[idx - 1])) return nothing;
  let close = idx + run.length;
  for (;;) {
    tries.left -= 1;
    close = text.indexOf(run, close + 1);
    if (close === -1 || tries.left <= 0) return nothing;
    const behind = text[close + run.length];
    // The end of a longer run is the end of what is within.
    const isLonger = behind === run[0] || (text[close - 1] === run[0] && run.length < 2);
    const isEnd = !isSpace(text[close - 1]) && !isLonger && !(run[0] === "_" && isWord(behind));
    if (isEnd) break;
    if (isLonger) while (text[close + 1] === run[0]) close += 1;
  }
  let nodes = inner(text.slice(idx + run.length, close));
  for (const name of names.toReversed()) nodes = [el(name, {}, ...nodes)];
  return { nodes, end: close + run.length };
}

// A link that opens elsewhere and tells nobody whence; only to pages.
function link(address, nodes) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return el("span", {}, ...nodes);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return el("span", {}, ...nodes);
  return el("a", { href: url.href, title: url.href, target: "_blank", rel: "noopener noreferrer" }, ...nodes);
}
