// A client of long-polling, request by request: what was answered, with its status and headers.

import assert from "node:assert/strict";
import { SOON, until } from "./until.mjs";
import { idOf } from "./wire.mjs";

export const SEPARATOR = "\x1e";
export const QUERY = "EIO=4&transport=polling";

/** One request to the engine. */
export async function request(url, { query = QUERY, method = "GET", headers = {}, body, signal } = {}) {
  const limit = AbortSignal.timeout(SOON * 3);
  const response = await fetch(`${url}/socket.io/?${query}`, { method, headers, body, signal: signal ? AbortSignal.any([limit, signal]) : limit });
  return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
}

export class Polling {
  packets = [];
  answersPings = true;
  #number = 0;
  #gone = new AbortController();

  /** A session, with the open packet taken. */
  static async session(url, options = {}) {
    const polling = new Polling(url, options);
    polling.answer = await request(url, { headers: polling.headers });
    assert.equal(polling.answer.status, 200, polling.answer.text);
    const [open, ...more] = polling.answer.text.split(SEPARATOR);
    assert.equal(open[0], "0", open);
    polling.handshake = JSON.parse(open.slice(1));
    polling.sid = polling.handshake.sid;
    polling.packets.push(...more);
    return polling;
  }

  /** Connected to the namespace `/`. */
  static async connected(url, token, options) {
    const polling = await Polling.session(url, options);
    await polling.send(`40${JSON.stringify({ token })}`);
    polling.id = idOf(await polling.next());
    return polling;
  }

  constructor(url, { headers = {}, ...more } = {}) {
    Object.assign(this, { url, headers, ...more });
  }

  /** The query of its requests. */
  get query() {
    return `${QUERY}&sid=${this.sid}`;
  }

  get(options = {}) {
    return request(this.url, { query: this.query, headers: this.headers, signal: this.#gone.signal, ...options });
  }

  post(body, options = {}) {
    const headers = { "content-type": "text/plain;charset=UTF-8", ...this.headers };
    return request(this.url, { query: this.query, method: "POST", body, headers, signal: this.#gone.signal, ...options });
  }

  /** Posts packets, texts and buffers, in one payload. */
  async send(...packets) {
    const { status, text } = await this.post(packets.map((one) => (typeof one === "string" ? one : `b${one.toString("base64")}`)).join(SEPARATOR));
    assert.deepEqual([status, text], [200, "ok"]);
  }

  /** The next packet that is no ping. Binary ones are buffers. */
  async next() {
    for (;;) {
      const packet = this.packets.shift();
      if (packet === "2") {
        if (this.answersPings) await this.send("3");
      } else if (packet !== undefined) {
        return packet[0] === "b" ? Buffer.from(packet.slice(1), "base64") : packet;
      } else {
        const { status, text } = await this.get();
        assert.equal(status, 200, text);
        this.packets.push(...text.split(SEPARATOR));
      }
    }
  }

  /** Asks for an echo, which has to be the next packet. */
  async alive() {
    this.#number += 1;
    await this.send(`42${this.#number}["echo",${this.#number}]`);
    assert.equal(await this.next(), `43${this.#number}[${this.#number}]`);
  }

  /** Waits until the server knows the session no more, and returns the packets that came before that. */
  async gone(limit = SOON) {
    const before = [];
    await until("the session is unknown", async () => {
      const { status, text } = await this.get();
      if (status === 200) before.push(...text.split(SEPARATOR));
      return status === 400;
    }, { within: limit });
    return before;
  }

  destroy() {
    this.#gone.abort();
  }
}
