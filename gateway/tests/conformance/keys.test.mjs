// Where keys come from: an identity provider that rotates, stalls, fails, goes and returns; two issuers; two secrets.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { IdentityProvider, MISBEHAVIOUR } from "./support/idp.mjs";
import { Node, ROOMCAST, environment } from "./support/node.mjs";
import { stage } from "./support/stage.mjs";
import { ISSUER, SECRET, seconds, signer, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const UNKNOWN = "the token's key is not known";
const UNAVAILABLE = "the keys to check the token cannot be fetched now, try again later";
const SIGNATURE = "the token's signature is not valid";
const ALGORITHM = "the token's algorithm is not allowed";
const OTHER_ISSUER = "https://other-issuer.example";

describe("keys", () => {
  const on = stage();
  let redis;
  before(async () => (redis = await on.redis()));

  const provider = async (keys, options) => on.keep(await IdentityProvider.start({ keys, ...options }));

  /** The settings of a node whose keys are those of a provider alone. */
  const of = (idp, jwt = {}) => ({
    redis: { url: redis.url, prefix: `keys-${idp.port}` },
    auth: { jwt: { hmac_secret: undefined, algorithms: undefined, jwks_url: idp.url, ...jwt } },
  });

  const fetched = (node, count = 1) =>
    until(`${node.url} has fetched`, async () => (await node.ops.metric("roomcast_jwks_fetches_total")) >= count);

  const refusal = async (node, text) => {
    const client = on.client(node, { token: text, reconnection: false });
    const error = await client.refused();
    client.close();
    return error.message;
  };

  const count = (node, outcome) => node.ops.metric("roomcast_handshakes_total", { outcome });

  describe("two nodes and an identity provider", () => {
    let idp;
    let nodes;
    const keys = ["RS256", "PS256", "ES256", "ES384", "EdDSA"].map((alg) => signer(alg, `key-${alg}`));

    before(async () => {
      idp = await provider(keys);
      nodes = await Promise.all([1, 2].map(() => on.node({ config: of(idp, { jwks_cooldown: "1s" }) })));
      await Promise.all(nodes.map((node) => fetched(node)));
    });

    for (const [n, key] of keys.entries()) {
      test(`${key.alg}: right tokens connect to both, wrong ones to none`, async () => {
        const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: key.token() })));
        const answer = await nodes[0].publish({ room: "user:u1", event: "news", data: n });
        assert.equal(answer.sockets, nodes.length);
        for (const client of clients) assert.deepEqual(await client.next("news"), [n]);
        const imposter = signer(key.alg, key.kid);
        assert.equal(await refusal(nodes[0], imposter.token()), SIGNATURE);
        assert.equal(await refusal(nodes[1], key.token({ exp: seconds() - 60 })), "the token has expired");
        // The classic confusion, with the name of the key.
        const confused = token({}, { key: JSON.stringify(key.jwk), header: { kid: key.kid } });
        assert.equal(await refusal(nodes[0], confused), ALGORITHM);
      });
    }

    test("a new key is fetched once for all who come with it", async () => {
      const requests = idp.requests;
      const next = signer("RS256", "next");
      idp.keys = [...keys, next];
      const clients = await Promise.all(Array.from({ length: 50 }, (_, n) =>
        on.connect(nodes[0], { token: next.token({ sub: `u${n}` }) })));
      assert.equal(clients.length, 50);
      assert.equal(idp.requests, requests + 1);
      await on.connect(nodes[0], { token: next.token() });
      assert.equal(idp.requests, requests + 1);
      await on.connect(nodes[1], { token: next.token() });
      assert.equal(idp.requests, requests + 2, "each node asks for itself");
    });

    test("strangers cannot make a node ask all the time", async () => {
      const stranger = signer("ES256", "stranger");
      await until("it has cooled down", async () => {
        const requests = idp.requests;
        assert.equal(await refusal(nodes[0], stranger.token()), UNKNOWN);
        return idp.requests === requests + 1;
      }, { every: 300 });
      const [requests, began] = [idp.requests, performance.now()];
      const refused = await Promise.all(Array.from({ length: 50 }, () => refusal(nodes[0], stranger.token())));
      assert.deepEqual(new Set(refused), new Set([UNKNOWN]));
      const allowed = Math.ceil((performance.now() - began) / 1000); // one each second, as configured
      assert.ok(idp.requests <= requests + allowed, `${idp.requests - requests} fetches`);
    });

    test("a key that is taken back is refused after the next fetch", async () => {
      const [gone, ...rest] = keys;
      idp.keys = rest;
      await until("it is gone", async () => {
        await refusal(nodes[0], signer("ES256", "somebody").token()); // makes the node ask
        return (await refusal(nodes[0], gone.token())) === UNKNOWN;
      }, { every: 300 });
      await on.connect(nodes[0], { token: rest[0].token() });
      idp.keys = keys;
    });

    test("the metrics show keys and fetches; neither keys nor the query stand in the log", async () => {
      for (const node of nodes) {
        assert.ok((await node.ops.metric("roomcast_jwks_keys")) >= keys.length - 1);
        assert.ok((await node.ops.metric("roomcast_jwks_fetches_total", { outcome: "ok" })) > 0);
        const age = Date.now() / 1000 - (await node.ops.metric("roomcast_jwks_last_success_timestamp_seconds"));
        assert.ok(age >= -1 && age < 300, `${age} s`);
        assert.match(node.log, /the key set was fetched/);
        const secrets = ["secret-of-the-query", ...keys.map((key) => key.jwk.n ?? key.jwk.x)];
        for (const secret of secrets) assert.equal(node.log.includes(secret), false, secret);
      }
    });
  });

  describe("outages", () => {
    for (const way of [...Object.keys(MISBEHAVIOUR), "is gone"]) {
      test(`a provider that ${way}: known keys connect all the while, new ones when it is back`, async () => {
        const [known, late] = [signer("RS256", "known"), signer("ES256", "late")];
        const idp = await provider([known]);
        const timing = { jwks_refresh: "1s", jwks_cooldown: "1s", jwks_timeout: "1s" };
        const nodes = await Promise.all([1, 2].map(() => on.node({ config: of(idp, timing) })));
        await Promise.all(nodes.map((node) => fetched(node)));
        idp.keys = [known, late];
        if (way === "is gone") await idp.stop();
        else idp.behave(way);
        const failures = async (node) => (await node.ops.metric("roomcast_jwks_fetches_total")) -
          (await node.ops.metric("roomcast_jwks_fetches_total", { outcome: "ok" }));
        for (const node of nodes) await until("it has noticed", async () => (await failures(node)) >= 1);

        // While a fetch is under way and nobody answers it, too.
        const asking = refusal(nodes[0], late.token());
        if (way === "stalls") await until("a fetch is on its way", () => idp.pending > 0);
        for (const node of nodes) {
          const clients = await Promise.all(Array.from({ length: 20 }, () => on.connect(node, { token: known.token() })));
          assert.equal(clients.length, 20);
        }
        assert.equal(await asking, UNAVAILABLE);
        assert.equal(await count(nodes[0], "keys_unavailable"), 1);
        assert.equal(await nodes[0].ops.metric("roomcast_jwks_keys"), 1, "the good set stays");

        if (way === "is gone") await idp.start();
        else idp.behave();
        for (const node of nodes) {
          await until("the new key is here", async () => (await node.ops.metric("roomcast_jwks_keys")) === 2, { within: 30_000 });
          await on.connect(node, { token: late.token() });
          await on.connect(node, { token: known.token() });
          const lines = node.log.split("\n").filter((line) => line.includes("the key set cannot be fetched"));
          assert.equal(lines.length, 1, `one line for one outage:\n${lines.join("\n")}`);
        }
      });
    }

    test("a node starts while the provider is away, and lets in when it comes", async () => {
      const key = signer("EdDSA", "1");
      const idp = await provider([key]);
      await idp.stop();
      const node = await on.node({ config: of(idp, { jwks_cooldown: "1s" }) });
      assert.equal(await refusal(node, key.token()), UNAVAILABLE);
      await idp.start();
      await fetched(node);
      await until("it has the key", async () => (await node.ops.metric("roomcast_jwks_keys")) === 1, { within: 30_000 });
      await on.connect(node, { token: key.token() });
    });

    test("check-config does not ask anybody; explain does, once", async () => {
      const key = signer("ES384", "1");
      const idp = await provider([key]);
      const node = await Node.prepare({ config: of(idp) });
      on.nodes.push(node);
      // Not synchronously: the provider lives in this process.
      const run = (...args) => new Promise((resolve) => {
        execFile(ROOMCAST, args, { env: environment() }, (error, stdout, stderr) =>
          resolve({ code: error?.code ?? 0, output: stdout + stderr }));
      });
      const checked = await run("check-config", node.configFile);
      assert.deepEqual([checked.code, idp.requests], [0, 0], checked.output);
      const explained = await run("explain", "--config", node.configFile, "--token", key.token());
      assert.deepEqual([explained.code, idp.requests], [0, 1], explained.output);
      const refused = await run("explain", "--config", node.configFile, "--token", signer("ES384", "2").token());
      assert.equal(refused.code, 1);
      assert.ok(refused.output.includes(UNKNOWN), refused.output);
      await idp.stop();
      const away = await run("explain", "--config", node.configFile, "--token", key.token());
      assert.equal(away.code, 1);
      assert.ok(away.output.includes(UNAVAILABLE), away.output);
    });
  });

  test("two issuers cannot sign for each other", async () => {
    const [mine, theirs] = [signer("RS256", "same"), signer("RS256", "same")];
    const [unnamed, extra] = [signer("ES256", undefined), signer("ES256", "extra")];
    const [first, second] = [await provider([mine, extra]), await provider([theirs, unnamed])];
    const jwt = { jwks_url: [first.url, second.url], issuer: [ISSUER, OTHER_ISSUER] };
    const nodes = await Promise.all([1, 2].map(() => on.node({ config: of(first, jwt) })));
    const foreign = { iss: OTHER_ISSUER };
    for (const node of nodes) {
      await fetched(node, 2);
      for (const text of [mine.token(), extra.token(), theirs.token(foreign), unnamed.token(foreign)]) {
        await on.connect(node, { token: text });
      }
      for (const [text, message] of [
        [theirs.token(), SIGNATURE],
        [mine.token(foreign), SIGNATURE],
        [extra.token(foreign), UNKNOWN],
        [unnamed.token(), SIGNATURE],
        [mine.token({ iss: "https://nobody.example" }), "the token's issuer is not accepted"],
        [mine.token({ iss: undefined }), "the token's issuer is not accepted"],
        [mine.token({ iss: [ISSUER, OTHER_ISSUER] }), "the token's issuer is not accepted"],
      ]) {
        assert.equal(await refusal(node, text), message);
      }
    }
  });

  test("another configuration keeps the keys of a URL that stays, and fetches a new one", async () => {
    const [old, next] = [signer("RS256", "old"), signer("PS256", "next")];
    const [first, second] = [await provider([old]), await provider([next])];
    const node = await on.node({ config: of(first) });
    await fetched(node);
    const client = await on.connect(node, { token: old.token() });
    const applied = () => node.ops.metric("roomcast_reload_total", { outcome: "applied" });
    const reload = async (text) => {
      const before = await applied();
      writeFileSync(node.configFile, text);
      await until("it is in force", async () => (await applied()) === before + 1);
    };
    const text = node.configText();
    first.behave("stalls");
    await reload(text.replace('leeway = "5s"', 'leeway = "6s"'));
    await on.connect(node, { token: old.token() });
    assert.equal(first.requests, 1);
    await reload(text.replace(first.url, second.url));
    await on.connect(node, { token: next.token() });
    assert.equal(await refusal(node, old.token()), UNKNOWN);
    assert.deepEqual([first.requests, second.requests, client.count("disconnect")], [1, 2, 0]);
  });

  test("a key set that is a file is watched", async () => {
    const [old, next] = [signer("ES256", "old"), signer("EdDSA", "next")];
    const set = (...keys) => JSON.stringify({ keys: keys.map((key) => key.jwk) });
    const jwt = { hmac_secret: undefined, algorithms: undefined, jwks_file: "keys.json" };
    const node = await on.node({ config: { auth: { jwt } }, files: { "keys.json": set(old) } });
    await on.connect(node, { token: old.token() });
    assert.equal(await refusal(node, next.token()), UNKNOWN);
    const reloads = (outcome) => node.ops.metric("roomcast_reload_total", { outcome });
    writeFileSync(join(node.folder, "keys.json"), "<html>");
    await until("rubbish is refused", async () => (await reloads("refused")) === 1);
    await on.connect(node, { token: old.token() });
    writeFileSync(join(node.folder, "keys.json"), set(next));
    await until("the new set is in force", async () => (await reloads("applied")) === 1);
    await on.connect(node, { token: next.token() });
    assert.equal(await refusal(node, old.token()), UNKNOWN);
  });

  test("a secret is exchanged without refusing anybody", async () => {
    const fresh = `fresh-${SECRET}`;
    const secret = (current, previous) => ({
      config: { auth: { jwt: { hmac_secret: current, hmac_previous_secret: previous } } },
    });
    const [before, meanwhile, after] = [
      await on.node(secret(SECRET)), await on.node(secret(fresh, SECRET)), await on.node(secret(fresh)),
    ];
    const [old, next] = [token(), token({}, { key: fresh })];
    await on.connect(before, { token: old });
    assert.equal(await refusal(before, next), SIGNATURE);
    for (const text of [old, next]) await on.connect(meanwhile, { token: text });
    await on.connect(after, { token: next });
    assert.equal(await refusal(after, old), SIGNATURE);
    const args = ["token", "--user", "u1", "--config", meanwhile.configFile];
    const signed = execFileSync(ROOMCAST, args, { env: environment(), encoding: "utf8" }).trim();
    await on.connect(after, { token: signed });
  });

  test("a provider by https, with a certificate that the system trusts and one that it does not", async (t) => {
    const tls = certificate();
    if (!tls) return t.skip("there is no openssl to make a certificate with");
    on.keep({ close: () => rmSync(tls.folder, { recursive: true }) });
    const key = signer("RS256", "1");
    const idp = await provider([key], { tls });
    const trusting = await on.node({ config: of(idp), env: { SSL_CERT_FILE: tls.file } });
    await fetched(trusting);
    await on.connect(trusting, { token: key.token() });
    const distrusting = await on.node({ config: of(idp) });
    await fetched(distrusting);
    assert.equal(await refusal(distrusting, key.token()), UNAVAILABLE);
    assert.equal(await distrusting.ops.metric("roomcast_jwks_fetches_total", { outcome: "ok" }), 0);
  });
});

/** A certificate for localhost that has signed itself; `undefined` where there is no openssl. */
function certificate() {
  const folder = mkdtempSync(join(tmpdir(), "roomcast-tls-"));
  const [keyFile, file] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  try {
    execFileSync("openssl", [
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
      "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", keyFile, "-out", file,
    ], { stdio: "ignore" });
    return { key: readFileSync(keyFile), cert: readFileSync(file), file, folder };
  } catch (error) {
    rmSync(folder, { recursive: true });
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}
