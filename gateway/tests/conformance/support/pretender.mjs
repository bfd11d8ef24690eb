// What a load balancer takes for a node, and what does to requests whatever a test wants.

import { createServer } from "node:http";
import { freePort } from "./port.mjs";

export class Pretender {
  /** What /healthz says, and how often it was asked. */
  isHealthy = true;
  asked = 0;
  /** Every other request that came in whole: `GET /socket.io/?…`. */
  requests = [];

  /** What becomes of those: `(answer, socket) => …`. It is full to begin with. */
  does = (answer) => answer(503);

  static async start() {
    const pretender = new Pretender();
    pretender.port = await freePort();
    pretender.server = createServer((request, response) => pretender.#asked(request, response));
    await new Promise((listening) => pretender.server.listen(pretender.port, "127.0.0.1", listening));
    return pretender;
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }

  #asked(request, response) {
    const answer = (status) => {
      response.statusCode = status;
      response.end();
    };
    if (request.url === "/healthz") {
      this.asked += 1;
      return answer(this.isHealthy ? 200 : 503);
    }
    if (request.url.includes("transport=none")) return answer(400); // as a node does, and balancers are waited for by it
    request.resume().on("end", () => {
      this.requests.push(`${request.method} ${request.url}`);
      this.does(answer, request.socket);
    });
  }
}
