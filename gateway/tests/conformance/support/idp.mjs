// An identity provider: a real HTTP server that publishes a key set, and misbehaves when it is told to.

import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { freePort } from "./port.mjs";

/** What it does with a request. */
export const MISBEHAVIOUR = {
  stalls: () => {}, // the request stays open
  "answers 500": (response) => response.writeHead(500).end("out of order"),
  "answers rubbish": (response) => response.end("<html>Service unavailable</html>"),
  "answers without keys": (response) => response.end('{"keys":[]}'),
  "breaks off": (response) => {
    response.writeHead(200, { "content-length": 1000 }).write('{"keys":[');
    setImmediate(() => response.destroy());
  },
};

export class IdentityProvider {
  /** How often it was asked. */
  requests = 0;
  /** Requests that were not answered. */
  pending = 0;
  headers = {};
  #sockets = new Set();

  /** `tls` is a certificate and its key, as for `node:https`. */
  static async start({ keys = [], tls } = {}) {
    const idp = new IdentityProvider(await freePort(), tls);
    idp.keys = keys;
    await idp.start();
    return idp;
  }

  constructor(port, tls) {
    this.port = port;
    this.tls = tls;
    this.url = `${tls ? "https://localhost" : "http://127.0.0.1"}:${port}/keys?client=secret-of-the-query`;
  }

  /** Listens, again on the same port after a stop. */
  async start() {
    const answer = (request, response) => this.#answer(request, response);
    this.server = this.tls ? createTlsServer(this.tls, answer) : createServer(answer);
    this.server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise((resolve) => this.server.listen(this.port, resolve));
  }

  /** From now on each request is dealt with like this; without a name as it should be. */
  behave(misbehaviour) {
    this.misbehaviour = misbehaviour && MISBEHAVIOUR[misbehaviour];
  }

  /** Gone: nobody listens, and connections are closed. */
  async stop() {
    if (!this.server.listening) return;
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.#sockets.forEach((socket) => socket.destroy());
    await closed;
  }

  close() {
    return this.stop();
  }

  #answer(request, response) {
    this.requests += 1;
    this.pending += 1;
    response.on("close", () => (this.pending -= 1));
    if (this.misbehaviour) return this.misbehaviour(response);
    response.writeHead(200, { "content-type": "application/jwk-set+json", ...this.headers });
    response.end(JSON.stringify({ keys: this.keys.map((key) => key.jwk) }));
  }
}
