// Conversations, from the first message to the file they are saved in.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { browse, choose, ended, piece, say, script, serve, settle, visit } from "./lab.mjs";

let daemon;
let browser;
before(async () => { [daemon, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await daemon?.end(); });

const answers = (page) => page.locator("article.assistant .body");

test("an answer grows while it is made, and tells its figures", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake-20000", { max_tokens: 40 });
  assert.match(await page.locator("#state").innerText(), /not loaded/);
  await say(page, "0");
  const lengths = new Set();
  for (let nth = 0; nth < 400 && !(await page.locator("#send").isVisible()); nth += 1) {
    lengths.add((await answers(page).innerText()).length);
    await page.waitForTimeout(10);
  }
  assert.ok(5 < lengths.size, `lengths seen: ${[...lengths]}`);
  await settle(page);
  assert.match(await answers(page).innerText(), /^123456789:;<=>\?@ABC/);
  const figures = page.locator("article.assistant .figures");
  assert.match(await figures.innerText(), /^40 tokens · \d\d\.\d tokens\/s · first after .* · FAKE · most tokens reached$/);
  assert.match(await figures.getAttribute("title"), /prompt: 1 token[^]*watts: no energy counter/);
  assert.match(await page.locator("#state").innerText(), /^FAKE · .* in memory · leaves in 5 min unless used · fake .* · 4,096 tokens of context/);
  await page.locator("#announcer", { hasText: /^fake-20000 answered: 1234/ }).waitFor({ state: "attached" });
  await page.locator("#unload").click();
  await page.locator("#state", { hasText: "not loaded" }).waitFor();
  await close();
});

for (const [way, stop] of [["button", (page) => page.locator("#stop").click()], ["Escape", (page) => page.keyboard.press("Escape")]]) {
  test(`the ${way} stops the work, not only the page`, async () => {
    const { page, close } = await visit(browser, daemon.base);
    await choose(page, "fake-20000", { max_tokens: 4000 });
    await say(page, "0");
    await page.locator(".figures", { hasText: "tokens/s" }).waitFor();
    await stop(page);
    await settle(page);
    assert.match(await page.locator("article.assistant .figures").innerText(), /stopped$/);
    const counted = async () => {
      const { models } = await (await fetch(`${daemon.base}/v1/lapwing/models`)).json();
      return models.find((model) => model.name === "fake-20000").loaded.state.n_tokens;
    };
    const one = await counted();
    await page.waitForTimeout(300);
    assert.equal(await counted(), one);
    assert.equal(await page.evaluate(() => document.activeElement.id), "text");
    await close();
  });
}

test("an answer that is stopped before it began leaves nothing behind", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await page.route("**/v1/lapwing/answer", () => {});
  await say(page, "abc");
  await page.locator(".figures", { hasText: "…" }).waitFor();
  await page.keyboard.press("Escape");
  await settle(page);
  await page.locator("article.assistant").waitFor({ state: "detached" });
  await page.unroute("**/v1/lapwing/answer");
  await choose(page, "fake", { max_tokens: 3 });
  await page.getByRole("button", { name: "Answer", exact: true }).click();
  await settle(page);
  assert.deepEqual(await page.locator("article .body").allInnerTexts(), ["abc", "def"]);
  await close();
});

test("a reload finds the conversation, also one that was cut off", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake-2000", { max_tokens: 9 });
  await say(page, "abc");
  await settle(page);
  await page.reload();
  assert.deepEqual(await page.locator("article .body").allInnerTexts(), ["abc", "defghijkl"]);
  await page.waitForFunction(() => document.getElementById("model").value === "fake-2000");
  await choose(page, "fake-20000", { max_tokens: 4000 });
  await say(page, "A");
  await answers(page).last().filter({ hasText: "BCDEF" }).waitFor();
  await page.reload();
  assert.equal(await page.locator("article").count(), 4);
  assert.match(await answers(page).last().innerText(), /^BCDEF/);
  await close();
});

