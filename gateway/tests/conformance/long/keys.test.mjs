// Handshakes while the identity provider is away: how many, how long they take, and that none is refused. For `./test long`.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pace } from "node:timers/promises";
import { IdentityProvider } from "../support/idp.mjs";
import { stage } from "../support/stage.mjs";
import { signer } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const SECONDS = Number(process.env.ROOMCAST_OUTAGE_SECONDS ?? 60);
const CALM = Math.min(20, SECONDS);
const EVERY = 50; // ms between two handshakes

const OUTAGES = {
  "stalls": { leave: (idp) => idp.behave("stalls"), back: (idp) => idp.behave() },
  "is gone": { leave: (idp) => idp.stop(), back: (idp) => idp.start() },
};

describe(`handshakes during ${SECONDS} seconds without the identity provider`, () => {
  const on = stage();

  for (const [way, { leave, back }] of Object.entries(OUTAGES)) {
    test(`a provider that ${way}: every client with a known key connects`, async (t) => {
      const key = signer("RS256", "known");
      const idp = on.keep(await IdentityProvider.start({ keys: [key] }));
      const jwt = { hmac_secret: undefined, algorithms: undefined, jwks_url: idp.url, jwks_refresh: "2s", jwks_cooldown: "1s" };
      const redis = await on.redis();
      const config = { redis: { url: redis.url }, auth: { jwt }, log: { level: "info" } };
      const nodes = await Promise.all([1, 2].map(() => on.node({ config })));
      for (const node of nodes) await until("it has the keys", async () => (await node.ops.metric("roomcast_jwks_keys")) === 1);

      const failed = async () => {
        const fetches = await Promise.all(nodes.map(async (node) => (await node.ops.metric("roomcast_jwks_fetches_total")) -
          (await node.ops.metric("roomcast_jwks_fetches_total", { outcome: "ok" }))));
        return fetches.reduce((sum, one) => sum + one, 0);
      };
      const phases = [];
      phases.push(await phase("before", CALM));
      await leave(idp);
      phases.push(await phase("during", SECONDS));
      assert.ok((await failed()) >= 2, "the nodes have noticed");
      await back(idp);
      phases.push(await phase("after", CALM));
      for (const line of phases) t.diagnostic(`${way}, ${line}`);
      t.diagnostic(`${way}: ${idp.requests} requests reached the provider, ${await failed()} fetches failed`);

      /** Handshakes at a steady pace, and strangers between them who make the nodes ask. */
      async function phase(name, seconds) {
        const [took, running, strangers] = [[], [], []];
        const end = performance.now() + seconds * 1000;
        for (let n = 0; performance.now() < end; n += 1) {
          running.push(handshake(nodes[n % 2], key.token({ sub: `u${n}` })).then((ms) => took.push(ms)));
          if (n % 10 === 0) {
            const stranger = on.client(nodes[n % 2], { token: signer("ES256", `stranger-${n}`).token(), reconnection: false });
            strangers.push(stranger.refused().then(() => stranger.close()));
          }
          await pace(EVERY);
        }
        await Promise.all([...running, ...strangers]); // none may be refused, and none let in
        took.sort((a, b) => a - b);
        const at = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))].toFixed(1);
        return `${name}: ${took.length} handshakes in ${seconds} s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms; ${strangers.length} strangers refused`;
      }
    });
  }

  /** Milliseconds from the first byte to `connect`. */
  async function handshake(node, token) {
    const began = performance.now();
    const client = await on.connect(node, { token, reconnection: false });
    const took = performance.now() - began;
    client.close();
    on.clients.splice(on.clients.indexOf(client), 1);
    return took;
  }
});
