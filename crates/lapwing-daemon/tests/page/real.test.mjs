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
  assert.match(await page.locator("#state").innerText(), /^CPU · \d+ MB in memory .* · openvino /);
  await close();
});

// Of the model PAGE_MODEL of PAGE_MODELS, if another one is to be seen.
const folder = process.env.PAGE_SCREENSHOTS;
test("pictures for the documentation", { skip: !folder, timeout: 300_000 }, async () => {
  const model = process.env.PAGE_MODEL ?? "smollm2";
  const ask = async (page, ...questions) => {
    await choose(page, model, { max_tokens: 300, temperature: 0 });
    for (const question of questions) {
      await say(page, question);
      await settle(page);
      if (question !== questions.at(-1)) await page.locator("#new").click();
    }
    await page.evaluate(() => { document.activeElement.blur(); document.getElementById("log").scrollTop = 0; });
  };
  const code = "How do I sort a list of words by length in Rust? Show code in a code block, then name two things to know in a list.";
  const wide = await visit(browser, daemon.base, { viewport: { width: 1100, height: 720 }, colorScheme: "light" });
  await ask(wide.page, "Name three wading birds", "What is a hash map?", code);
  await wide.page.screenshot({ path: join(folder, "page-light.png") });
  await wide.close();
  const phone = await visit(browser, daemon.base, { viewport: { width: 360, height: 720 }, colorScheme: "dark" });
  await ask(phone.page, code);
  await phone.page.screenshot({ path: join(folder, "page-phone.png") });
  await phone.close();
});
