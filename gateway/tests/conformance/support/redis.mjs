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
    return this.child.freeze();
  }

  thaw() {
    this.child.thaw();
  }

  /** `PUBLISH roomcast:publish <envelope>`, as a backend would. Returns how many nodes Redis gave it to. */
  publish(envelope) {
    return this.ask((client) => client.publish("roomcast:publish", text(envelope)));
  }

  /** One question over a connection of its own. */
  async ask(question) {
    const backend = await this.backend();
    try {
      return await question(backend.client);
    } finally {
      backend.close();
    }
  }

  /** A backend with a connection that stays. */
  async backend() {
    const client = createClient({ url: this.url, socket: { reconnectStrategy: false, connectTimeout: 1000 } });
    client.on("error", () => {}); // the failing call says it
    try {
      await client.connect();
      return new Backend(client);
    } catch (error) {
      client.destroy();
      throw error;
    }
  }

  close() {
    this.thaw();
    return this.child.end("SIGKILL");
  }
}

/** What a backend does with Redis alone. Commands of one backend are carried out in their order. */
class Backend {
  constructor(client) {
    this.client = client;
  }

  command(...words) {
    return this.client.sendCommand(words.map(String));
  }

  /** Publishes to one room in one step; the envelope may be JSON text. Answers `[offset, nodes]`. */
  call(room, envelope) {
    return this.command("FCALL", "roomcast_publish", 1, `roomcast:{${room}}`, text(envelope));
  }

  /** Appends to the stream that the nodes publish. Answers the entry's id. */
  append(envelope) {
    return this.command("XADD", "roomcast:ingest", "*", "envelope", text(envelope));
  }

  publish(envelope) {
    return this.command("PUBLISH", "roomcast:publish", text(envelope));
  }

  /** How often Redis was asked this, by anybody. */
  async calls(command) {
    const stats = await this.command("INFO", "commandstats");
    return Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, "m").exec(stats)?.[1] ?? 0);
  }

  close() {
    if (this.client.isOpen) this.client.destroy();
  }
}

const text = (envelope) => (typeof envelope === "string" ? envelope : JSON.stringify(envelope));
