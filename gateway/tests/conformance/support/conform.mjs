// What the suites about the two protocols share: a policy under which everything a client sends can be seen again, and
// clients that end with their test.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Polling } from "./polling.mjs";
import { token } from "./token.mjs";
import { Tcp, Wire } from "./wire.mjs";

/** `echo` acknowledges with its first argument, `reflect` sends it back as an event. */
export const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "user:{user}"

[[reply]]
event = "echo"
ack   = "data"

[[reply]]
event = "reflect"
emit  = "reflected"
data  = "data"
`;

/** Those tests run beside each other, so what a node logs belongs to none of them. */
export const QUIET = { log: { level: "warn" } };

let users = 0;

/** Clients of one test, which ends them. Each is a user of its own, `client.user`, unless the test names one. */
export class Clients {
  #all = [];

  constructor(t, url) {
    this.url = url;
    t.after(() => this.#all.forEach((client) => client.destroy()));
  }

  tcp = (options) => this.keep(new Tcp(this.url, options));
  /** A websocket as it was answered. */
  open = async (options) => this.keep(await Wire.open(this.url, options));
  /** A session by websocket that has not said CONNECT. */
  session = async (options) => this.keep(await Wire.session(this.url, options));
  /** Connected by websocket. */
  websocket = (options) => this.#connected(Wire, options);
  /** A session by polling that has not said CONNECT. */
  poll = async (options) => this.keep(await Polling.session(this.url, options));
  /** Connected by polling. */
  polling = (options) => this.#connected(Polling, options);

  keep(client) {
    this.#all.push(client);
    return client;
  }

  async #connected(Kind, { user = `u${(users += 1)}`, ...options } = {}) {
    return this.keep(await Kind.connected(this.url, token({ sub: user }), { user, ...options }));
  }
}

/** The ways to connect: `WAYS.websocket(clients)`. */
export const WAYS = {
  websocket: (clients, ...args) => clients.websocket(...args),
  polling: (clients, ...args) => clients.polling(...args),
};

/** Refused with 400, or closed before anything was said. */
export async function assertNoWebsocket(wire) {
  if (wire.answer.status === 101) {
    await wire.closed();
    assert.deepEqual(wire.inbox, []);
  } else {
    assert.equal(wire.answer.status, 400);
  }
}
