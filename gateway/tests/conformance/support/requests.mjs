// Every HTTP request of this process to some server, with what became of it: for saying that none was refused.

import { subscribe, unsubscribe } from "node:diagnostics_channel";

const FINISHED = "http.client.response.finish";

export class Requests {
  /** `{method, path, status}` of those that were answered, upgrades left out. */
  answered = [];
  #see = ({ request, response }) => {
    const port = Number(new URL(`http://${request.getHeader("host")}`).port);
    if (!this.ports.has(port)) return;
    this.answered.push({ method: request.method, path: request.path, status: response.statusCode });
  };

  /** From now on, to these URLs. */
  constructor(urls) {
    this.ports = new Set(urls.map((url) => Number(new URL(url).port)));
    subscribe(FINISHED, this.#see);
  }

  /** Those that were refused, by method and status. */
  refused() {
    return this.answered.filter(({ status }) => status >= 400).map(({ method, status, path }) => `${method} ${status} ${path.replace(/sid=[^&]*/, "sid=…")}`);
  }

  close() {
    unsubscribe(FINISHED, this.#see);
  }
}
