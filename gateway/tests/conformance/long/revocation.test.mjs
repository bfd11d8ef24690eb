// How long it takes from the call to the last client's being gone, on three nodes. For `./test long`: it is measured and
// printed, and only what would be a loss is an error.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formed } from "../support/cluster.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { within } from "../support/until.mjs";

const COUNT = Number(process.env.ROOMCAST_REVOCATIONS ?? 200);
const LOST = 10_000;

describe(`${COUNT} revocations on three nodes`, () => {
  const on = stage();

  for (const by of ["jti", "user"]) {
    test(`by ${by}: every socket of every node goes`, async (t) => {
      const redis = await on.redis();
      const nodes = await Promise.all([1, 2, 3].map(() => on.node({ config: { redis: { url: redis.url }, log: { level: "info" } } })));
      await formed(nodes);
      const users = await Promise.all(Array.from({ length: COUNT }, async (_, n) => {
        const [sub, jti] = [`user-${by}-${n}`, `token-${by}-${n}`];
        const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token({ sub, jti }) })));
        return { clients, body: by === "jti" ? { jti } : { user: sub } };
      }));
      const [calls, ends] = [[], []];
      for (const [n, { clients, body }] of users.entries()) {
        const began = performance.now();
        const gone = Promise.all(clients.map((client) => new Promise((resolve) => client.socket.once("disconnect", resolve))));
        const answer = nodes[n % nodes.length].ops.api("/revoke", body).then((said) => {
          calls.push(performance.now() - began);
          return said;
        });
        const reasons = await within(`all sockets of ${JSON.stringify(body)} are gone`, gone, LOST);
        ends.push(performance.now() - began);
        assert.deepEqual(reasons, clients.map(() => "io server disconnect"));
        assert.deepEqual(await answer, { sockets: 3, nodes: 3, complete: true, missing: [] });
      }
      t.diagnostic(`by ${by}, from the call to its answer: ${percentiles(calls)}`);
      t.diagnostic(`by ${by}, from the call to the last client's disconnect: ${percentiles(ends)}`);
    });
  }
});

function percentiles(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(1);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}
