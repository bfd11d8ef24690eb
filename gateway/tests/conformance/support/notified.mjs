// A backend that is told of notices: by the stream, or by a webhook of its own that can be slow, wrong and gone.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "./port.mjs";

export const HOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KEY = Buffer.from(HOOK_SECRET.slice("whsec_".length), "base64");

/** Everything in the stream, oldest first, as objects. */
export async function streamed(redis) {
  const found = await redis.ask((client) => client.sendCommand(["XRANGE", "roomcast:notices", "-", "+"]));
  return found.map(([, fields]) => {
    const entry = {};
    for (let at = 0; at < fields.length; at += 2) entry[fields[at]] = fields[at + 1];
    return entry;
  });
}

/** What the nodes have announced and not ended, which is nothing when nobody is connected. */
export async function leftInRedis(redis) {
  return redis.ask(async (client) => {
    const keys = await client.keys("roomcast:notices:*:of:*");
    return keys.length;
  });
}

/** Every connection has a connect, and behind it one disconnect; those that are `live` have none yet. By id, once. */
export function assertPaired(notices, live = 0) {
  const seen = new Map();
  for (const { id, connection, type } of notices) {
    const known = seen.get(connection) ?? new Map();
    assert.equal(id, `${connection}:${type}`);
    if (!known.has(id)) known.set(id, type);
    seen.set(connection, known);
  }
  let open = 0;
  for (const [connection, known] of seen) {
    const types = [...known.values()];
    if (types.length === 1) open += 1;
    assert.ok(["connect", "connect,disconnect"].includes(types.join()), `${connection}: ${types}`);
  }
  assert.equal(open, live, `${open} have no disconnect`);
}

/** A webhook. `does` says with which status it answers and after how many ms; `taken` is what it answered with 2xx. */
export class Hook {
  taken = [];
  asked = 0;
  does = () => ({ status: 200, after: 0 });

  static async start() {
    const hook = new Hook();
    hook.port = await freePort();
    hook.url = `http://127.0.0.1:${hook.port}/hook`;
    await hook.open();
    return hook;
  }

  async open() {
    this.server = createServer((request, response) => this.#answer(request, response));
    await new Promise((resolve) => this.server.listen(this.port, "127.0.0.1", resolve));
  }

  /** Nobody is there any more. */
  async close() {
    if (!this.server) return;
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    this.server = undefined;
    await closed;
  }

  config(more = {}) {
    return { webhook: { url: this.url, secret: HOOK_SECRET, ...more }, notices: { to: "webhook" } };
  }

  async #answer(request, response) {
    this.asked += 1;
    let body = "";
    for await (const chunk of request) body += chunk;
    const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature } = request.headers;
    const expected = `v1,${createHmac("sha256", KEY).update(`${id}.${at}.${body}`).digest("base64")}`;
    const notice = JSON.parse(body);
    const { status, after } = this.does(notice);
    if (signature !== expected || notice.id !== id) this.wrong = { id, signature, body };
    if (after) await pause(after);
    if (status < 300) this.taken.push(notice);
    response.writeHead(status).end();
  }
}
