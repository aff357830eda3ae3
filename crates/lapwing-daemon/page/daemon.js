// What is asked of the daemon that served this page, in its own interface (`/v1/lapwing`): it tells
// every token as it comes, how much of a prompt is read, and how long the parts of an answer took.

const KEY = "lapwing.key";

// The daemon does not answer: `message` says why, `status` is 0 where nothing came back.
export class Refused extends Error {
  constructor(message, status, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  // Whether the key is missing or wrong.
  get wantsKey() {
    return this.status === 401;
  }
}

// The key is kept as long as this tab; an empty one forgets it.
export function useKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Without a store it would have to be asked for at every request.
    throw new Refused("the browser keeps nothing for this page, so the key cannot be used", 401);
  }
}

export function key() {
  try { return sessionStorage.getItem(KEY); } catch { return null; }
}

async function ask(path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const method = body === undefined ? "GET" : "POST";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the daemon does not answer; is it running?", 0);
  }
  if (response.ok) return response;
  let message = `the daemon answered ${response.status}`;
  try {
    message = (await response.json()).error.message ?? message;
  } catch {
    // The status alone has to do.
  }
  throw new Refused(message, response.status, response.headers.get("Retry-After"));
}

// What there is, and how each is held if it is.
export async function models() {
  return (await (await ask("/v1/lapwing/models")).json()).models;
}

// What the libraries offer.
export async function libraries() {
  return (await (await ask("/v1/lapwing/devices")).json()).libraries;
}

// Let a model run on `device` from the next message on; null leaves it to the daemon.
export async function choose(model, device) {
  await ask("/v1/lapwing/models/device", { model, device });
}

export async function unload(model) {
  await ask("/v1/lapwing/models/unload", { model });
}

// What a model says to a request, each `[kind, value]`: `open` once its prompt was made, `reading`,
// `piece`, and at last `ended` or `failed`. Aborting `signal` ends the work of the model, too.
export async function* answer(model, generate, signal) {
  const response = await ask("/v1/lapwing/answer", { model, generate }, signal);
  yield ["open", null];
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("the connection broke off", 0);
    }
    if (read.done) break;
    const lines = (rest + read.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line) yield Object.entries(JSON.parse(line))[0];
    }
  }
}
