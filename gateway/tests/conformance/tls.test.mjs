// TLS on both listeners of two nodes, and certificates that are exchanged while clients are connected.

import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, describe, test } from "node:test";
import { Child } from "./support/child.mjs";
import { TRANSPORTS } from "./support/client.mjs";
import { formed } from "./support/cluster.mjs";
import { API_KEY, Node, ROOMCAST, environment } from "./support/node.mjs";
import { stage } from "./support/stage.mjs";
import { Authority, SecureOps, get, greet } from "./support/tls.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

describe("TLS", () => {
  const on = stage();
  let authority;
  let ca;
  let redis;
  let nodes;

  before(async () => {
    authority = on.keep(new Authority());
    ca = authority.pem;
    redis = await on.redis();
    nodes = await Promise.all([start("ecdsa", "rsa"), start("rsa", "ed25519")]);
  });

  beforeEach(() => formed(nodes));

  /** A node whose certificates lie behind a symbolic link, as those of a mounted secret do. */
  async function start(publicKind, opsKind) {
    const node = await Node.prepare({
      config: {
        redis: { url: redis.url },
        server: { tls_cert_file: "public/tls.crt", tls_key_file: "public/tls.key" },
        ops: { tls_cert_file: "ops/tls.crt", tls_key_file: "ops/tls.key" },
      },
    });
    on.nodes.push(node);
    node.url = `https://127.0.0.1:${node.port}`;
    node.ops = new SecureOps(`https://127.0.0.1:${node.opsPort}`, API_KEY, ca);
    node.certificate = authority.sign(publicKind);
    mount(node, "public", node.certificate);
    mount(node, "ops", authority.sign(opsKind));
    return node.start();
  }

  const mounted = new Map();
  let versions = 0;

  /** Puts both files of a pair there at once, and what was there before away. */
  function mount(node, name, { cert, key }) {
    const folder = join(node.folder, name);
    const version = `..${(versions += 1)}`;
    mkdirSync(join(folder, version), { recursive: true });
    writeFileSync(join(folder, version, "tls.crt"), cert);
    writeFileSync(join(folder, version, "tls.key"), key);
    symlinkSync(version, join(folder, "..data.new"));
    renameSync(join(folder, "..data.new"), join(folder, "..data"));
    const old = mounted.get(folder);
    if (old) rmSync(join(folder, old), { recursive: true });
    else for (const file of ["tls.crt", "tls.key"]) symlinkSync(join("..data", file), join(folder, file));
    mounted.set(folder, version);
  }

  const reloads = (node, outcome) => node.ops.metric("roomcast_reload_total", { outcome });
  const handshakes = (node, outcome) => node.ops.metric("roomcast_tls_handshakes_total", { outcome });

  async function after(node, outcome, change) {
    const before = await reloads(node, outcome);
    await change();
    await until(`one more reload is ${outcome}`, async () => (await reloads(node, outcome)) === before + 1);
  }

  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    test(`clients connect by ${way} and hear of what is published on the other node`, async () => {
      const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token(), transports, ca })));
      for (const [n, node] of nodes.entries()) {
        const { sockets, complete } = await node.publish({ room: "user:u1", event: "news", data: n });
        assert.deepEqual({ sockets, complete }, { sockets: 2, complete: true });
        for (const client of clients) assert.deepEqual(await client.next("news"), [n]);
      }
      for (const client of clients) assert.ok((await client.ask("ping")).timestamp);
    });
  }

  test("a large event goes both ways", async () => {
    const client = await on.connect(nodes[0], { token: token(), ca });
    const text = "ünï".repeat(10_000);
    await nodes[1].publish({ room: "user:u1", event: "large", data: text });
    assert.deepEqual(await client.next("large"), [text]);
  });

  test("who does not trust the certificate does not connect", async () => {
    for (const transports of Object.values(TRANSPORTS)) {
      const client = on.client(nodes[0], { token: token(), transports, reconnection: false });
      assert.match((await client.refused()).message, /websocket error|xhr poll error/);
    }
  });

  test("plain HTTP and a plain websocket get nothing, and the node goes on", async () => {
    const before = await handshakes(nodes[0], "failed");
    for (const url of [nodes[0].url, nodes[0].ops.url]) await assert.rejects(fetch(url.replace("https", "http")));
    const client = on.client({ url: nodes[0].url.replace("https", "http") }, { token: token(), reconnection: false });
    await client.refused();
    await until("they are counted", async () => (await handshakes(nodes[0], "failed")) >= before + 3);
    assert.equal((await get(`${nodes[0].url}/healthz`, ca)).status, 200);
  });

  test("/healthz and the operations listener", async () => {
    for (const node of nodes) {
      assert.equal(await (await get(`${node.url}/healthz`, ca)).text(), "ok");
      for (const path of ["/livez", "/readyz", "/metrics"]) assert.equal((await node.ops.get(path)).status, 200, path);
      assert.equal((await node.ops.api("/nodes")).nodes.length, nodes.length);
      const expiry = await node.ops.metric("roomcast_tls_certificate_expiry_timestamp_seconds", { listener: "public" });
      assert.equal(expiry, node.certificate.expires);
    }
  });

  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    test(`${version} is spoken`, async () => {
      const { protocol } = await greet(nodes[0].port, ca, { minVersion: version, maxVersion: version });
      assert.equal(protocol, version);
    });
  }

  test("TLSv1.1 is not", async () => {
    const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" };
    await assert.rejects(greet(nodes[0].port, ca, old), { code: /_ALERT_(PROTOCOL_VERSION|HANDSHAKE_FAILURE)$/ });
  });

  test("the command line asks by https", async () => {
    for (const where of [["--url", nodes[0].ops.url], ["--config", nodes[0].configFile]]) {
      const env = environment({ SSL_CERT_FILE: authority.file });
      const child = new Child("roomcast stats", ROOMCAST, ["stats", ...where], { env });
      assert.equal((await child.exit).code, 0, child.output);
      assert.match(child.stdout, /connected/);
    }
  });

  test("certificates are exchanged for who comes, and who is connected stays", async () => {
    const [node] = nodes;
    const clients = await Promise.all(Object.values(TRANSPORTS).map((transports) =>
      on.connect(node, { token: token(), transports, ca })));
    const before = node.certificate;
    assert.equal((await greet(node.port, ca)).fingerprint, before.fingerprint);
    for (const kind of ["ed25519", "rsa"]) {
      node.certificate = authority.sign(kind, 2);
      await after(node, "applied", () => mount(node, "public", node.certificate));
      assert.equal((await greet(node.port, ca)).fingerprint, node.certificate.fingerprint);
      const expiry = await node.ops.metric("roomcast_tls_certificate_expiry_timestamp_seconds", { listener: "public" });
      assert.equal(expiry, node.certificate.expires);
    }
    const ops = authority.sign();
    await after(node, "applied", () => mount(node, "ops", ops));
    assert.equal((await greet(node.opsPort, ca)).fingerprint, ops.fingerprint);

    const late = await on.connect(node, { token: token(), ca });
    assert.equal((await nodes[1].publish({ room: "user:u1", event: "news", data: 1 })).sockets, clients.length + 1);
    for (const client of [...clients, late]) {
      assert.deepEqual(await client.next("news"), [1]);
      assert.deepEqual(client.inbox, [], "nothing else arrived: no disconnect");
    }
  });

  test("a broken certificate is refused, and the old one stays", async () => {
    const [node] = nodes;
    const { fingerprint } = node.certificate;
    const client = await on.connect(node, { token: token(), ca });
    const other = authority.sign();
    for (const [bad, why] of [
      [{ ...other, key: authority.sign().key }, "does not belong to the first certificate"],
      [{ ...other, cert: "" }, "the file is empty"],
      [{ ...other, cert: other.cert.slice(0, -100) }, "damaged"],
      [{ ...other, key: other.cert }, "no private key is in it"],
    ]) {
      await after(node, "refused", () => mount(node, "public", bad));
      assert.equal((await greet(node.port, ca)).fingerprint, fingerprint);
      const [line] = node.log.split("\n").filter((one) => one.includes("is refused, the old one stays")).slice(-1);
      assert.ok(line.includes(why), line);
    }
    await on.connect(node, { token: token(), ca });
    node.certificate = other;
    await after(node, "applied", () => mount(node, "public", other));
    assert.equal((await greet(node.port, ca)).fingerprint, other.fingerprint);
    assert.deepEqual(client.inbox, []);
  });

  test("a node stops cleanly, and its clients come back", async () => {
    const [, node] = nodes;
    const clients = await Promise.all(Object.values(TRANSPORTS).map((transports) =>
      on.connect(node, { token: token(), transports, ca, reconnectionDelayMax: 500 })));
    await node.stop();
    for (const client of clients) assert.match((await client.next("disconnect"))[0], /^transport (close|error)$/);
    await node.start();
    for (const client of clients) await client.next("connect", 20_000);
    await formed(nodes);
    assert.equal((await nodes[0].publish({ room: "user:u1", event: "again", data: 1 })).sockets, clients.length);
    for (const client of clients) assert.deepEqual(await client.next("again"), [1]);
  });
});