test("the last question is edited, the last answer made again", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake", { max_tokens: 3 });
  await say(page, "abc");
  await settle(page);
  await page.getByRole("button", { name: "Answer again" }).click();
  await settle(page);
  assert.deepEqual(await page.locator("article .body").allInnerTexts(), ["abc", "def"]);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("form.edit textarea").fill("xyz");
  await page.locator("form.edit").getByRole("button", { name: "Send" }).click();
  await settle(page);
  assert.deepEqual(await page.locator("article .body").allInnerTexts(), ["xyz", "{|}"]);
  await say(page, "1");
  await settle(page);
  assert.equal(await page.getByRole("button", { name: "Edit" }).count(), 1);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.keyboard.press("Escape");
  assert.deepEqual(await page.locator("article .body").allInnerTexts(), ["xyz", "{|}", "1", "234"]);
  await close();
});

test("conversations are renamed, deleted, brought back and kept apart", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake", { max_tokens: 2 });
  await say(page, "first");
  await settle(page);
  await page.locator("#new").click();
  await say(page, "second");
  await settle(page);
  const titles = async (...expected) => {
    await page.waitForFunction((expected) => {
      const shown = [...document.querySelectorAll("#conversations li")].map((item) => item.innerText);
      return JSON.stringify(shown) === JSON.stringify(expected);
    }, expected, { timeout: 5000 });
  };
  await titles("second", "first");
  await page.locator("#show-menu").click();
  await page.locator("#rename").click();
  await page.locator("#question-input").fill("another name");
  await page.keyboard.press("Enter");
  await titles("another name", "first");
  await page.locator("#show-menu").click();
  await page.locator("#delete").click();
  await titles("first");
  await page.getByRole("button", { name: "Undo" }).click();
  await titles("another name", "first");
  await page.getByRole("button", { name: "first" }).click();
  assert.deepEqual(await page.locator("article.user .body").allInnerTexts(), ["first"]);
  await close();
});

test("an answer goes on while another conversation is open", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake-20000", { max_tokens: 60 });
  await say(page, "0");
  await page.locator(".figures", { hasText: "tokens/s" }).waitFor();
  await page.locator("#new").click();
  await page.locator("#text").fill("x");
  await page.keyboard.press("Enter");
  assert.match(await page.locator("#note").innerText(), /An answer is being made in “0”/);
  await settle(page);
  await page.locator("#conversations button").first().click();
  assert.match(await page.locator(".figures").last().innerText(), /^60 tokens/);
  await close();
});

