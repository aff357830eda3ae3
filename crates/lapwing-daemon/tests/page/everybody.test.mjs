// Whoever uses it: by keyboard alone, with a screen reader, on a phone, in the dark, with a key,
// without a network.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { browse, choose, ended, fromDisk, modules, piece, say, script, serve, settle, visit } from "./lab.mjs";

const axeSource = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");

let daemon;
let browser;
before(async () => { [daemon, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await daemon?.end(); });

const RICH = [
  "## Birds\n\nA *short* **list** with `code` and [a link](https://birds.example/):\n\n- lapwing\n- robin\n",
  "\n| bird | grams |\n|---|--:|\n| lapwing | 230 |\n\n> quoted\n\n```rust\nfn main() { println!(\"a line of code that is much longer than a phone is wide, so that it is scrolled\"); }\n```\n",
  "\nhttps://birds.example/a/very/long/address/that/nothing/could/break/but/the/page/has/to-", "x".repeat(300),
];

async function fill(page) {
  const call = [{ call_start: { index: 0, name: "weigh" } }, { call_arguments: { index: 0, delta: "{\"bird\": \"lapwing\"}" } }];
  await script(page, [piece({ reasoning: "A thought." }), ...RICH.map((text) => piece({ content: text })), piece(...call), ended()]);
  await say(page, `Which birds? ${"y".repeat(200)}`);
  await settle(page);
  await page.locator("article.assistant summary").first().click();
}

async function axe(page, what) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const told = violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, []);
}

for (const colorScheme of ["light", "dark"]) {
  test(`nothing is in the way of a screen reader, ${colorScheme}`, async () => {
    const { page, close } = await visit(browser, daemon.base, { colorScheme });
    await axe(page, "empty");
    await fill(page);
    await axe(page, "conversation");
    await page.locator("#show-menu").click();
    await axe(page, "menu");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Edit" }).click();
    await axe(page, "editing");
    await page.keyboard.press("Escape");
    await page.locator("#show-settings").click();
    await page.locator("#temperature").fill("9");
    await axe(page, "settings");
    await page.locator("#temperature").fill("");
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 360, height: 640 });
    await page.locator("#show-list").click();
    await axe(page, "phone");
    await close();
  });
}

test("a finished answer is announced once, not each token", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake-20000", { max_tokens: 30 });
  await page.evaluate(() => {
    globalThis.announced = [];
    const announcer = document.getElementById("announcer");
    new MutationObserver(() => { if (announcer.textContent) globalThis.announced.push(announcer.textContent); })
      .observe(announcer, { childList: true, characterData: true, subtree: true });
  });
  await say(page, "0");
  await settle(page);
  await page.waitForTimeout(300);
  assert.equal((await page.evaluate(() => globalThis.announced)).length, 1);
  assert.equal(await page.locator("#log").getAttribute("aria-live"), null);
  await close();
});

test("everything is done by keyboard", async () => {
  const { page, close } = await visit(browser, daemon.base);
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  // The field has the focus; the skip link is the first stop of who begins at the top.
  assert.equal(await focus(), "text");
  await page.evaluate(() => {
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
  });
  await press("Tab");
  assert.equal(await focus(), "Skip to the message");
  assert.ok((await page.locator(".skip").boundingBox()).y >= 0);
  const order = ["new", "import", "report", "show-list", "model", "show-settings", "theme", "show-menu", "log", "text", "send"];
  for (const id of order) {
    await press("Tab");
    // It is there where a model is loaded.
    if (await focus() === "unload") await press("Tab");
    assert.equal(await focus(), id);
  }
  // Choose a model, set what it may say, write, send, stop, edit.
  await page.locator("#model").focus();
  await page.keyboard.type("fake-20000");
  await press("Tab", "Enter");
  assert.ok(await page.locator("#settings").isVisible());
  await page.locator("#max_tokens").focus();
  await page.keyboard.type("4000");
  await press("Escape");
  assert.equal(await focus(), "show-settings");
  await page.locator("#text").focus();
  await page.keyboard.type("first");
  await press("Shift+Enter");
  await page.keyboard.type("second");
  assert.equal(await page.locator("#text").inputValue(), "first\nsecond");
  await press("Control+a");
  await page.keyboard.type("a question");
  await press("Enter");
  assert.equal(await page.locator("#text").inputValue(), "");
  await page.locator(".figures", { hasText: "tokens/s" }).waitFor();
  await press("Escape");
  await settle(page);
  assert.equal(await focus(), "text");
  await press("Shift+Tab", "Enter");
  await page.locator(".figures", { hasText: "loading" }).or(page.locator(".figures", { hasText: "first after" })).last().waitFor();
  await press("Escape");
  await settle(page);
  await page.locator("#show-menu").focus();
  await press("Enter", "Tab", "Enter");
  await page.keyboard.type("by keys");
  await press("Enter");
  await page.locator("#title", { hasText: "by keys" }).waitFor();
  await close();
});

