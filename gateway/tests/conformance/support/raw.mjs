// A client by plain HTTP long-polling, to see the very text that the server sends.

import assert from "node:assert/strict";

const SEPARATOR = "\x1e";

export class RawPolling {
  static async connect(url, auth, headers = {}) {
    const raw = new RawPolling(`${url}/socket.io/?EIO=4&transport=polling`, headers);
    const open = await raw.next();
    assert.equal(open[0], "0", open);
    raw.url += `&sid=${JSON.parse(open.slice(1)).sid}`;
    await raw.send(`40${JSON.stringify(auth)}`);
    const connect = await raw.next();
    assert.match(connect, /^40\{/);
    return raw;
  }

  constructor(url, headers) {
    this.url = url;
    this.headers = headers;
    this.packets = [];
  }

  /** The next packet that is no heartbeat. */
  async next() {
    for (;;) {
      const packet = this.packets.shift();
      if (packet === "2") await this.send("3");
      else if (packet !== undefined) return packet;
      else this.packets.push(...(await this.#request()).split(SEPARATOR));
    }
  }

  async send(packet) {
    assert.equal(await this.#request({ method: "POST", body: packet }), "ok");
  }

  close() {
    return this.send("41");
  }

  async #request(options = {}) {
    const response = await fetch(this.url, { headers: this.headers, signal: AbortSignal.timeout(10_000), ...options });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return text;
  }
}
