// A client by websocket that shows frames as they come, and sends what it is told to, valid or not.

import { connect } from "node:net";
import { inflateRawSync } from "node:zlib";
import { asking, frame as frameOf, parse } from "./frames.mjs";
import { within } from "./until.mjs";

export const TEXT = 0x81;
export const BINARY = 0x82;
export const COMPRESSED = 0x40;
const CLOSE = 0x88;
/** What a compressed message ends with, and what is not sent of it. */
const TAIL = Buffer.from([0, 0, 0xff, 0xff]);

export class Frames {
  /** What has come: `{first, payload, size, text}`, with the payload inflated and its size as it was sent. */
  #inbox = [];
  #waiting;
  #rest = Buffer.alloc(0);

  /** A session that is in, unless `auth` is `null`. */
  static async open(url, { extensions, auth }) {
    const frames = new Frames();
    const { hostname, port } = new URL(url);
    frames.socket = connect(Number(port), hostname);
    frames.socket.on("error", () => {}); // its end follows
    frames.socket.write(asking(`${hostname}:${port}`, { extensions }));
    await within("the handshake", new Promise((resolve, reject) => {
      frames.socket.on("data", (bytes) => frames.#read(bytes, resolve));
      frames.socket.on("close", () => {
        reject(new Error("closed"));
        frames.#arrived({ closed: true });
      });
    }));
    await frames.next(); // what opens the session
    if (auth !== null) {
      frames.send(TEXT, `40${JSON.stringify(auth)}`);
      await frames.next();
    }
    return frames;
  }

  /** The next frame that is no ping of Engine.IO, or `{closed}`. */
  async next() {
    for (;;) {
      const frame = this.#inbox.shift()
        ?? await within("a frame", new Promise((resolve) => (this.#waiting = resolve)));
      if (frame.text !== "2") return frame;
      this.send(TEXT, "3");
    }
  }

  /** The status of the close frame that follows, when there is one, and the end. */
  async closed() {
    let status;
    for (;;) {
      const frame = await this.next();
      if (frame.closed) return status;
      if (frame.first === CLOSE) status = frame.payload.readUInt16BE(0);
    }
  }

  send(first, payload) {
    this.socket.write(frameOf(first & 0x0f, payload, { fin: (first & 0x80) !== 0, rsv: (first >> 4) & 7 }));
  }

  close() {
    this.socket.destroy();
  }

  #read(bytes, opened) {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    if (this.head === undefined) {
      const end = this.#rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.head = this.#rest.subarray(0, end).toString();
      this.agreed = /^sec-websocket-extensions: (.*)$/im.exec(this.head)?.[1];
      this.#rest = this.#rest.subarray(end + 4);
      opened();
    }
    for (let frame = this.#frame(); frame; frame = this.#frame()) this.#arrived(frame);
  }

  #frame() {
    const frame = parse(this.#rest);
    if (!frame) return undefined;
    this.#rest = frame.rest;
    const { fin, rsv, opcode, payload: sent } = frame;
    const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
    const payload = first & COMPRESSED ? inflate(sent) : sent;
    return { first, payload, sent, size: sent.length, text: opcode === 1 ? payload.toString() : undefined };
  }

  #arrived(frame) {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting(frame);
    else this.#inbox.push(frame);
  }
}

function inflate(bytes) {
  // A last block without anything ends the stream.
  return inflateRawSync(Buffer.concat([bytes, TAIL, Buffer.from([1, 0, 0, 0xff, 0xff])]));
}
