// Who may connect: token places, algorithms, times, issuer and audience, and what a refused client is told.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { TRANSPORTS } from "./support/client.mjs";
import { stage } from "./support/stage.mjs";
import { AUDIENCE, ISSUER, SECRET, keyPair, seal, seconds, token, watchFor } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const MESSAGES = {
  token_missing: "no token: send it as auth.token or in the Authorization header",
  token_malformed: "the token is not a valid JWT",
  token_algorithm: "the token's algorithm is not allowed",
  token_signature: "the token's signature is not valid",
  token_expired: "the token has expired",
  token_not_yet_valid: "the token is not valid yet",
  token_issuer: "the token's issuer is not accepted",
  token_audience: "the token's audience is not accepted",
  claim_missing: "the token lacks a claim that is needed to connect",
};

const bearer = (text) => ({ extraHeaders: { authorization: `Bearer ${text}` } });
const other = "another-secret-0123456789-0123456789-0123456789";

/** One line each: what the client brings, and the refusal it gets. */
const REFUSED = [
  ["nothing at all", "token_missing", () => ({})],
  ["auth without a token", "token_missing", () => ({ auth: { user: "u1" } })],
  ["a token in the query only", "token_missing", () => ({ query: { token: token() } })],
  ["text that is no token", "token_malformed", () => ({ token: "not-a-token" })],
  ["a number", "token_malformed", () => ({ auth: { token: 7 } })],
  ["an object", "token_malformed", () => ({ auth: { token: { alg: "none" } } })],
  ["a payload that is no JSON", "token_malformed", () => ({ token: seal("{") })],
  ["a payload that is no object", "token_malformed", () => ({ token: seal("[1]") })],
  ["alg none", "token_algorithm", () => ({ token: token({}, { alg: "none" }) })],
  ["an algorithm outside the list", "token_algorithm", () => ({ token: token({}, { alg: "HS384" }) })],
  ["another secret", "token_signature", () => ({ token: token({}, { key: other }) })],
  ["claims changed after signing", "token_signature", () => ({ token: forged() })],
  ["no signature, alg unchanged", "token_signature", () => ({ token: token().replace(/[^.]*$/, "") })],
  ["expired", "token_expired", () => ({ token: token({ exp: seconds() - 60 }) })],
  ["not valid yet", "token_not_yet_valid", () => ({ token: token({ nbf: seconds() + 60 }) })],
  ["another issuer", "token_issuer", () => ({ token: token({ iss: "https://other.example" }) })],
  ["no issuer", "token_issuer", () => ({ token: token({ iss: undefined }) })],
  ["another audience", "token_audience", () => ({ token: token({ aud: "other" }) })],
  ["a list of other audiences", "token_audience", () => ({ token: token({ aud: ["x", "y"] }) })],
  ["no audience", "token_audience", () => ({ token: token({ aud: undefined }) })],
  ["no user", "claim_missing", () => ({ token: token({ sub: undefined }) })],
  ["no expiry", "claim_missing", () => ({ token: token({ exp: undefined }) })],
  ["a bad header", "token_malformed", () => bearer("not-a-token")],
  ["an expired token in the header", "token_expired", () => bearer(token({ exp: seconds() - 60 }))],
  ["a bad auth.token beside a good header", "token_malformed", () => ({ token: "bad", ...bearer(token()) })],
  ["an expired auth.token beside a good header", "token_expired",
    () => ({ token: token({ exp: seconds() - 60 }), ...bearer(token()) })],
];

const ACCEPTED = [
  ["auth.token", () => ({ token: token() })],
  ["auth as a function", () => ({ auth: (give) => give({ token: token() }) })],
  ["the Authorization header", () => bearer(token())],
  ["auth.token before a bad header", () => ({ token: token(), ...bearer("bad") })],
  ["an expiry inside the leeway", () => ({ token: token({ exp: seconds() - 1 }) })],
  ["a start inside the leeway", () => ({ token: token({ nbf: seconds() + 2 }) })],
  ["one of several audiences", () => ({ token: token({ aud: ["other", AUDIENCE] }) })],
];

