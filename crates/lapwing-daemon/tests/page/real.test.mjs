// SmolLM2 on the page, and pictures of it for the documentation.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { browse, choose, say, serve, settle, visit } from "./lab.mjs";

let daemon;
let browser;
before(async () => { [daemon, browser] = await Promise.all([serve({ real: true }), browse()]); });
after(async () => { await browser?.close(); await daemon?.end(); });

test("a real model answers, goes on with the conversation, and its memory is shown", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "smollm2", { max_tokens: 24, temperature: 0 });
  await say(page, "What is the capital of France?");
  const lengths = new Set();
  while (!(await page.locator("#send").isVisible())) {
    lengths.add((await page.locator("article.assistant .body").innerText()).length);
    await page.waitForTimeout(10);
  }
  await settle(page);
  assert.ok(2 < lengths.size, `lengths seen: ${[...lengths]}`);
  assert.match(await page.locator("article.assistant .body").innerText(), /Paris/);
  await say(page, "And of Italy?");
  await settle(page);
  const figures = page.locator("article.assistant .figures").last();
  assert.match(await figures.innerText(), /tokens\/s · first after .* · CPU/);
  assert.match(await figures.getAttribute("title"), /prompt: \d+ tokens, [1-9]\d* tokens known from before/);
  assert.match(await page.locator("#state").innerText(), /^CPU · openvino .* · \d+ MB in memory/);
  await close();
});

const folder = process.env.PAGE_SCREENSHOTS;
test("pictures for the documentation", { skip: !folder }, async () => {
  const ask = async (page) => {
    await choose(page, "smollm2", { max_tokens: 120, temperature: 0 });
    await say(page, "What is gravity?");
    await settle(page);
    await page.evaluate(() => document.activeElement.blur());
  };
  const wide = await visit(browser, daemon.base, { viewport: { width: 1100, height: 680 }, colorScheme: "light" });
  await ask(wide.page);
  await wide.page.screenshot({ path: join(folder, "page-light.png") });
  await wide.close();
  const phone = await visit(browser, daemon.base, { viewport: { width: 360, height: 680 }, colorScheme: "dark" });
  await ask(phone.page);
  await phone.page.screenshot({ path: join(folder, "page-phone.png") });
  await phone.close();
});
