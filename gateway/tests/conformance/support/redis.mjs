// A real redis-server on a port of its own, without files. It can be stopped, killed, frozen and started again.

import { createClient } from "redis";
import { Child } from "./child.mjs";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

export class Redis {
  static async start() {
    const redis = new Redis(await freePort());
    await redis.start();
    return redis;
  }

  constructor(port) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
  }

  /** Starts it, again on the same port after a stop, and waits until it answers. */
  async start() {
    const args = ["--port", this.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    this.child = new Child("redis-server", process.env.REDIS_SERVER ?? "redis-server", args.map(String));
    await until("redis-server answers", async () => {
      if (this.child.ended) throw new Error(this.child.output);
      return (await this.ask((client) => client.ping())) === "PONG";
    });
  }

  /** Ends it; the connections of its clients close. */
  stop(signal = "SIGKILL") {
    return this.child.end(signal);
  }

  /** Connected but silent, as a hung machine is. */
  freeze() {
    this.child.signal("SIGSTOP");
  }

  thaw() {
    this.child.signal("SIGCONT");
  }

  /** `PUBLISH roomcast:publish <envelope>`, as a backend would. Returns how many nodes Redis gave it to. */
  publish(envelope) {
    const text = typeof envelope === "string" ? envelope : JSON.stringify(envelope);
    return this.ask((client) => client.publish("roomcast:publish", text));
  }

  /** One question over a connection of its own. */
  async ask(question) {
    const client = createClient({ url: this.url, socket: { reconnectStrategy: false, connectTimeout: 1000 } });
    client.on("error", () => {}); // the failing call says it
    try {
      await client.connect();
      return await question(client);
    } finally {
      client.destroy();
    }
  }

  close() {
    this.thaw();
    return this.child.end("SIGKILL");
  }
}
