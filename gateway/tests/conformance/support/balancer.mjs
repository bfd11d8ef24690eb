// nginx, HAProxy and Traefik as docs/load-balancers ships them, in front of nodes of a test.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Child } from "./child.mjs";
import { TARGET, environment } from "./node.mjs";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

const SHIPPED = resolve(import.meta.dirname, "../../../../docs/load-balancers");
/** Where `./test` puts it, and where Debian puts the other two. */
const PATH = [join(TARGET, "tools/bin"), process.env.PATH, "/usr/sbin"].join(":");

/** Traefik is a large program, and has to be read first. */
const START = 30_000;
/** The nodes of the shipped files. */
const NODES = ["10.0.1.1:3000", "10.0.1.2:3000", "10.0.1.3:3000"];

/** The files of each balancer: under which name they are there, where it listens, how it is started. */
const PRODUCTS = {
  nginx: {
    files: (stickiness) => ({ "nginx.conf": `nginx-${stickiness}.conf` }),
    listens: { "nginx.conf": ["listen 80;", (address) => `listen ${address};`] },
    // Neither a daemon nor a pid file in the system's place: both belong to whoever starts it.
    command: (folder) => ["nginx", ["-c", join(folder, "nginx.conf"), "-g", `daemon off; pid ${folder}/pid;`]],
  },
  haproxy: {
    files: (stickiness) => ({ "haproxy.cfg": `haproxy-${stickiness}.cfg` }),
    listens: { "haproxy.cfg": ["bind :80\n", (address) => `bind ${address}\n`] },
    command: (folder) => ["haproxy", ["-db", "-f", join(folder, "haproxy.cfg")]],
  },
  traefik: {
    files: (stickiness) => ({ "traefik.yaml": "traefik.yaml", "dynamic.yaml": `traefik-${stickiness}.yaml` }),
    listens: { "traefik.yaml": ['address: ":80"', (address) => `address: "${address}"`] },
    command: () => ["traefik", ["--configfile=traefik.yaml"]],
  },
};

export const BALANCERS = Object.keys(PRODUCTS).flatMap((product) =>
  ["cookie", "hash"].map((stickiness) => ({ product, stickiness, name: `${product}, ${stickiness}` })));

/** How long each file lets somebody be silent: `[file, [[text, seconds]]]`. */
export function timeouts() {
  const files = new Set(BALANCERS.flatMap(({ product, stickiness }) => Object.values(PRODUCTS[product].files(stickiness))));
  files.delete("traefik.yaml"); // which concerns what comes in
  const silence = /(?:proxy_read_timeout|proxy_send_timeout|timeout (?:client|server|tunnel)|responseHeaderTimeout:) +(\d+)s/g;
  return [...files].map((file) => {
    const text = readFileSync(join(SHIPPED, file), "utf8").replace(/location = \/serving-node \{.*?\n +\}\n/s, ""); // a question to a node
    const found = [...text.matchAll(silence)];
    return [file, found.map(([text, seconds]) => [text, Number(seconds)])];
  });
}

/** nginx makes folders where only root may. */
export const canRun = ({ product }) => product !== "nginx" || process.getuid() === 0;

export class Balancer {
  /**
   * Starts the shipped files with nothing in them changed but the addresses of the three nodes and its own; each has to be
   * there. `edit` changes a text further, for what must not work.
   */
  static async start({ product, stickiness, name }, nodes, edit = (text) => text) {
    const { files, listens, command } = PRODUCTS[product];
    const balancer = new Balancer();
    Object.assign(balancer, { name, stickiness, folder: mkdtempSync(join(tmpdir(), "roomcast-balancer-")) });
    const address = `127.0.0.1:${await freePort()}`;
    balancer.url = `http://${address}`;
    for (const [file, shipped] of Object.entries(files(stickiness))) {
      let text = readFileSync(join(SHIPPED, shipped), "utf8");
      const [listen, own] = listens[file] ?? [];
      if (listen) text = replaced(text, listen, own(address), shipped);
      if (!listen || product !== "traefik") {
        NODES.forEach((one, n) => (text = replaced(text, one, `127.0.0.1:${nodes[n].port}`, shipped)));
      }
      assert.doesNotMatch(text, /\b10\.0\.1\.\d/, `${shipped} names a node that is none of ${NODES}`);
      writeFileSync(join(balancer.folder, file), edit(text, file));
    }
    const [program, args] = command(balancer.folder);
    balancer.child = new Child(name, program, args, { cwd: balancer.folder, env: environment({ PATH }) });
    const up = until(`${name} passes requests on`, () => balancer.#passes(), { within: START });
    const ended = balancer.child.exit.then(() => {
      throw new Error(`${program} ended instead of serving:\n${balancer.child.tail()}`);
    });
    try {
      await Promise.race([up, ended]);
      return balancer;
    } catch (error) {
      await balancer.close();
      throw error;
    }
  }

  async close() {
    await this.child.end("SIGTERM").catch(() => {}); // it may wait for its connections: it is killed then
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A wrong request, which only a node answers like this. */
  async #passes() {
    return (await fetch(`${this.url}/socket.io/?EIO=4&transport=none`)).status === 400;
  }
}

function replaced(text, from, to, where) {
  assert.ok(text.includes(from), `${where} holds ${JSON.stringify(from)}`);
  return text.replaceAll(from, to);
}
