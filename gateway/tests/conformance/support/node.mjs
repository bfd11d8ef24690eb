// One gateway node: its config file, its process, its log.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Child } from "./child.mjs";
import { Ops } from "./ops.mjs";
import { keepSecretsOf } from "./output.mjs";
import { freePort } from "./port.mjs";
import { AUDIENCE, ISSUER, SECRET, signedParts } from "./token.mjs";
import { merge, toToml } from "./toml.mjs";
import { until } from "./until.mjs";

const gateway = resolve(import.meta.dirname, "../../..");
export const TARGET = process.env.CARGO_TARGET_DIR ?? join(gateway, "../target");
export const ROOMCAST = resolve(process.env.ROOMCAST_BIN ?? join(TARGET, "debug/roomcast"));
export const POLICY = join(gateway, "policies/whatsapp-crm.toml");
export const CHAT = join(gateway, "policies/chat.toml");
export const API_KEY = "conformance-api-key-0123456789";
export const ORIGIN = "http://app.example";

const folders = new Set();

export class Node {
  #read = 0;

  /**
   * `config` is merged over the usual one; `undefined` removes a key. `policy` is the text of a policy file of its own.
   * `files` are written beside the config file, which names them by their relative paths. `env` is added to the
   * environment of the process.
   */
  static async prepare({ config, policy, files = {}, env = {} } = {}) {
    const node = new Node();
    node.env = env;
    node.port = await freePort();
    node.opsPort = await freePort();
    node.url = `http://127.0.0.1:${node.port}`;
    node.ops = new Ops(`http://127.0.0.1:${node.opsPort}`, API_KEY);
    node.folder = mkdtempSync(join(tmpdir(), "roomcast-node-"));
    folders.add(node.folder);
    node.configFile = join(node.folder, "roomcast.toml");
    if (policy) files["policy.toml"] = policy;
    for (const [name, text] of Object.entries(files)) writeFileSync(join(node.folder, name), text);
    const usual = {
      listen: `127.0.0.1:${node.port}`,
      policy: policy ? "policy.toml" : POLICY,
      ops: { listen: `127.0.0.1:${node.opsPort}` },
      auth: { jwt: { hmac_secret: SECRET, issuer: ISSUER, audience: AUDIENCE, algorithms: ["HS256"], leeway: "5s" } },
      api: { keys: [API_KEY] },
      cors: { allowed_origins: [ORIGIN] },
      drain: { wait: "0s" }, // no load balancer is in front of it
      log: { format: "json", level: "debug" },
    };
    node.config = merge(usual, config);
    keepSecretsOf(node.config, node.folder);
    writeFileSync(node.configFile, toToml(node.config) + "\n");
    return node;
  }

  /** Starts the process, again after an end, and waits for the answer that says it is up. */
  async start({ answers = "/readyz" } = {}) {
    this.keepLog();
    this.child = new Child("roomcast", ROOMCAST, ["serve", "--config", this.configFile], { env: environment(this.env) });
    const up = until(`node answers 200 at ${answers}`, async () => (await this.ops.get(answers)).status === 200);
    const ended = this.child.exit.then((exit) => {
      throw new Error(`${ROOMCAST} ended (${JSON.stringify(exit)}) instead of serving:\n${this.child.tail()}`);
    });
    await Promise.race([up, ended]);
    return this;
  }

  /** Ends it as a rollout does. Anything but exit 0 within the limit is an error. */
  async stop(limit) {
    const exit = await this.child.end("SIGTERM", limit);
    assert.deepEqual({ code: exit.code, signal: exit.signal }, { code: 0, signal: null }, this.child.tail());
  }

  kill() {
    return this.child.end("SIGKILL");
  }

  publish(envelope) {
    return this.ops.publish(envelope);
  }

  /** Its id in the cluster, new with each start. */
  async id() {
    return (await this.ops.stats()).node.id;
  }

  /** Ends whatever still runs and checks what must hold for every node in every suite. */
  async close() {
    try {
      if (this.child && !this.child.ended) await this.stop();
    } finally {
      keepSecretsOf(this.config, this.folder); // files may hold others by now
      removeFolder(this.folder);
    }
    this.assertNoSecretInLog();
  }

  /** Neither a part of a token nor a key may stand in the log of any node. Looks at what is new. */
  assertNoSecretInLog() {
    const log = this.log;
    const unseen = log.slice(Math.max(0, this.#read - 4096));
    this.#read = log.length;
    const words = unseen.split(/[^\w-]+/).filter((word) => word.length > 20);
    const secret = [SECRET, API_KEY].find((key) => unseen.includes(key)) ?? words.find((word) => signedParts.has(word));
    if (secret) assert.fail(`a secret stands in the log: ${unseen.split("\n").find((line) => line.includes(secret))}`);
  }

  configText() {
    return readFileSync(this.configFile, "utf8");
  }

  get log() {
    return (this.earlier ?? "") + (this.child?.output ?? "");
  }

  keepLog() {
    this.earlier = this.log;
  }
}

/** The environment without settings that would change the node. */
export function environment(extra = {}) {
  const clean = Object.entries(process.env).filter(([key]) => !key.startsWith("ROOMCAST_") && key !== "RUST_LOG");
  return { ...Object.fromEntries(clean), ...extra };
}

function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

process.on("exit", () => folders.forEach(removeFolder));
