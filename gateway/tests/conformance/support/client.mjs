// The unmodified official client, with an inbox: what arrived, in order, with nothing missed.

import { io } from "socket.io-client";
import { sawAnswer } from "./output.mjs";
import { SOON, within } from "./until.mjs";

/** Ways for a client to connect; every behaviour must hold for each. */
export const TRANSPORTS = {
  websocket: ["websocket"],
  polling: ["polling"],
  upgrade: ["polling", "websocket"],
};

export class Client {
  /** Every event that was not yet taken by `next`, as `{event, args, ack}`. */
  inbox = [];
  #waiting = [];

  constructor(url, { token, auth, transports = ["websocket"], ...options } = {}) {
    this.socket = io(url, { auth: auth ?? (token ? { token } : {}), transports, forceNew: true, ...options });
    for (const name of ["connect", "connect_error", "disconnect"]) {
      this.socket.on(name, (...args) => this.#arrived(name, args));
    }
    this.socket.onAny((event, ...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      this.#arrived(event, args, ack);
    });
  }

  /** The arguments of the next such event, also of one that has arrived already. Each is given out once. */
  async next(event, limit = SOON) {
    return (await this.#first([event], limit)).args;
  }

  async connected() {
    const { event, args } = await this.#first(["connect", "connect_error"]);
    if (event === "connect_error") throw new Error(`refused: ${args[0].message}`, { cause: args[0] });
    return this;
  }

  /** The error of a refusal that is expected. */
  async refused() {
    const { event, args } = await this.#first(["connect", "connect_error"]);
    if (event === "connect") throw new Error("connected, although a refusal was expected");
    return args[0];
  }

  /** How many such events are in the inbox. */
  count(event) {
    return this.inbox.filter((one) => one.event === event).length;
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** Emits and returns what the acknowledgement says. */
  ask(event, ...args) {
    return this.socket.timeout(SOON).emitWithAck(event, ...args);
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  close() {
    this.socket.disconnect();
  }

  async #first(events, limit = SOON) {
    const found = this.inbox.findIndex((one) => events.includes(one.event));
    if (found >= 0) return this.inbox.splice(found, 1)[0];
    let waiter;
    const arrival = new Promise((resolve) => this.#waiting.push((waiter = { events, resolve })));
    try {
      return await within(`event ${events.join(" or ")} arrives (in the inbox: ${this.#names()})`, arrival, limit);
    } finally {
      this.#waiting = this.#waiting.filter((one) => one !== waiter);
    }
  }

  #arrived(event, args, ack) {
    if (event === "connect_error") sawAnswer(event, JSON.stringify([args[0].message, args[0].data]));
    const waiter = this.#waiting.find((one) => one.events.includes(event));
    if (!waiter) return this.inbox.push({ event, args, ack });
    this.#waiting = this.#waiting.filter((one) => one !== waiter);
    waiter.resolve({ event, args, ack });
  }

  #names() {
    return this.inbox.map((one) => one.event).join(", ") || "nothing";
  }
}
