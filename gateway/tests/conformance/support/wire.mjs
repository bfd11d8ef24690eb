// A client of bytes: TCP, HTTP requests as they are written, websocket frames one by one. It does only what it is told to,
// and answers the engine's pings unless told otherwise.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, acceptOf, closing, frame, freshKey, parse } from "./frames.mjs";
import { SOON, within } from "./until.mjs";

export class Tcp {
  received = Buffer.alloc(0);
  /** `"end"`, `"close"` or the code of an error, once the other side has ended the connection. */
  over;
  #watchers = new Set();

  constructor(url, options = {}) {
    const { hostname, port } = new URL(url);
    this.host = `${hostname}:${port}`;
    this.socket = connect({ port: Number(port), host: hostname, ...options });
    this.socket.setNoDelay(true);
    this.socket.on("data", (bytes) => {
      this.received = this.received.length ? Buffer.concat([this.received, bytes]) : bytes;
      this.changed();
    });
    this.socket.on("end", () => this.#ended("end"));
    this.socket.on("error", (error) => this.#ended(error.code));
    this.socket.on("close", () => this.#ended("close"));
    this.ready = new Promise((resolve) => this.socket.once("connect", resolve));
  }

  write(bytes) {
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()));
  }

  /** Waits until `look` gives something, after each arrival and at the end. */
  async watch(what, look, limit = SOON) {
    let watcher;
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        try {
          const value = look();
          if (value !== undefined) resolve(value);
        } catch (error) {
          reject(error);
        }
      };
      this.#watchers.add(watcher);
      watcher();
    });
    try {
      return await within(what, found, limit);
    } finally {
      this.#watchers.delete(watcher);
    }
  }

  changed() {
    this.#watchers.forEach((watcher) => watcher());
  }

  /** Waits for the end of the connection by the other side, and says how it came. */
  ended(limit) {
    return this.watch("the server ends the connection", () => this.over, limit);
  }

  /** The head of an HTTP response: `{status, headers, text}`, whose text is what has come of the body. */
  head(limit) {
    return this.watch("an answer arrives", () => {
      const end = this.received.indexOf("\r\n\r\n");
      if (end < 0) {
        if (this.over) throw new Error(`the connection ended (${this.over}) without an answer: ${this.received}`);
        return undefined;
      }
      const [line, ...lines] = this.received.subarray(0, end).toString("latin1").split("\r\n");
      const headers = Object.fromEntries(lines.map((one) => [one.split(":", 1)[0].toLowerCase(), one.slice(one.indexOf(":") + 1).trim()]));
      return { status: Number(line.split(" ")[1]), headers, length: end + 4, text: this.received.subarray(end + 4).toString() };
    }, limit);
  }

  destroy() {
    this.socket.destroy();
  }

  #ended(how) {
    this.over ??= how;
    this.changed();
  }
}

/** A websocket. */
export class Wire extends Tcp {
  /** Messages that nobody has taken yet: texts, and buffers for binary ones. */
  inbox = [];
  /** Pings and pongs of the websocket, as `[opcode, payload]`. */
  controls = [];
  /** The frame with which the server closed: `{code, reason}`. */
  close;
  answersPings = true;
  /** Pings of the engine. */
  pings = 0;
  #parts = [];
  #rest = Buffer.alloc(0);
  #number = 0;

  /** Asks for a websocket. What was answered is in `answer`; frames are read when that was 101. */
  static async open(url, { sid, query = "EIO=4&transport=websocket", headers = {}, ...more } = {}) {
    const wire = new Wire(url);
    Object.assign(wire, more);
    const key = freshKey();
    const lines = { host: wire.host, upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": 13, "sec-websocket-key": key, ...headers };
    const head = Object.entries(lines).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    await wire.write(`GET ${wire.path ?? "/socket.io/"}?${query}${sid ? `&sid=${sid}` : ""} HTTP/1.1\r\n${head}\r\n`);
    wire.answer = await wire.head();
    if (wire.answer.status === 101) {
      assert.equal(wire.answer.headers["sec-websocket-accept"], acceptOf(key));
      wire.received = wire.received.subarray(wire.answer.length);
      wire.socket.on("data", () => wire.#read());
      wire.#read();
    }
    return wire;
  }

  /** A session of its own, with the open packet taken. */
  static async session(url, options) {
    const wire = await Wire.open(url, options);
    return wire.#orDestroyed(async () => {
      assert.equal(wire.answer.status, 101, wire.answer.text);
      const open = await wire.next();
      assert.equal(open[0], "0", open);
      wire.handshake = JSON.parse(open.slice(1));
      wire.sid = wire.handshake.sid;
    });
  }

  /** Connected to the namespace `/`. */
  static async connected(url, token, options) {
    const wire = await Wire.session(url, options);
    return wire.#orDestroyed(async () => {
      await wire.send(`40${JSON.stringify({ token })}`);
      wire.id = idOf(await wire.next());
    });
  }

  async #orDestroyed(act) {
    try {
      await act();
      return this;
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  send(message) {
    return this.write(frame(typeof message === "string" ? TEXT : BINARY, message));
  }

  frame(...args) {
    return this.write(frame(...args));
  }

  /** The next message that is no ping of the engine. */
  next(limit) {
    return this.watch("a message arrives", () => {
      if (this.inbox.length) return this.inbox.shift();
      if (this.over || this.close) throw new Error(`the connection ended (${this.over}, ${JSON.stringify(this.close)}) while a message was awaited`);
      return undefined;
    }, limit);
  }

  /** Asks for an echo, which has to be the next message. */
  async alive() {
    this.#number += 1;
    await this.send(`42${this.#number}["echo",${this.#number}]`);
    assert.equal(await this.next(), `43${this.#number}[${this.#number}]`);
  }

  /** Waits for the end: by a close frame, which is echoed, or without one. Returns the code, if there was one. */
  async closed(limit = SOON) {
    await this.watch("the server closes", () => this.close ?? this.over, limit);
    if (!this.over) await this.write(frame(CLOSE, this.close.code ? closing(this.close.code) : "")).then(() => this.ended(limit));
    return this.close?.code;
  }

  #read() {
    this.#rest = this.#rest.length ? Buffer.concat([this.#rest, this.received]) : this.received;
    this.received = Buffer.alloc(0);
    for (let one = parse(this.#rest); one; one = parse(this.#rest)) {
      this.#rest = one.rest;
      assert.equal(one.masked, false, "a server never masks");
      if (one.opcode === CLOSE) {
        this.close = one.payload.length >= 2 ? { code: one.payload.readUInt16BE(0), reason: one.payload.subarray(2).toString() } : {};
      } else if (one.opcode === PING || one.opcode === PONG) {
        this.controls.push([one.opcode, one.payload]);
        if (one.opcode === PING) this.frame(PONG, one.payload);
      } else {
        if (one.opcode !== CONTINUATION) this.kind = one.opcode;
        this.#parts.push(one.payload);
        if (one.fin) this.#message(Buffer.concat(this.#parts.splice(0)));
      }
    }
    this.changed();
  }

  #message(bytes) {
    const message = this.kind === TEXT ? bytes.toString() : bytes;
    if (message === "2") this.pings += 1;
    if (message === "2" && this.answersPings) this.send("3");
    else if (message !== "2" || this.keepsPings) this.inbox.push(message);
  }
}

/** The public id in an answer to CONNECT. */
export function idOf(packet) {
  assert.match(String(packet), /^40\{/);
  return JSON.parse(packet.slice(2)).sid;
}

