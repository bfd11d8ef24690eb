// A backend with a webhook: it verifies every request as Standard Webhooks says, and does with it what the test wants.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

export const KEY = Buffer.from("conformance-webhook-key-01234567");
/** The secret as it is configured. */
export const WEBHOOK_SECRET = `whsec_${KEY.toString("base64")}`;

export class Webhook {
  /** Every request that was rightly signed: `{id, body, at}`. */
  requests = [];
  /** What was wrong with the others. */
  forged = [];
  /** What it does with a request: `(body, response) => …`. */
  does = (body, response) => response.end("{}");
  port = 0;

  static async start() {
    const webhook = new Webhook();
    await webhook.start();
    return webhook;
  }

  /** Listens, again on the same port after a stop. */
  async start() {
    this.server = createServer((request, response) => this.#asked(request, response));
    await new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(this.port, "127.0.0.1", resolve);
    });
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}/roomcast?key=not-for-logs`;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Answers everything with this. */
  answers(status, body = "") {
    this.does = (_, response) => {
      response.statusCode = status;
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
  }

  async #asked(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const why = verify(request.headers, text);
    if (why) {
      this.forged.push(why);
      response.statusCode = 401;
      return response.end();
    }
    const body = JSON.parse(text);
    this.requests.push({ id: request.headers["webhook-id"], body, text, at: performance.now() });
    this.does(body, response);
  }
}

/** What a library of the standard does. */
function verify(headers, text) {
  const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signatures = "" } = headers;
  if (!id || Math.abs(Number(time) - Date.now() / 1000) > 300) return `id ${id}, time ${time}`;
  const right = createHmac("sha256", KEY).update(`${id}.${time}.${text}`).digest();
  const fits = signatures.split(" ").some((one) => {
    const [version, given] = one.split(",");
    const bytes = Buffer.from(given ?? "", "base64");
    return version === "v1" && bytes.length === right.length && timingSafeEqual(bytes, right);
  });
  return fits ? undefined : `signature ${signatures}`;
}
