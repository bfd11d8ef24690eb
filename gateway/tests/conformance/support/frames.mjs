// Frames of RFC 6455, right ones and wrong ones, as bytes.

import { createHash, randomBytes } from "node:crypto";

export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/**
 * One frame. `announced` is the length that stands in it, whatever is in `payload`; `wide` takes the longest form for a
 * short length; `mask: false` leaves the mask out.
 */
export function frame(opcode, payload = "", { fin = true, rsv = 0, mask = true, announced, wide = false } = {}) {
  const bytes = Buffer.from(payload);
  const length = announced ?? bytes.length;
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const bit = mask ? 0x80 : 0;
  let head;
  if (wide || length > 0xffff) {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt(length), 2);
    head[1] = bit | 127;
  } else if (length > 125) {
    head = Buffer.alloc(4);
    head.writeUInt16BE(length, 2);
    head[1] = bit | 126;
  } else {
    head = Buffer.from([0, bit | length]);
  }
  head[0] = first;
  if (!mask) return Buffer.concat([head, bytes]);
  // A long one gets a mask that changes nothing: it costs no time, and is a mask.
  const key = bytes.length > 65_536 ? Buffer.alloc(4) : randomBytes(4);
  if (bytes.length <= 65_536) for (let n = 0; n < bytes.length; n += 1) bytes[n] ^= key[n & 3];
  return Buffer.concat([head, key, bytes]);
}

/** The payload of a close frame. */
export function closing(code, reason = "") {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return Buffer.concat([head, Buffer.from(reason)]);
}

/** The first frame in `bytes` and what is behind it; nothing while it is not complete. */
export function parse(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const head = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < head) return undefined;
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  if (bytes.length < head + length) return undefined;
  return {
    fin: (bytes[0] & 0x80) !== 0,
    rsv: (bytes[0] >> 4) & 7,
    opcode: bytes[0] & 0x0f,
    masked: (bytes[1] & 0x80) !== 0,
    payload: bytes.subarray(head, head + length),
    rest: bytes.subarray(head + length),
  };
}

/** The request that asks for a websocket. */
export function asking(host, { key = freshKey(), extensions } = {}) {
  const offer = extensions === undefined ? "" : `Sec-WebSocket-Extensions: ${extensions}\r\n`;
  return `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\n`
    + `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${offer}\r\n`;
}

export const freshKey = () => randomBytes(16).toString("base64");

/** What a server answers to that key. */
export function acceptOf(key) {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}
