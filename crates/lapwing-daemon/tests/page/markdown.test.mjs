// What models write becomes these elements, and never any others.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { browse, ended, piece, say, script, serve, settle, visit } from "./lab.mjs";

let daemon;
let browser;
before(async () => { [daemon, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await daemon?.end(); });

// What a text becomes, as markup for people to read.
const CASES = [
  ["plain", "<p>plain</p>"],
  ["one\ntwo", "<p>one<br>two</p>"],
  ["one\n\ntwo", "<p>one</p><p>two</p>"],
  ["# a\n###### b #\n#no", "<h3>a</h3><h4>b</h4><p>#no</p>"],
  ["### a\n> # b", "<h3>a</h3><blockquote><p><strong>b</strong></p></blockquote>"],
  ["a **b** *c* ***d*** __e__ _f_ ~~g~~", "<p>a <strong>b</strong> <em>c</em> <strong><em>d</em></strong> <strong>e</strong> <em>f</em> <del>g</del></p>"],
  ["**a *b* c** and *a **b** c*", "<p><strong>a <em>b</em> c</strong> and <em>a <strong>b</strong> c</em></p>"],
  ["snake_case_name, 2 * 3 * 4, **open, \\*no\\*", "<p>snake_case_name, 2 * 3 * 4, **open, *no*</p>"],
  ["`a*b*` ``c`d`` `open", "<p><code>a*b*</code> <code>c`d</code> `open</p>"],
  ["- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"],
  ["3. a\n\n4. b\n   goes on\n\n   more", "<ol start=\"3\"><li>a</li><li><p>b<br>goes on</p><p>more</p></li></ol>"],
  ["- a\n1. b", "<ul><li>a</li></ul><ol><li>b</li></ol>"],
  ["1. a\n   ```\n   x\n   ```\n2. b", "<ol><li>a<pre><code>x</code></pre></li><li>b</li></ol>"],
  ["> a\n> - b\n\nc", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote><p>c</p>"],
  ["a\n\n---\nb", "<p>a</p><hr><p>b</p>"],
  ["```rust\nlet a = \"<b>\";\n\n# no\n```\nb", "<pre><code>let a = \"&lt;b&gt;\";\n\n# no</code></pre><p>b</p>"],
  ["~~~\n```\n~~~", "<pre><code>```</code></pre>"],
  ["```\nstill open", "<pre><code>still open</code></pre>"],
  ["|a|b|\n|:-:|-:|\n|1|`x\\|y`|\n|2|", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td><code>x|y</code></td></tr><tr><td>2</td><td></td></tr></tbody></table>"],
  ["a | b\nno table", "<p>a | b<br>no table</p>"],
  ["[a](https://a.example/x_(y) \"t\")", "<p><a href=\"https://a.example/x_(y)\">a</a></p>"],
  ["see https://a.example/b?c=d. (https://a.example/)", "<p>see <a href=\"https://a.example/b?c=d\">https://a.example/b?c=d</a>. (<a href=\"https://a.example/\">https://a.example/</a>)</p>"],
  ["<https://a.example/>", "<p><a href=\"https://a.example/\">https://a.example/</a></p>"],
  ["[a](javascript:alert(1)) [b](data:text/html,x) [c](/api) [d](JaVaScRiPt:x)", "<p><span>a</span> <span>b</span> <span>c</span> <span>d</span></p>"],
  ["![secret](https://a.example/x.png) ![](x)", "<p><span>secret</span> <span>picture</span></p>"],
  ["<script>alert(1)</script> <img src=x onerror=alert(1)> &lt;", "<p>&lt;script&gt;alert(1)&lt;/script&gt; &lt;img src=x onerror=alert(1)&gt; &amp;lt;</p>"],
];

test("Markdown becomes elements, and markup stays text", async () => {
  const { page, close } = await visit(browser, daemon.base);
  const made = await page.evaluate(async (texts) => {
    const { show } = await import("/page/markdown.js");
    // Elements alone, of attributes only those that say something.
    const shape = (node) => {
      const text = document.createElement("i");
      if (node.nodeType === Node.TEXT_NODE) {
        text.append(node.data);
        return text.getHTML();
      }
      const inner = [...node.childNodes].map(shape).join("");
      const name = node.tagName.toLowerCase();
      if (["button", "figcaption"].includes(name)) return "";
      if (["div", "figure"].includes(name)) return inner;
      const told = ["href", "start"].filter((key) => node.hasAttribute(key)).map((key) => ` ${key}="${node.getAttribute(key)}"`);
      return ["br", "hr"].includes(name) ? `<${name}>` : `<${name}${told.join("")}>${inner}</${name}>`;
    };
    return texts.map((text) => {
      const container = document.createElement("div");
      show(container, text);
      const whole = shape(container);
      // As it grows it comes to the same.
      const growing = document.createElement("div");
      for (let n = 1; n <= text.length; n += 1) show(growing, text.slice(0, n));
      return [whole, shape(growing)];
    });
  }, CASES.map(([text]) => text));
  CASES.forEach(([text, expected], idx) => {
    assert.deepEqual(made[idx], [expected, expected], text);
  });
  await close();
});

test("no text takes long, and none breaks the page", async () => {
  const { page, close } = await visit(browser, daemon.base);
  const slowest = await page.evaluate(async () => {
    const { show } = await import("/page/markdown.js");
    const parts = ["*", "**", "_", "~~", "`", "[", "![", "](", "<", "> ", "- ", "1. ", "|", "a|b\n-|-\n", "```\n", "\n", "\\", "http://", "  ", "# ", "*a ", "[a](", "**a *b "];
    const times = parts.map((part) => {
      const begun = performance.now();
      show(document.createElement("div"), part.repeat(40_000 / part.length));
      return [performance.now() - begun, part];
    });
    return times.sort(([one], [other]) => other - one)[0];
  });
  assert.ok(slowest[0] < 2000, `${slowest}`);
  await close();
});

const EVIL = [
  "<img src=https://evil.example/a.png onerror=\"document.title='gone'\">",
  "<script>document.title = 'gone'</script>",
  "![x](https://evil.example/b.png) ![y](/v1/lapwing) [z](javascript:document.title='gone')",
  "<svg onload=alert(1)><style>@import 'https://evil.example/c.css'</style><iframe src=https://evil.example>",
  "<a href=javascript:alert(1)>press</a>", "```html\n<img src=https://evil.example/d.png>\n```", "[w](https://evil.example/\"onclick=\"alert(1))",
].join("\n\n");

test("an answer that would load, run or send something is inert, wherever it comes from", async () => {
  const { page, close } = await visit(browser, daemon.base);
  const check = async () => {
    await page.waitForTimeout(300);
    const found = await page.evaluate(() => {
      const { length } = document.querySelectorAll("#log :is(img, script, svg, style, iframe, object, embed, video, audio, form:not(.results), base, meta)");
      const attributes = [...document.querySelectorAll("#log *")].flatMap((element) => element.getAttributeNames());
      return { length, bad: attributes.filter((name) => name.startsWith("on") || name === "style" || name === "src") };
    });
    assert.deepEqual(found, { length: 0, bad: [] });
    assert.notEqual(await page.title(), "gone");
    for (const link of await page.locator("#log a").all()) {
      assert.match(await link.getAttribute("href"), /^https?:/);
      assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
    }
    assert.match(await page.locator("#log").innerText(), /<img src=https:\/\/evil\.example\/a\.png/);
  };
  await script(page, [piece({ reasoning: EVIL }), piece({ content: EVIL }), piece({ call_start: { index: 0, name: EVIL } }, { call_arguments: { index: 0, delta: EVIL } }), ended({ why: EVIL })]);
  await say(page, EVIL);
  await settle(page);
  await check();
  await page.reload();
  await page.locator("article.assistant").waitFor();
  await check();
  // As a file of somebody else.
  const message = { role: "assistant", model: EVIL, content: EVIL, thoughts: EVIL, calls: [{ name: EVIL, arguments: EVIL }], figures: { device: EVIL.slice(0, 150) } };
  const file = { format: "lapwing-conversations", version: 1, conversations: [{ id: "evil", title: EVIL, messages: [{ role: "user", content: EVIL }, message] }] };
  await page.locator("#file").setInputFiles({ name: "f.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(file)) });
  await page.locator("article.assistant h2", { hasText: "evil" }).waitFor();
  await check();
  await close();
});

test("the policy stands behind it: what the page would let in is stopped", async () => {
  const heard = [];
  const elsewhere = createServer((request, response) => { heard.push(request.url); response.end(); });
  await new Promise((resolve) => { elsewhere.listen(0, "127.0.0.1", resolve); });
  const { page, close } = await visit(browser, daemon.base);
  const stopped = await page.evaluate(async (address) => {
    const loads = (element) => new Promise((resolve, reject) => {
      element.onload = resolve;
      element.onerror = reject;
      document.body.append(element);
    });
    const tries = {
      markup: () => { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); },
      script: () => { document.createElement("script").text = "1"; },
      request: () => fetch(address),
      picture: () => loads(Object.assign(new Image(), { src: address })),
      style: () => loads(Object.assign(document.createElement("link"), { rel: "stylesheet", href: address })),
    };
    const names = [];
    for (const [name, run] of Object.entries(tries)) {
      try { await run(); } catch { names.push(name); }
    }
    return names;
  }, `http://127.0.0.1:${elsewhere.address().port}/x`);
  assert.deepEqual(stopped, ["markup", "script", "request", "picture", "style"]);
  assert.deepEqual(heard, []);
  elsewhere.close();
  await close(["policy:", "console:", "request:"]);
});
