// A real RabbitMQ of its own: ports, data, cookie and name server (epmd). It can be stopped, killed, frozen and started
// again with what it had stored.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import amqp from "amqplib";
import { Child } from "./child.mjs";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

/** The script of the package, not the wrapper, which would become another user. */
const BIN = process.env.RABBITMQ_BIN ?? "/usr/lib/rabbitmq/bin";
const USER = "crm";
/** May stand in no log, in no form. */
export const PASSWORD = "rabbit-p@ss/word";

const folders = new Set();

export class Rabbit {
  static async start() {
    const rabbit = await Rabbit.prepare();
    await rabbit.start();
    return rabbit;
  }

  /** Everything that it needs, without a process. */
  static async prepare() {
    const rabbit = new Rabbit();
    [rabbit.port, rabbit.distribution, rabbit.names] = [await freePort(), await freePort(), await freePort()];
    rabbit.folder = mkdtempSync(join(tmpdir(), "roomcast-rabbit-"));
    folders.add(rabbit.folder);
    for (const name of ["home", "mnesia", "log", "config", "plugins", "schema"]) mkdirSync(join(rabbit.folder, name));
    rabbit.url = `amqp://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${rabbit.port}`;
    writeFileSync(join(rabbit.folder, "enabled_plugins"), "[].\n");
    writeFileSync(join(rabbit.folder, "rabbitmq.conf"), [
      `listeners.tcp.default = 127.0.0.1:${rabbit.port}`,
      `default_user = ${USER}`,
      `default_pass = ${PASSWORD}`,
      "disk_free_limit.absolute = 1MB",
      "log.file = false",
      "log.console = true",
      "log.console.level = warning",
    ].join("\n") + "\n");
    return rabbit;
  }

  get environment() {
    const inside = (name) => join(this.folder, name);
    return {
      PATH: process.env.PATH,
      LANG: "C.UTF-8",
      HOME: inside("home"),
      ERL_EPMD_PORT: String(this.names),
      ERL_EPMD_ADDRESS: "127.0.0.1",
      RABBITMQ_NODENAME: `roomcast-${this.port}@localhost`,
      RABBITMQ_DIST_PORT: String(this.distribution),
      RABBITMQ_CONFIG_FILE: inside("rabbitmq.conf"),
      RABBITMQ_CONF_ENV_FILE: inside("none"),
      RABBITMQ_ADVANCED_CONFIG_FILE: inside("none"),
      RABBITMQ_ENABLED_PLUGINS_FILE: inside("enabled_plugins"),
      RABBITMQ_PLUGINS_EXPAND_DIR: inside("plugins"),
      RABBITMQ_GENERATED_CONFIG_DIR: inside("config"),
      RABBITMQ_SCHEMA_DIR: inside("schema"),
      RABBITMQ_MNESIA_BASE: inside("mnesia"),
      RABBITMQ_LOG_BASE: inside("log"),
      RABBITMQ_PID_FILE: inside("pid"),
      // As few threads as such a small one needs, and a process that is the broker itself, so that a signal is for it.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 2:2 +A 4 +sbwt none",
      RUNNING_UNDER_SYSTEMD: "true",
    };
  }

  /** Starts it, again with the same data after a stop, and waits until it takes connections. */
  async start() {
    if (!this.epmd || this.epmd.ended) {
      // Of its own: the broker would leave one behind that outlives it.
      this.epmd = new Child("epmd", "epmd", ["-port", String(this.names), "-address", "127.0.0.1"]);
    }
    const options = { env: this.environment, cwd: this.folder };
    this.child = new Child("rabbitmq-server", join(BIN, "rabbitmq-server"), [], options);
    await until("rabbitmq-server takes connections", async () => {
      if (this.child.ended) throw new Error(this.child.output);
      await (await this.connect()).close();
      return true;
    }, { within: 60_000, every: 100 });
  }

  /** Ends it, as a machine does that loses its power. */
  async kill() {
    await this.child.end("SIGKILL");
    // It still knows the name of the dead one, for a while.
    await this.epmd.end("SIGKILL");
  }

  /** Connected but silent, as a hung machine is. */
  freeze() {
    return this.child.freeze();
  }

  thaw() {
    this.child.thaw();
  }

  async connect() {
    const connection = await amqp.connect(this.url, { timeout: 2000, heartbeat: 5 });
    connection.on("error", () => {}); // the failing call says it
    connection.setMaxListeners(0);
    return connection;
  }

  /** A backend with a connection that stays as long as the broker. */
  async backend() {
    const connection = await this.connect();
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {});
    return new Backend(connection, channel);
  }

  /** One question over a connection of its own. */
  async ask(question) {
    const backend = await this.backend();
    try {
      return await question(backend);
    } finally {
      await backend.close();
    }
  }

  /** Everything in a queue, in somebody's hand or not. */
  async depth(queue) {
    const rows = await this.ctl("list_queues", "--quiet", "--no-table-headers", "name", "messages");
    const row = rows.split("\n").map((line) => line.split("\t")).find(([name]) => name === queue);
    if (!row) throw new Error(`no queue ${queue} in ${rows}`);
    return Number(row[1]);
  }

  async ctl(...args) {
    const options = { env: this.environment, cwd: this.folder, timeout: 60_000 };
    return (await promisify(execFile)(join(BIN, "rabbitmqctl"), ["--node", this.environment.RABBITMQ_NODENAME, ...args], options)).stdout;
  }

  async close() {
    this.thaw();
    await Promise.all([this.child?.end("SIGKILL"), this.epmd?.end("SIGKILL")]);
    removeFolder(this.folder);
  }
}

/** What a backend does with a queue. */
class Backend {
  constructor(connection, channel) {
    Object.assign(this, { connection, channel });
  }

  /** Puts a message into a queue and waits until the broker has stored it. An object is sent as JSON. */
  send(queue, message, properties = {}) {
    const body = Buffer.isBuffer(message) ? message : Buffer.from(typeof message === "string" ? message : JSON.stringify(message));
    return new Promise((resolve, reject) => {
      const sent = (error) => (error ? reject(error) : resolve());
      this.channel.publish("", queue, body, { persistent: true, mandatory: true, ...properties }, sent);
    });
  }

  /** The next message of a queue, taken from it: `{text, headers, properties}`, or nothing. */
  async take(queue) {
    const message = await this.channel.get(queue, { noAck: true });
    if (!message) return undefined;
    const { headers, ...properties } = message.properties;
    return { text: message.content.toString(), headers, properties };
  }

  async close() {
    try {
      await this.connection.close();
    } catch {
      // It was closed before.
    }
  }
}

function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

process.on("exit", () => folders.forEach(removeFolder));