async function saved(page, press) {
  const [download] = await Promise.all([page.waitForEvent("download"), press()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

test("conversations leave as files and come back in another browser", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake", { max_tokens: 3, system: "S" });
  await say(page, "a question");
  await settle(page);
  const fromMenu = (id) => saved(page, async () => {
    await page.locator("#show-menu").click();
    await page.locator(id).click();
  });
  const markdown = await fromMenu("#save-markdown");
  assert.equal(markdown.name, "a-question.md");
  assert.equal(markdown.text, "# a question\n\n## System\n\nS\n\n## You\n\na question\n\n## fake\n\nopq\n");
  const json = await fromMenu("#save-json");
  assert.equal(json.name, "a-question.json");
  const all = await saved(page, () => page.locator("#export-all").click());
  assert.deepEqual(JSON.parse(all.text), JSON.parse(json.text));
  await close();

  const other = await visit(browser, daemon.base);
  const bring = (text) => other.page.locator("#file").setInputFiles({ name: "f.json", mimeType: "application/json", buffer: Buffer.from(text) });
  await bring(json.text);
  await other.page.locator("article.assistant").waitFor();
  assert.deepEqual(await other.page.locator("article .body").allInnerTexts(), ["a question", "opq"]);
  // Once more is a second one, and nothing is overwritten.
  await bring(json.text);
  await other.page.locator("#conversations li").nth(1).waitFor();
  const { conversations } = JSON.parse(json.text);
  const damaged = [
    "{", "[]", JSON.stringify({ format: "lapwing-conversations", version: 2, conversations }),
    JSON.stringify({ format: "lapwing-conversations", version: 1, conversations: [{ id: "../x", messages: [] }] }),
    JSON.stringify({ format: "lapwing-conversations", version: 1, conversations: [{ id: "x", messages: [{ role: "system", content: "" }] }] }),
  ];
  for (const text of damaged) {
    await other.page.locator("#note").evaluate((note) => { note.hidden = true; });
    await bring(text);
    await other.page.locator("#note", { hasText: "f.json cannot be imported" }).waitFor();
  }
  assert.equal(await other.page.locator("#conversations li").count(), 2);
  await other.close();
});

test("sampling, the system message and tools reach the model as they were set", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await page.route("**/v1/lapwing/models", async (route) => {
    const response = await route.fetch();
    const told = await response.json();
    for (const model of told.models) Object.assign(model.can, { calls: true, thinks: true, thinks_when_asked: true });
    await route.fulfill({ response, json: told });
  });
  await page.reload();
  const call = [{ call_start: { index: 0, name: "weather" } }, { call_arguments: { index: 0, delta: "{\"city\":" } }, { call_arguments: { index: 0, delta: "\"Bern\"}" } }];
  const asked = await script(page,
    [piece({ reasoning: "Which city? **Bern**." }), piece(...call), piece({ call_end: { index: 0 } }), ended()],
    [piece({ content: "It is warm." }), ended()]);
  await page.locator("#show-settings").click();
  const tools = [{ type: "function", function: { name: "weather", parameters: {} } }];
  await page.locator("summary", { hasText: "Tools" }).click();
  const settings = { system: "Be short", temperature: 0.5, top_p: 0.9, top_k: 40, max_tokens: 7, seed: 3, tools: JSON.stringify(tools) };
  for (const [name, value] of Object.entries(settings)) await page.locator(`#${name}`).fill(String(value));
  await page.locator("#thinks").selectOption("off");
  await page.locator("#temperature").fill("9");
  assert.match(await page.locator("#settings-error").innerText(), /^Temperature: /);
  await page.locator("#temperature").fill("0.5");
  assert.equal(await page.locator("#settings-error").isVisible(), false);
  await page.locator("#close-settings").click();
  await say(page, "Warm?");
  await settle(page);
  const question = [{ role: "system", content: "Be short" }, { role: "user", content: "Warm?" }];
  assert.deepEqual(asked[0].generate, {
    prompt: { chat: { messages: question, tools, thinks: false } },
    sampling: { temperature: 0.5, top_p: 0.9, top_k: 40, seed: 3 }, n_tokens_max: 7,
  });
  // Thoughts are folded, calls shown, and what they give is written by hand.
  const thoughts = page.locator("article.assistant details.thoughts").first();
  assert.equal(await thoughts.getAttribute("open"), null);
  await thoughts.locator("summary").click();
  assert.equal(await thoughts.locator("strong").innerText(), "Bern");
  assert.equal(await page.locator("article.assistant .calls h3").innerText(), "Calls weather");
  assert.equal(await page.locator(".calls pre").innerText(), "{\n  \"city\": \"Bern\"\n}");
  await page.locator("form.results textarea").fill("20 degrees");
  await page.getByRole("button", { name: "Send results" }).click();
  await settle(page);
  const [, , calls, result] = asked[1].generate.prompt.chat.messages;
  assert.deepEqual(calls.tool_calls[0].function, { name: "weather", arguments: "{\"city\":\"Bern\"}" });
  assert.deepEqual(result, { role: "tool", content: "20 degrees", name: "weather", tool_call_id: calls.tool_calls[0].id });
  assert.equal(await page.locator("article.assistant .body").last().innerText(), "It is warm.");
  await close();
});

test("a device is chosen for a model, and taken with the next message", async () => {
  const { page, close } = await visit(browser, daemon.base);
  const device = (kind, id, name) => ({ kind, id, name });
  await page.route("**/v1/lapwing/devices", (route) => route.fulfill({ json: { libraries: [
    { backend: "ort", devices: [device("cpu", "CPU", "A processor")] },
    { backend: "openvino", devices: [device("cpu", "CPU", "A processor"), device("gpu", "GPU.1", ""), device("npu:cpu", "NPU:CPU", "")] },
  ] } }));
  await choose(page, "fake", { max_tokens: 2 });
  await say(page, "abc");
  await settle(page);
  await page.locator("#show-settings").click();
  const picker = page.getByLabel("Device of the model");
  await picker.locator("option").nth(2).waitFor({ state: "attached" });
  assert.deepEqual(await picker.locator("option").allInnerTexts(), ["the daemon's choice", "CPU · A processor", "GPU.1"]);
  await picker.selectOption("GPU.1");
  await page.locator("#state", { hasText: "loaded anew with the next message" }).waitFor();
  await page.locator("#close-settings").click();
  await say(page, "1");
  await settle(page);
  assert.match(await page.locator("article.assistant .figures").last().innerText(), / · FAKE\.GPU\.1 · /);
  // It is still chosen for who looks later, and given up.
  await page.reload();
  await page.locator("#state", { hasText: "FAKE.GPU.1" }).waitFor();
  await page.locator("#show-settings").click();
  await page.waitForFunction(() => document.getElementById("device").value === "gpu.1");
  await picker.selectOption("the daemon's choice");
  await page.locator("#state", { hasText: "loaded anew" }).waitFor();
  await page.locator("#close-settings").click();
  await say(page, "a");
  await settle(page);
  assert.match(await page.locator("#state").innerText(), /^FAKE · /);
  await close();
});

test("watts are shown where the processor counts energy", async (t) => {
  const PACKAGE = "sys/class/powercap/intel-rapl:0";
  const counter = { name: "package-0", max_energy_range_uj: "262143328850", energy_uj: "1000000" };
  const files = Object.entries(counter).map(([name, text]) => [`${PACKAGE}/${name}`, text]);
  const counting = await serve({ files: Object.fromEntries(files) });
  t.after(counting.end);
  const { page, close } = await visit(browser, counting.base);
  await choose(page, "fake-20000", { max_tokens: 50 });
  await say(page, "0");
  await page.locator(".figures", { hasText: "tokens/s" }).waitFor();
  writeFileSync(join(counting.system, PACKAGE, "energy_uj"), "11000000");
  await settle(page);
  // 10 J within about a second.
  const figures = await page.locator("article.assistant .figures").innerText();
  const watts = Number(figures.match(/ · (\d+\.\d) W · /)?.[1]);
  assert.ok(5 < watts && watts <= 10, figures);
  await close();
});

test("what was measured is one click away", async () => {
  const { page, context, close } = await visit(browser, daemon.base);
  const [report] = await Promise.all([context.waitForEvent("page"), page.locator("#report").click()]);
  await report.locator("h1", { hasText: "Lapwing profiles" }).waitFor();
  await close();
});

test("what goes wrong is told and can be tried again", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await choose(page, "fake", { max_tokens: 3 });
  await say(page, "a".repeat(5000));
  await page.locator("article.assistant .error").waitFor();
  assert.match(await page.locator("article.assistant .error").innerText(), /context|positions|fit/);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("form.edit textarea").fill("abc");
  await page.keyboard.press("Enter");
  await settle(page);
  assert.deepEqual(await answers(page).allInnerTexts(), ["def"]);
  await close(["the server responded with a status of 400"]);
});

test("a failure within an answer keeps what came", async () => {
  const { page, close } = await visit(browser, daemon.base);
  await script(page,
    [piece({ content: "half an" }), { failed: { kind: "model", message: "the model's process ended", hint: "try again" } }],
    [piece({ content: "cut" })]);
  await say(page, "a");
  await settle(page);
  assert.equal(await page.locator("article.assistant .error").innerText(), "the model's process ended; try again");
  assert.equal(await answers(page).innerText(), "half an");
  await page.getByRole("button", { name: "Answer again" }).click();
  await page.locator(".error", { hasText: "the connection ended before the answer did" }).waitFor();
  await close();
});

test("another tab shows what this one keeps", async () => {
  const { page, context, close } = await visit(browser, daemon.base);
  const other = await context.newPage();
  await other.goto(`${daemon.base}/`);
  await choose(page, "fake", { max_tokens: 2 });
  await say(page, "hello");
  await settle(page);
  await other.locator("#conversations li", { hasText: "hello" }).waitFor();
  await close();
});
