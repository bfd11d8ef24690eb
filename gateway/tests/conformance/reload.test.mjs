// Another configuration for a running node, by signal and by file: nobody is disconnected for it.

import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Child } from "./support/child.mjs";
import { TRANSPORTS } from "./support/client.mjs";
import { Node, ROOMCAST, environment } from "./support/node.mjs";
import { freePort } from "./support/port.mjs";
import { stage } from "./support/stage.mjs";
import { SECRET, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const OTHER = `other-${SECRET}`;
const policy = (...rooms) =>
  `[identity]\nuser = "claims.sub"\n${rooms.map((room) => `[[join]]\nroom = "${room}"\n`).join("")}`;

describe("reloading", () => {
  const on = stage();
  const reloads = (node, outcome) => node.ops.metric("roomcast_reload_total", { outcome });

  /** A node whose policy and secret are files in its folder. */
  const start = (config = {}) => on.node({
    policy: policy("old"),
    files: { secret: SECRET },
    config: { auth: { jwt: { hmac_secret: undefined, hmac_secret_file: "secret" } }, ...config },
  });

  /** Does something, and waits until there is one more reload of that outcome. */
  async function after(node, outcome, change) {
    const before = await reloads(node, outcome);
    await change();
    await until(`one more reload is ${outcome}`, async () => (await reloads(node, outcome)) === before + 1);
  }

  const write = (node, name, text) => writeFileSync(join(node.folder, name), text);
  const hangup = (node) => node.child.signal("SIGHUP");
  const counted = async (node, room) => (await node.publish({ room, event: room, data: 1 })).sockets;

  for (const [how, config, signal] of [["by SIGHUP", { reload: { watch: false } }, hangup], ["by itself", {}, () => {}]]) {
    test(`${how} a node takes over policy and keys, and its clients stay connected`, async () => {
      const node = await start(config);
      const clients = await Promise.all(Object.values(TRANSPORTS).map((transports) =>
        on.connect(node, { token: token(), transports })));
      await after(node, "applied", () => {
        write(node, "policy.toml", policy("new"));
        return signal(node);
      });
      assert.deepEqual([await counted(node, "old"), await counted(node, "new")], [0, clients.length]);
      for (const client of clients) assert.deepEqual(await client.next("new"), [1]);

      await after(node, "applied", () => {
        write(node, "secret", OTHER);
        return signal(node);
      });
      const refused = await on.client(node, { token: token(), reconnection: false }).refused();
      assert.equal(refused.message, "the token's signature is not valid");
      const rotated = await on.connect(node, { token: token({}, { key: OTHER }) });
      assert.equal(await counted(node, "new"), clients.length + 1);
      await rotated.next("new");

      for (const client of clients) {
        assert.deepEqual(await client.next("new"), [1]);
        assert.deepEqual(client.inbox, [], "nothing else arrived: no event of the old room, no disconnect");
        assert.equal(client.socket.connected, true);
      }
    });
  }

  test("a file that is exchanged by a symbolic link, as a ConfigMap is", async () => {
    const node = await Node.prepare({ config: { policy: "mounted/policy.toml" } });
    on.nodes.push(node);
    const version = (name, text) => {
      mkdirSync(join(node.folder, name));
      write(node, join(name, "policy.toml"), text);
    };
    const swap = (name) => {
      symlinkSync(name, join(node.folder, "data.new"));
      renameSync(join(node.folder, "data.new"), join(node.folder, "data"));
    };
    version("1", policy("old"));
    version("2", policy("new"));
    mkdirSync(join(node.folder, "mounted"));
    swap("1");
    symlinkSync("../data/policy.toml", join(node.folder, "mounted/policy.toml"));
    await node.start();
    const client = await on.connect(node, { token: token() });
    await after(node, "applied", () => {
      swap("2");
      rmSync(join(node.folder, "1"), { recursive: true });
    });
    assert.deepEqual([await counted(node, "old"), await counted(node, "new")], [0, 1]);
    await client.next("new");
    assert.equal(client.count("disconnect"), 0);
  });

  test("a file with mistakes is refused with all of them, once, and the old one stays", async () => {
    const node = await start();
    const client = await on.connect(node, { token: token() });
    const refusals = () => node.log.split("\n").filter((line) => line.includes("is refused, the old one stays"));
    await after(node, "refused", () => {
      write(node, "secret", OTHER);
      write(node, "policy.toml", `[identity]\nuser = "claims."\n[[join]]\nwhen = "true"\n`);
    });
    const [line] = refusals();
    assert.match(line, /"level":"ERROR"/);
    assert.match(line, /identity/);
    assert.match(line, /join\[1\]/);
    assert.equal(await counted(node, "old"), 1);
    await client.next("old");
    await on.connect(node, { token: token() });

    await after(node, "refused", () => hangup(node)); // who asks is answered
    await after(node, "applied", () => write(node, "policy.toml", policy("old", "new")));
    assert.equal(refusals().length, 2, "the same content was complained about once, and once to who asked");
    assert.equal(client.count("disconnect"), 0);
    await on.connect(node, { token: token({}, { key: OTHER }) });
  });

  test("the level of the log changes, and what needs a restart is named", async () => {
    const node = await start({ log: { format: "json", level: "info" } });
    const debug = () => node.child.output.includes('"level":"DEBUG"');
    await on.connect(node, { token: token() });
    assert.equal(debug(), false);
    const text = node.configText();
    await after(node, "applied", () => write(node, "roomcast.toml", text.replace('"info"', '"debug"')));
    await on.client(node, { token: token() }).connected();
    await counted(node, "nobody");
    await until("a line at debug level", debug);
    await after(node, "unchanged", () => {
      write(node, "roomcast.toml", text.replace('"info"', '"debug"').replace(`${node.port}`, "1"));
    });
    const warning = node.log.split("\n").find((line) => line.includes("needs a restart"));
    assert.match(warning, /"keys":"listen"/);
    await on.connect(node, { token: token() });
  });

  test("serve --dev survives a SIGHUP, and says that there is nothing to reload", async () => {
    const [port, opsPort] = [await freePort(), await freePort()];
    const args = ["serve", "--dev", "--listen", `127.0.0.1:${port}`, "--ops-listen", `127.0.0.1:${opsPort}`];
    const dev = new Child("roomcast", ROOMCAST, args, { env: environment() });
    await until("it is up", async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok);
    dev.signal("SIGHUP");
    await until("it says so", () => dev.output.includes("nothing to reload"));
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.equal((await dev.end()).code, 0);
  });
});
