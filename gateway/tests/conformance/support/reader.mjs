// A client by websocket, plain or by TLS, that stops reading when it is told to, and still writes. What it does not read
// fills the kernel's buffers first, then waits in the node.

import { connect } from "node:net";
import { connect as secure } from "node:tls";
import { CLOSE, TEXT, asking, frame, parse } from "./frames.mjs";
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
    reader.socket.once(ca ? "secureConnect" : "connect", () => reader.socket.write(asking(`${host}:${node.port}`)));
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
    this.socket.write(frame(TEXT, text));
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
    for (let one = parse(this.#rest); one; one = parse(this.#rest)) {
      this.#rest = one.rest;
      if (one.opcode === CLOSE) this.socket.destroy();
      else if (one.opcode === TEXT) this.#packet(one.payload.toString());
    }
  }

  #packet(text) {
    if (text === "2") this.send("3");
    else if (text.startsWith("0{")) this.send(`40${JSON.stringify({ token: this.token })}`);
    else if (text.startsWith("40")) this.onConnect();
    else if (text.startsWith("42")) {
      const [event, ...args] = JSON.parse(text.slice(2));
      this.inbox.push({ event, args });
    } else if (text.startsWith("43")) {
      const [, id, args] = /^43(\d+)(.*)$/s.exec(text);
      this.inbox.push({ ack: Number(id), args: JSON.parse(args) });
    } else this.inbox.push({ other: text });
  }
}
