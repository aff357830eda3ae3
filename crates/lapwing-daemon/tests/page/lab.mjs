// A daemon, a browser, and an eye on what a page must not do.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

export const modules = createRequire(join(process.env.PAGE_MODULES, "/"));
const { chromium } = modules("playwright-core");

// A daemon on a port of its own, with the models of PAGE_MODELS and those that cost nothing. Of the
// system it sees no files but these, by their paths below `system`.
export async function serve({ key = null, real = false, files = {} } = {}) {
  const home = mkdtempSync(join(tmpdir(), "lapwing-page-"));
  const system = join(home, "system");
  mkdirSync(system);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(system, path)), { recursive: true });
    writeFileSync(join(system, path), text);
  }
  if (real) {
    symlinkSync(process.env.PAGE_MODELS, join(home, "models"));
    symlinkSync(process.env.PAGE_NATIVES, join(home, "natives"));
  }
  const given = ["serve", "--listen", "127.0.0.1:0", "--system-files", system];
  if (key) {
    writeFileSync(join(home, "key"), key, { mode: 0o600 });
    given.push("--key-file", join(home, "key"));
  }
  const env = { ...process.env, LAPWING_HOME: home };
  delete env.LAPWING_CONFIG;
  const child = spawn(process.env.LAPWING, given, { env, stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: child.stderr });
  const base = await new Promise((resolve, reject) => {
    lines.once("line", (line) => resolve(line.split("listening on ")[1]));
    child.once("exit", (code) => reject(new Error(`the daemon ended with ${code}`)));
  });
  lines.on("line", () => {});
  const end = async () => {
    const gone = new Promise((resolve) => { child.once("exit", resolve); });
    child.kill();
    await gone;
    rmSync(home, { recursive: true, force: true });
  };
  return { base, system, end };
}

export async function browse() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Nothing but this machine has a name.
    args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  });
}

// The page in a browser of its own. `problems` collects what must not happen, and is looked at by
// `close`: errors, violations of the policy, requests to elsewhere.
export async function visit(browser, base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.stack}`));
  page.on("dialog", (dialog) => { problems.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "blob:" && url.origin !== base) problems.push(`request: ${request.url()}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await fromDisk(context, base);
  await page.goto(`${base}/`);
  await page.locator("#model option").first().waitFor({ state: "attached" });
  const close = async (expected = []) => {
    await context.close();
    const unexpected = problems.filter((problem) => !expected.some((part) => problem.includes(part)));
    assert.deepEqual(unexpected, []);
  };
  return { page, context, problems, close };
}

// The files of PAGE_FILES in place of those that the program holds, so that a change can be tried
// without building it.
export async function fromDisk(context, base) {
  if (!process.env.PAGE_FILES) return;
  const isPart = (url) => url.origin === base && (url.pathname === "/" || url.pathname.startsWith("/page/"));
  await context.route(isPart, async (route) => {
    const { pathname } = new URL(route.request().url());
    const name = pathname === "/" ? "index.html" : pathname.slice("/page/".length);
    try {
      const response = await route.fetch();
      await route.fulfill({ response, body: readFileSync(join(process.env.PAGE_FILES, name)) });
    } catch {
      // The daemon or the page is gone.
    }
  });
}

// Write a message and send it.
export async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.locator("#send").click();
}

export async function settle(page) {
  await page.locator("#send").waitFor({ timeout: 120_000 });
  await page.locator('article[aria-busy="true"]').waitFor({ state: "detached" });
}

export async function choose(page, model, settings = {}) {
  await page.locator("#model").selectOption(model);
  await page.locator("#show-settings").click();
  for (const [name, value] of Object.entries(settings)) await page.locator(`#${name}`).fill(String(value));
  await page.locator("#close-settings").click();
}

// Let the daemon's answers be these, each a list of what is said.
export async function script(page, ...answers) {
  const asked = [];
  await page.route("**/v1/lapwing/answer", async (route) => {
    asked.push(route.request().postDataJSON());
    const said = answers[Math.min(asked.length, answers.length) - 1];
    await route.fulfill({ status: 200, contentType: "application/x-ndjson", body: said.map((line) => `${JSON.stringify(line)}\n`).join("") });
  });
  return asked;
}

export const piece = (...parts) => ({ piece: { token: 1, parts } });
export const ended = (more = {}) => ({
  ended: {
    why: "stop", stop_text: null, n_prompt: 3, n_reused: 0, n_tokens: 2, n_thought_tokens: 0,
    queue_ms: 1, prompt_ms: 10, answer_ms: 100, ...more,
  },
});
