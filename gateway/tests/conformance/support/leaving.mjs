// What a load balancer sees of a node that begins no sessions: 503. It is full, or, as /healthz says then, being stopped.

import { createServer } from "node:http";
import { freePort } from "./port.mjs";

export class Leaving {
  /** How often /healthz was asked, and what else. */
  asked = 0;
  isHealthy = true;
  others = [];

  static async start() {
    const leaving = new Leaving();
    leaving.port = await freePort();
    leaving.server = createServer((request, response) => {
      if (request.url === "/healthz") leaving.asked += 1;
      else leaving.others.push(`${request.method} ${request.url}`);
      response.statusCode = request.url === "/healthz" && leaving.isHealthy ? 200 : 503;
      response.end();
    });
    await new Promise((listening) => leaving.server.listen(leaving.port, "127.0.0.1", listening));
    return leaving;
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}
