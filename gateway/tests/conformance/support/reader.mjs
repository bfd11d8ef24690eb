// A client by websocket, plain or by TLS, that stops reading when it is told to, and still writes. What it does not read
// fills the kernel's buffers first, then waits in the node.

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { connect as secure } from "node:tls";
import { until, within } from "./until.mjs";

/** Bytes of a filler. */
const FILLER = 64 * 1024;
/** Its event: nobody else's business. */
export const FILLING = "filler";

export class Reader {
  /** What arrived, in order: `{event, args}`, or `{ack, args}`. */
  inbox = [];
  #rest = Buffer.alloc(0);
  #isUpgraded = false;

  /** A client that is in. `ca` = by TLS. */
  static async connect(node, { token, ca }) {
    const reader = new Reader();
    const host = "127.0.0.1";
    reader.socket = ca ? secure({ host, port: node.port, ca }) : connect(node.port, host);
    reader.closed = new Promise((resolve) => reader.socket.once("close", resolve));
    reader.closed.then(() => (reader.isClosed = true));
    const connected = new Promise((resolve) => (reader.onConnect = resolve));
    Object.assign(reader, { node, token });
    reader.socket.once(ca ? "secureConnect" : "connect", () => reader.socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${host}:${node.port}\r\nUpgrade: websocket\r\n` +
      `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`));
    reader.socket.on("data", (bytes) => reader.#read(bytes));
    reader.socket.on("error", () => {}); // its end follows
    await within("the reader is in", connected);
    return reader;
  }

  /** Stops reading, and has the node write to `room` until something waits for this client there. */
  async stall(room) {
    this.socket.pause();
    const waiting = () => this.node.ops.metric("roomcast_outbound_bytes");
    let before = 0;
    // The kernel's buffers grow for a while; when a whole filler waits behind one, they do not any more.
    await until("something waits for who does not read", async () => {
      const fill = () => this.node.publish({ room, event: FILLING, data: "x".repeat(FILLER) });
      await Promise.all([fill(), fill()]);
      const now = await waiting();
      const isFull = now >= Math.max(before, 2 * FILLER);
      before = now;
      return isFull;
    }, { every: 1, within: 120_000 });
    return this;
  }

  read() {
    this.socket.resume();
    return this;
  }

  /** The events but for the fillers: `[[event, ...args], ...]`. */
  get events() {
    return this.inbox.filter((one) => one.event && one.event !== FILLING).map(({ event, args }) => [event, ...args]);
  }

  get acks() {
    return this.inbox.filter((one) => one.ack !== undefined);
  }

  send(text) {
    const payload = Buffer.from(text);
    const mask = randomBytes(4);
    const head = Buffer.from([0x81, 0x80 | payload.length]);
    this.socket.write(Buffer.concat([head, mask, payload.map((byte, n) => byte ^ mask[n % 4])]));
  }

  close() {
    this.socket.destroy();
  }

  #read(bytes) {
    this.#rest = this.#rest.length ? Buffer.concat([this.#rest, bytes]) : bytes;
    if (!this.#isUpgraded) {
      const end = this.#rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.#isUpgraded = true;
      this.#rest = this.#rest.subarray(end + 4);
    }
    for (let frame = this.#frame(); frame; frame = this.#frame()) {
      if (frame.code === 8) this.socket.destroy();
      else if (frame.code === 1) this.#packet(frame.payload.toString());
    }
  }

  #frame() {
    const rest = this.#rest;
    if (rest.length < 2) return undefined;
    const short = rest[1] & 0x7f;
    const head = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (rest.length < head) return undefined;
    const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
    if (rest.length < head + length) return undefined;
    this.#rest = rest.subarray(head + length);
    return { code: rest[0] & 0x0f, payload: rest.subarray(head, head + length) };
  }

  #packet(text) {
    if (text === "2") this.send("3");
    else if (text.startsWith("0{")) this.#login();
    else if (text.startsWith("40")) this.onConnect();
    else if (text.startsWith("42")) {
      const [event, ...args] = JSON.parse(text.slice(2));
      this.inbox.push({ event, args });
    } else if (text.startsWith("43")) {
      const [, id, args] = /^43(\d+)(.*)$/s.exec(text);
      this.inbox.push({ ack: Number(id), args: JSON.parse(args) });
    } else this.inbox.push({ other: text });
  }

  #login() {
    const payload = Buffer.from(`40${JSON.stringify({ token: this.token })}`);
    const mask = randomBytes(4);
    const head = Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 0xff]);
    this.socket.write(Buffer.concat([head, mask, payload.map((byte, n) => byte ^ mask[n % 4])]));
  }
}