describe("handshake", () => {
  const on = stage();
  let node;
  before(async () => (node = await on.node()));

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    describe(name, () => {
      for (const [what, options] of ACCEPTED) {
        test(`${what}: connects`, async () => {
          const client = await on.connect(node, { transports, ...options() });
          assert.ok(client.socket.id);
          const expected = name === "polling" ? "polling" : "websocket";
          await until(`transport is ${expected}`, () => client.transport === expected);
        });
      }

      for (const [what, code, options] of REFUSED) {
        test(`${what}: ${code}`, () => assertRefused(node, code, { transports, ...options() }));
      }
    });
  }

  test("a client that was refused may try again with a better token", async () => {
    const client = on.client(node, { token: token({ exp: seconds() - 60 }) });
    await client.refused();
    client.socket.auth = { token: token() };
    client.socket.connect();
    await client.connected();
  });

  test("accepted handshakes are counted, and ended connections leave nothing behind", async () => {
    const accepted = () => node.ops.metric("roomcast_handshakes_total", { outcome: "accepted" });
    await until("earlier clients are gone", async () => (await node.ops.stats()).node.connected === 0);
    const counted = await accepted();
    const clients = await Promise.all(Object.values(TRANSPORTS).map((t) => on.connect(node, { token: token(), transports: t })));
    assert.equal(await accepted(), counted + clients.length);
    assert.deepEqual(pick((await node.ops.stats()).node), { connected: 3, users: 1 });
    on.closeClients();
    await until("nobody is counted", async () => {
      const { connected, users, rooms } = (await node.ops.stats()).node;
      return connected + users + rooms === 0 && (await node.ops.metric("roomcast_connections")) === 0;
    });
  });

  describe("algorithms", () => {
    for (const alg of ["HS256", "HS384", "HS512"]) {
      test(`${alg} with the secret`, () => assertDecides(on, alg, { key: SECRET, wrong: other }, {}));
    }

    for (const alg of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]) {
      test(`${alg} with a PEM key`, async () => {
        const { key, pem } = keyPair(alg);
        const jwt = { hmac_secret: undefined, public_key_file: "key.pem" };
        const node = await assertDecides(on, alg, { key, wrong: keyPair(alg).key }, jwt, { "key.pem": pem });
        // The classic confusion: the public key, which everybody may know, taken as the secret of an HS token.
        for (const secret of [pem, pem.trim()]) {
          await assertRefused(node, "token_algorithm", { token: token({}, { alg: "HS256", key: secret }) });
        }
        await assertRefused(node, "token_algorithm", { token: token({}, { alg: "none" }) });
      });
    }

    test("a secret and a public key side by side: each verifies its own kind only", async () => {
      const { key, pem } = keyPair("RS256");
      const jwt = { public_key_file: "key.pem", algorithms: ["HS256", "RS256"] };
      const node = await on.node({ config: { auth: { jwt } }, files: { "key.pem": pem } });
      await on.connect(node, { token: token() });
      await on.connect(node, { token: token({}, { alg: "RS256", key }) });
      for (const secret of [pem, pem.trim()]) {
        await assertRefused(node, "token_signature", { token: token({}, { alg: "HS256", key: secret }) });
      }
    });

    test("without a list, the keys that are there decide; issuer and audience are free when not named", async () => {
      const node = await on.node({ config: { auth: { jwt: { algorithms: undefined, issuer: undefined, audience: undefined } } } });
      await on.connect(node, { token: token({ iss: undefined, aud: undefined }, { alg: "HS512" }) });
      await assertRefused(node, "token_algorithm", { token: token({}, { alg: "none" }) });
    });

    test("several issuers and audiences may be accepted", async () => {
      const jwt = { issuer: ["https://old.example", ISSUER], audience: ["mobile", "web"] };
      const node = await on.node({ config: { auth: { jwt } } });
      await on.connect(node, { token: token({ iss: "https://old.example", aud: "web" }) });
      await on.connect(node, { token: token({ aud: ["x", "mobile"] }) });
      await assertRefused(node, "token_audience", { token: token({ aud: AUDIENCE }) });
    });
  });

  test("a node may offer websocket only", async () => {
    const node = await on.node({ config: { engine: { transports: ["websocket"] } } });
    await on.connect(node, { token: token() });
    const client = on.client(node, { token: token(), transports: ["polling"], reconnection: false });
    assert.match((await client.refused()).message, /xhr poll error/);
  });

  async function assertRefused(node, code, options) {
    const count = () => node.ops.metric("roomcast_handshakes_total", { outcome: code });
    const counted = await count();
    const client = on.client(node, options);
    const error = await client.refused();
    assert.equal(error.message, MESSAGES[code]);
    assert.equal(client.socket.active, false, "the client must not come back by itself");
    assert.equal(await count(), counted + 1, `outcome="${code}"`);
    client.close();
  }

  /** A node with that algorithm alone lets the right key in and nothing else. */
  async function assertDecides(on, alg, { key, wrong }, jwt, files) {
    const node = await on.node({ config: { auth: { jwt: { ...jwt, algorithms: [alg] } } }, files });
    await on.connect(node, { token: token({}, { alg, key }) });
    await assertRefused(node, "token_signature", { token: token({}, { alg, key: wrong }) });
    return node;
  }
});

function forged() {
  const [header, , signature] = token().split(".");
  return watchFor([header, token({ sub: "somebody-else" }).split(".")[1], signature].join("."));
}

const pick = ({ connected, users }) => ({ connected, users });
