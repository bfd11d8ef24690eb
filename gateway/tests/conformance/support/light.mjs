// A client by websocket that is light enough for thousands in one process. It speaks what the official one speaks, and comes
// back as that one does: after a second, doubling to five, and a half more or less by chance.

import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";

const FIRST = 1000;
const LONGEST = 5000;
const CONNECTING = 20_000;

export class Light {
  /** In milliseconds, each time that it was away. */
  gaps = [];
  /** What arrived: `onEvent(client, [name, ...args])`. */
  onEvent = () => {};
  connected = false;
  attempts = 0;
  refused = 0;
  sessions = 0;
  disconnectPackets = 0;
  #lostAt;
  #isOpen = true;

  /** `localAddress` is where it connects from. */
  constructor(url, token, localAddress) {
    const { hostname, port } = new URL(url);
    Object.assign(this, { hostname, port: Number(port), token, localAddress });
  }

  open() {
    const key = randomBytes(16).toString("base64");
    const expected = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const socket = connect({ port: this.port, host: this.hostname, localAddress: this.localAddress });
    this.socket = socket;
    socket.setNoDelay(true);
    this.timer = setTimeout(() => socket.destroy(), CONNECTING);
    this.upgraded = false;
    this.rest = Buffer.alloc(0);
    socket.once("connect", () => socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${this.hostname}:${this.port}\r\nUpgrade: websocket\r\n` +
      `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`));
    socket.on("data", (bytes) => this.#read(bytes, expected));
    socket.on("error", () => {}); // its end follows
    socket.once("close", () => this.#lost());
    return this;
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.timer);
    clearTimeout(this.again);
    this.socket?.destroy();
  }

  #read(bytes, expected) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, bytes]) : bytes;
    if (!this.upgraded) {
      const end = this.rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = this.rest.subarray(0, end).toString();
      if (!head.startsWith("HTTP/1.1 101") || !head.includes(expected)) {
        this.refused += 1;
        return this.socket.destroy();
      }
      this.upgraded = true;
      this.rest = this.rest.subarray(end + 4);
    }
    for (let frame = this.#frame(); frame; frame = this.#frame()) {
      if (frame.code === 8) return this.socket.destroy();
      if (frame.code === 1) this.#packet(frame.payload.toString());
    }
  }

  #frame() {
    const { rest } = this;
    if (rest.length < 2) return undefined;
    const short = rest[1] & 0x7f;
    const head = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (rest.length < head) return undefined;
    const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
    if (rest.length < head + length) return undefined;
    this.rest = rest.subarray(head + length);
    return { code: rest[0] & 0x0f, payload: rest.subarray(head, head + length) };
  }

  #packet(text) {
    if (text === "2") this.#send("3");
    else if (text.startsWith("0{")) this.#send(`40${JSON.stringify({ token: this.token })}`);
    else if (text.startsWith("40")) this.#arrived();
    else if (text.startsWith("41")) this.disconnectPackets += 1;
    else if (text.startsWith("42")) this.onEvent(this, JSON.parse(text.slice(2)));
    else if (text.startsWith("44")) this.refusal = text;
  }

  #send(text) {
    const payload = Buffer.from(text);
    const mask = randomBytes(4);
    const head = payload.length < 126 ? Buffer.from([0x81, 0x80 | payload.length])
      : Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 0xff]);
    this.socket.write(Buffer.concat([head, mask, payload.map((byte, n) => byte ^ mask[n % 4])]));
  }

  #arrived() {
    clearTimeout(this.timer);
    this.connected = true;
    this.attempts = 0;
    this.sessions += 1;
    if (this.#lostAt !== undefined) this.gaps.push(performance.now() - this.#lostAt);
  }

  #lost() {
    clearTimeout(this.timer);
    if (this.connected) this.#lostAt = performance.now();
    this.connected = false;
    if (!this.#isOpen) return;
    const full = Math.min(FIRST * 2 ** this.attempts, LONGEST);
    this.attempts += 1;
    this.again = setTimeout(() => this.open(), Math.min(full * (0.5 + Math.random()), LONGEST));
  }
}
