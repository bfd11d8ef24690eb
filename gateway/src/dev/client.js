// Roomcast's built-in Socket.IO client.
//
// The demo page prefers the official client. This one stands in when neither the CDN nor a local bundle answers,
// so that the first minute works without internet. It speaks Engine.IO 4 and Socket.IO 5, over WebSocket only and
// in the default namespace only, and offers the part of the official API that the page uses.
// In your own application use `socket.io-client`: same protocol, and polling for networks that block WebSocket.
(() => {
  "use strict";

  const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4, BINARY_EVENT = 5, BINARY_ACK = 6;
  const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]);
  const MAX_ATTACHMENTS = 10; // the official parser's limit
  const OPEN_TIMEOUT = 20_000;

  // 1 s, 2 s, 4 s… up to 5 s, each spread by half either way: the clients of a restarted server do not return as one.
  function backoff(attempt) {
    const delay = 1000 * 2 ** Math.min(attempt, 10);
    return Math.min(delay * (0.5 + Math.random()), 5000);
  }

  const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;

  // One packet is a text frame and, when it carries bytes, one binary frame for each `_placeholder` in the text.
  function encode(type, data, id = "") {
    const bytes = [];
    const json = JSON.stringify(data, (_key, value) =>
      isBinary(value) ? { _placeholder: true, num: bytes.push(value) - 1 } : value);
    const binaryType = type === ACK ? BINARY_ACK : BINARY_EVENT;
    const head = bytes.length ? `${binaryType}${bytes.length}-` : type;
    return [`4${head}${id}${json ?? ""}`, ...bytes];
  }

  // Reads the text frame. A binary packet is not complete before all of its attachments have arrived.
  function decode(text) {
    const [, type, count, id, json] = /^([0-6])(?:(\d+)-)?(\d*)(.*)$/s.exec(text) ?? [];
    if (type === undefined) throw new Error("unknown packet");
    const packet = { type: Number(type), id: id === "" ? undefined : Number(id), json, missing: 0, bytes: [] };
    if (packet.type === BINARY_EVENT || packet.type === BINARY_ACK) {
      packet.missing = Number(count);
      if (!(packet.missing >= 1 && packet.missing <= MAX_ATTACHMENTS)) throw new Error("illegal attachments");
    }
    return packet;
  }

  function payload({ json, bytes }) {
    if (!bytes.length) return json === "" ? undefined : JSON.parse(json);
    return JSON.parse(json, (_key, value) => {
      if (value?._placeholder !== true) return value;
      if (!(value.num in bytes)) throw new Error("illegal attachments");
      return bytes[value.num];
    });
  }

  class Emitter {
    #listeners = new Map();

    on(event, listener) {
      this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
      return this;
    }

    off(event, listener) {
      const rest = listener ? (this.#listeners.get(event) ?? []).filter((other) => other !== listener) : [];
      this.#listeners.set(event, rest);
      return this;
    }

    fire(event, ...args) {
      call(this.#listeners.get(event) ?? [], args);
    }
  }

  // A listener that throws is reported to the console; it must not look like a broken packet to the code below.
  function call(listeners, args) {
    for (const listener of listeners) {
      try {
        listener(...args);
      } catch (error) {
        reportError(error);
      }
    }
  }

  class Socket extends Emitter {
    id = undefined;
    connected = false;
    active = false; // true while connected or while trying to be, as in the official client
    recovered = false;
    #url;
    #auth;
    #ws = null;
    #catchAll = [];
    #acks = new Map();
    #nextAck = 0;
    #outbox = []; // emitted while not connected, sent on connect
    #inbox = []; // received before CONNECT was answered: a replay of what was missed
    #partial = null; // a binary packet that waits for its attachments
    #silence = 0; // how long the server may say nothing
    #attempts = 0;
    #watchdog = 0;
    #retry = 0;
    _pid = undefined; // identifies the session to a server that can recover it (official name)…
    #offset = undefined; // …from the last event that we saw

    constructor(url, auth) {
      super();
      this.#url = url;
      this.#auth = auth;
      const close = () => this.#ws && this.#lost("forced close");
      this.io = Object.assign(new Emitter(), {
        engine: Object.assign(new Emitter(), { transport: { name: "websocket" }, close }),
      });
    }

    connect() {
      if (!this.active) {
        this.active = true;
        this.#attempts = 0;
        this.#open();
      }
      return this;
    }

    disconnect() {
      if (this.connected) this.#send([`4${DISCONNECT}`]);
      this.#end("io client disconnect");
      return this;
    }

    emit(event, ...args) {
      if (RESERVED.has(event)) throw new Error(`"${event}" is a reserved event name`);
      let id;
      if (typeof args.at(-1) === "function") {
        id = this.#nextAck++;
        this.#acks.set(id, args.pop());
      }
      const frames = encode(EVENT, [event, ...args], id);
      if (this.connected) this.#send(frames);
      else this.#outbox.push(frames);
      return this;
    }

    onAny(listener) {
      this.#catchAll = [...this.#catchAll, listener];
      return this;
    }

    // === connection ===

    #open() {
      const ws = new WebSocket(this.#url);
      ws.binaryType = "arraybuffer";
      // No `onerror`: the browser always follows it with `close`, and tells no more there.
      ws.onclose = () => this.#lost("transport close");
      ws.onmessage = ({ data }) => {
        try {
          this.#receive(data);
        } catch {
          this.#lost("parse error");
        }
      };
      this.#ws = ws;
      this.#expect(OPEN_TIMEOUT, "timeout");
    }

    #send(frames) {
      for (const frame of frames) this.#ws?.send(frame);
    }

    // The server speaks first (its pings, too), so silence is the only sign of a connection that died quietly.
    #expect(ms, reason) {
      clearTimeout(this.#watchdog);
      this.#watchdog = setTimeout(() => this.#lost(reason), ms);
    }

    #hangUp() {
      clearTimeout(this.#watchdog);
      clearTimeout(this.#retry);
      if (this.#ws) {
        this.#ws.onclose = this.#ws.onmessage = null;
        this.#ws.close();
        this.#ws = null;
      }
      this.#partial = null;
      this.#inbox = [];
      const was = this.connected;
      // Answers to what was sent on this connection will not come. What waits in the outbox keeps its callbacks.
      if (was) this.#acks.clear();
      this.connected = false;
      this.id = undefined;
      return was;
    }

    // The connection broke: come back, unless `disconnect()` was called from a listener.
    #lost(reason) {
      const was = this.#hangUp();
      this.#retry = setTimeout(() => {
        this.io.fire("reconnect_attempt", this.#attempts);
        this.#open();
      }, backoff(this.#attempts++));
      if (was) this.fire("disconnect", reason);
      else this.fire("connect_error", new Error(reason === "timeout" ? "timeout" : "websocket error"));
    }

    // One side said goodbye on purpose: stay away until `connect()`.
    #end(reason) {
      this.active = false;
      if (this.#hangUp()) this.fire("disconnect", reason);
    }

    // === Engine.IO ===

    #receive(data) {
      if (typeof data !== "string") return this.#attachment(data);
      switch (data[0]) {
        case "0": {
          const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
          this.#silence = pingInterval + pingTimeout;
          this.#attempts = 0;
          this.#expect(this.#silence, "ping timeout");
          return this.#hello();
        }
        case "2":
          this.#expect(this.#silence, "ping timeout");
          return this.#send([`3${data.slice(1)}`]);
        case "4":
          return this.#packet(decode(data.slice(1)));
        case "1": // the WebSocket's own close follows
        case "6":
          return undefined;
        default:
          throw new Error("unknown packet");
      }
    }

    #hello() {
      const ws = this.#ws;
      const recovery = this._pid ? { pid: this._pid, offset: this.#offset } : {};
      const send = (auth) => ws === this.#ws && this.#send(encode(CONNECT, { ...recovery, ...auth }));
      // A function is asked again on every connection, so that a fresh token can be given after an expiry.
      if (typeof this.#auth === "function") this.#auth(send);
      else send(this.#auth);
    }

    // === Socket.IO ===

    #packet(packet) {
      if (this.#partial) throw new Error("text where an attachment was due");
      if (packet.missing) this.#partial = packet;
      else this.#handle(packet);
    }

    #attachment(bytes) {
      const packet = this.#partial;
      if (!packet) throw new Error("attachment without a packet");
      packet.bytes.push(bytes);
      if (packet.bytes.length < packet.missing) return;
      this.#partial = null;
      this.#handle(packet);
    }

    #handle(packet) {
      const data = payload(packet);
      switch (packet.type) {
        case CONNECT:
          return this.#welcome(data);
        case DISCONNECT:
          return this.#end("io server disconnect");
        case CONNECT_ERROR:
          this.active = false; // refused on purpose: trying again with the same credentials would not help
          this.#hangUp();
          return this.fire("connect_error", Object.assign(new Error(data.message), { data: data.data }));
        case EVENT:
        case BINARY_EVENT:
          if (!Array.isArray(data) || typeof data[0] !== "string" || RESERVED.has(data[0])) throw new Error("bad event");
          return this.connected ? this.#deliver(data, packet.id) : this.#inbox.push([data, packet.id]);
        case ACK:
        case BINARY_ACK: {
          const callback = this.#acks.get(packet.id);
          this.#acks.delete(packet.id);
          return callback && call([callback], data);
        }
      }
    }

    #welcome({ sid, pid }) {
      this.id = sid;
      this.recovered = pid !== undefined && pid === this._pid;
      this._pid = pid;
      this.connected = true;
      for (const [data, id] of this.#inbox.splice(0)) this.#deliver(data, id);
      for (const frames of this.#outbox.splice(0)) this.#send(frames);
      if (this.connected) this.fire("connect"); // a listener of a replayed event may have left
    }

    #deliver(data, id) {
      const args = [...data];
      if (id !== undefined) args.push(this.#answer(id));
      call(this.#catchAll, args);
      this.fire(...args);
      // A server with recovery appends a string to each event; sent back on reconnect, it says where to resume.
      if (this._pid && data.length > 1 && typeof data.at(-1) === "string") this.#offset = data.at(-1);
    }

    // Usable once, and only on the connection that asked: the id means nothing on the next one.
    #answer(id) {
      let ws = this.#ws;
      return (...values) => {
        if (ws && ws === this.#ws) this.#send(encode(ACK, values, id));
        ws = null;
      };
    }
  }

  window.io = (uri, opts) => {
    if (typeof uri === "object") [uri, opts] = ["", uri];
    const { path = "/socket.io/", query = {}, auth = {}, autoConnect = true } = opts ?? {};
    const url = new URL(path, new URL(uri ?? "", location.href));
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ ...query, EIO: "4", transport: "websocket" });
    const socket = new Socket(url.href, auth);
    return autoConnect ? socket.connect() : socket;
  };
})();
