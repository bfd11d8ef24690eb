// A client by websocket that is light enough for thousands in one process. It speaks what the official one speaks, and comes
// back as that one does: after a second, doubling to five, and a half more or less by chance.

import { connect } from "node:net";
import { CLOSE, TEXT, acceptOf, asking, frame, freshKey, parse } from "./frames.mjs";

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
    const key = freshKey();
    const expected = acceptOf(key);
    const socket = connect({ port: this.port, host: this.hostname, localAddress: this.localAddress });
    this.socket = socket;
    socket.setNoDelay(true);
    this.timer = setTimeout(() => socket.destroy(), CONNECTING);
    this.upgraded = false;
    this.rest = Buffer.alloc(0);
    socket.once("connect", () => socket.write(asking(`${this.hostname}:${this.port}`, { key })));
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
    for (let one = parse(this.rest); one; one = parse(this.rest)) {
      this.rest = one.rest;
      if (one.opcode === CLOSE) return this.socket.destroy();
      if (one.opcode === TEXT) this.#packet(one.payload.toString());
    }
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
    this.socket.write(frame(TEXT, text));
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
