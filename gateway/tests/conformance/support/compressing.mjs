// A client by websocket that shows frames as they come, and sends what it is told to, valid or not.

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { inflateRawSync } from "node:zlib";
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
    const offer = extensions === undefined ? "" : `Sec-WebSocket-Extensions: ${extensions}\r\n`;
    const key = randomBytes(16).toString("base64");
    frames.socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\n` +
      `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${offer}\r\n`);
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
    const bytes = Buffer.from(payload);
    const mask = randomBytes(4);
    const head = Buffer.alloc(bytes.length < 126 ? 2 : 10);
    head[0] = first;
    head[1] = 0x80 | (bytes.length < 126 ? bytes.length : 127);
    if (bytes.length > 0xffff) head.writeBigUInt64BE(BigInt(bytes.length), 2);
    else if (bytes.length >= 126) head[1] = 0x80 | 126;
    if (bytes.length >= 126 && bytes.length <= 0xffff) head.writeUInt16BE(bytes.length, 2);
    const length = bytes.length < 126 ? 2 : bytes.length > 0xffff ? 10 : 4;
    this.socket.write(Buffer.concat([head.subarray(0, length), mask, bytes.map((byte, n) => byte ^ mask[n % 4])]));
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
    const rest = this.#rest;
    if (rest.length < 2) return undefined;
    const short = rest[1];
    const head = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (rest.length < head) return undefined;
    const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
    if (rest.length < head + length) return undefined;
    this.#rest = rest.subarray(head + length);
    const sent = rest.subarray(head, head + length);
    const payload = rest[0] & COMPRESSED ? inflate(sent) : sent;
    return { first: rest[0], payload, sent, size: sent.length, text: (rest[0] & 0x0f) === 1 ? payload.toString() : undefined };
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