test("a phone is wide enough", async () => {
  const { page, close } = await visit(browser, daemon.base, { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  const fits = async (what) => {
    const widths = await page.evaluate(() => {
      const root = document.scrollingElement;
      const wide = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        const scrolls = element.closest("pre, .scroll, .hidden, .skip, select");
        return box.width && !scrolls && (360.5 < box.right || box.left < -0.5) && element.checkVisibility();
      });
      return [root.scrollWidth, document.getElementById("log").scrollWidth - document.getElementById("log").clientWidth, wide.map((element) => element.outerHTML.slice(0, 80))];
    });
    assert.deepEqual(widths, [360, 0, []], what);
  };
  await fits("empty");
  await fill(page);
  await fits("conversation");
  await page.locator("#show-settings").tap();
  await fits("settings");
  await page.locator("#close-settings").tap();
  await page.locator("#show-list").tap();
  await page.locator("#list").waitFor();
  await fits("list");
  await page.locator("#conversations button").first().tap();
  await page.locator("#list").waitFor({ state: "hidden" });
  await page.locator("#show-menu").tap();
  await fits("menu");
  await close();
});

test("the colours are the system's until somebody switches, and stay", async () => {
  const { page, close } = await visit(browser, daemon.base, { colorScheme: "dark" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await paper(), "rgb(21, 24, 28)");
  await page.locator("#theme").click();
  assert.equal(await paper(), "rgb(255, 255, 255)");
  await page.reload();
  assert.equal(await paper(), "rgb(255, 255, 255)");
  assert.equal(await page.locator("#theme").getAttribute("aria-label"), "Dark colours");
  await page.locator("#theme").click();
  await page.locator('[data-theme="dark"]').waitFor();
  await page.emulateMedia({ colorScheme: "light" });
  await page.locator('[data-theme="light"]').waitFor();
  await close();
});

test("who wants no motion sees none", async () => {
  const { page, close } = await visit(browser, daemon.base, { reducedMotion: "reduce" });
  await fill(page);
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await close();
});

test("a daemon with a key is asked with it, and the page says so where it is wrong", async (t) => {
  const locked = await serve({ key: "secret" });
  t.after(locked.end);
  const context = await browser.newContext();
  t.after(() => context.close());
  await fromDisk(context, locked.base);
  const page = await context.newPage();
  const headers = [];
  page.on("request", (request) => { if (request.url().includes("/v1/")) headers.push(request.headers().authorization); });
  await page.goto(locked.base);
  const dialog = page.locator("#question");
  await dialog.waitFor();
  assert.equal(await page.locator("#question-input").getAttribute("type"), "password");
  await page.locator("#question-input").fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.locator("p", { hasText: "That was not the key" }).waitFor();
  await page.locator("#question-input").fill("secret");
  await page.keyboard.press("Enter");
  await page.locator("#model option", { hasText: "fake" }).first().waitFor({ state: "attached" });
  assert.deepEqual(headers, [undefined, "Bearer wrong", "Bearer secret"]);
  await choose(page, "fake", { max_tokens: 2 });
  await say(page, "abc");
  await settle(page);
  assert.equal(await page.locator("article.assistant .body").innerText(), "de");
  // It is kept for this tab and nowhere else.
  await page.reload();
  await page.locator("#model option", { hasText: "fake" }).first().waitFor({ state: "attached" });
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("secret")), false);
  const other = await context.newPage();
  await other.goto(locked.base);
  await other.locator("#question").waitFor();
  await other.locator("#question-cancel").click();
  await other.locator("#note", { hasText: "Without the key" }).waitFor();
});

test("without a daemon the page says what is wrong and asks again", async () => {
  const passing = await serve();
  const { page, close } = await visit(browser, passing.base);
  await passing.end();
  await say(page, "abc");
  await page.locator("article.assistant .error", { hasText: "is it running" }).waitFor();
  await page.locator("#note", { hasText: "Ask again" }).waitFor();
  await close(["ERR_CONNECTION_REFUSED"]);
});
