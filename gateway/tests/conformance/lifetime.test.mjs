// The life of a token on a live socket: the warning, the end, and another token in its place.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { TRANSPORTS } from "./support/client.mjs";
import { connectedAll, formed } from "./support/cluster.mjs";
import { stage } from "./support/stage.mjs";
import { seconds, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const LEEWAY = 1;
const WAYS = Object.entries(TRANSPORTS).filter(([way]) => way !== "upgrade");
const KEY = { key: "another-secret-0123456789-0123456789-0123456789-0123456789" };

describe("the life of a token", () => {
  const on = stage();
  let nodes;

  before(async () => {
    const redis = await on.redis();
    const config = { redis: { url: redis.url }, auth: { jwt: { leeway: `${LEEWAY}s` } } };
    nodes = await Promise.all([1, 2].map(() => on.node({ config })));
    await connectedAll(nodes);
    await formed(nodes);
  });

  const refreshes = (outcome) => nodes[0].ops.metric("roomcast_auth_refreshes_total", { outcome });
  const rooms = async (user) => (await nodes[0].ops.api(`/users/${user}`)).sockets[0]?.rooms.toSorted();
  const refresh = (client, claims, options) => client.ask("auth:refresh", { token: token(claims, options) });
  const ends = (reason) => nodes[0].ops.metric("roomcast_disconnects_total", { reason });

  for (const [way, transports] of WAYS) {
    describe(way, () => {
      let number = 0;
      /** Somebody whom nobody else is: `{sub, …}`. */
      const somebody = (more) => ({ sub: `${way}-${(number += 1)}`, ...more });
      const connect = (claims) => on.connect(nodes[0], { token: token(claims), transports });

      test("a warning, then the end: away for good, and nothing is left", async () => {
        const exp = seconds() + 5;
        const [ended, expired] = [await ends("token_expired"), await nodes[0].ops.metric("roomcast_auth_expired_total")];
        const ann = somebody({ exp, contacts: ["*"] });
        const client = await connect(ann);
        await client.ask("subscribe:contact", ann.sub);
        assert.deepEqual((await client.next("disconnect"))[0], "io server disconnect");
        assert.ok(Date.now() >= (exp + LEEWAY) * 1000, "not before its end");
        assert.equal(client.socket.active, false, "it does not come back by itself");
        assert.deepEqual(await client.next("auth:expiring"), [{ expiresAt: exp * 1000 }]);
        assert.equal(client.count("auth:expiring"), 0, "one warning");
        await until("nothing is left", async () => (await nodes[0].ops.stats()).node.connected === 0);
        const stats = (await nodes[0].ops.stats()).node;
        assert.deepEqual([stats.users, stats.rooms], [0, 0]);
        assert.equal(await nodes[0].ops.metric("roomcast_connections"), 0);
        assert.equal((await nodes[1].publish({ room: `contact:${ann.sub}`, event: "e" })).sockets, 0);
        await until("it is counted", async () => (await ends("token_expired")) === ended + 1);
        assert.equal(await nodes[0].ops.metric("roomcast_auth_expired_total"), expired + 1);
        const line = nodes[0].log.split("\n").find((one) => one.includes("its token has expired") && one.includes(ann.sub));
        assert.match(line, /"level":"INFO"/);
        // With the same token it stays outside; with another one it is in again, over the same socket.
        client.socket.connect();
        assert.equal((await client.refused()).message, "the token has expired");
        client.socket.auth = { token: token({ sub: ann.sub }) };
        client.socket.connect();
        await client.next("connect");
      });

      test("another token in time moves the end", async () => {
        const exp = seconds() + 5;
        const ann = somebody({ exp });
        const client = await connect(ann);
        await client.next("auth:expiring");
        const later = seconds() + 600;
        assert.deepEqual(await refresh(client, { ...ann, exp: later }), { ok: true, expiresAt: later * 1000 });
        await until("its first end is over", () => Date.now() > (exp + LEEWAY) * 1000 + 500);
        assert.ok((await client.ask("ping")).timestamp);
        assert.deepEqual([client.count("disconnect"), client.count("auth:expiring")], [0, 0]);
        // One that ends sooner ends it sooner.
        assert.equal((await refresh(client, { ...ann, exp: seconds() + 1 })).ok, true);
        assert.equal((await client.next("disconnect"))[0], "io server disconnect");
      });

      test("a refused token is refused with its code, and all stays as it was", async () => {
        const ann = somebody({ tenant_id: "t1", contacts: ["1"] });
        const client = await connect(ann);
        await client.ask("subscribe:contact", "1");
        const before = await rooms(ann.sub);
        const identity = ["identity_changed", "the token belongs to another user or tenant"];
        const shape = ["bad_data", "the data does not fit the rule of this event"];
        for (const [sent, [code, message]] of [
          [{ token: token({ ...ann, sub: "eve" }) }, identity],
          [{ token: token({ ...ann, tenant_id: "t2" }) }, identity],
          [{ token: token({ ...ann, tenant_id: undefined }) }, identity],
          [{ token: token({ ...ann, exp: seconds() - 60 }) }, ["token_expired", "the token has expired"]],
          [{ token: token(ann, KEY) }, ["token_signature", "the token's signature is not valid"]],
          [{ token: token({ ...ann, iss: "https://evil.example" }) }, ["token_issuer", "the token's issuer is not accepted"]],
          [{ token: "garbage" }, ["token_malformed", "the token is not a valid JWT"]],
          [{}, shape],
          [{ token: 7 }, shape],
          [token(ann), shape],
          [undefined, shape],
        ]) {
          const answer = await until("it is looked at", async () => {
            const answer = await client.ask("auth:refresh", ...(sent === undefined ? [] : [sent]));
            return answer.code !== "rate_limited" && answer;
          }, { every: 300 });
          assert.deepEqual(answer, { ok: false, code, message });
        }
        assert.deepEqual(await rooms(ann.sub), before);
        assert.equal(client.count("disconnect"), 0);
        assert.equal((await nodes[1].publish({ room: "contact:1", event: "still", data: 1 })).sockets, 1);
        assert.deepEqual(await client.next("still"), [1]);
        assert.ok((await refreshes("identity_changed")) >= 3);
      });

      test("the rooms follow the claims, before the answer, on all nodes", async () => {
        const ann = somebody({ account_id: `${way}-old`, contacts: ["1", "2"] });
        const client = await connect(ann);
        for (const contact of ["1", "2"]) await client.ask("subscribe:contact", contact);
        await nodes[1].ops.api("/join", { user: ann.sub, rooms: ["backend"] });
        assert.equal((await refresh(client, { ...ann, account_id: `${way}-new`, contacts: ["2", "3"] })).ok, true);
        for (const node of nodes) {
          for (const [room, sockets] of [
            [`user:${way}-old`, 0], ["contact:1", 0], [`user:${way}-new`, 1], ["contact:2", 1], ["backend", 1], [`user:${ann.sub}`, 1],
          ]) {
            const answer = await node.publish({ room, event: "news", data: room });
            assert.equal(answer.sockets, sockets, room);
            if (sockets) assert.deepEqual(await client.next("news"), [room]);
          }
        }
        assert.deepEqual(await rooms(ann.sub), ["backend", "contact:2", "system", `user:${way}-new`, `user:${ann.sub}`].sort());
        assert.equal((await client.ask("subscribe:contact", "3")).ok, true);
        assert.equal((await client.ask("subscribe:contact", "1")).code, "not_allowed");
        const [socket] = (await nodes[0].ops.api(`/users/${ann.sub}`)).sockets;
        assert.equal(socket.id, client.socket.id, "the same connection");
        assert.equal(client.count("disconnect"), 0);
      });

      test("who types in a room that is lost has stopped for the others", async () => {
        const [ann, bob] = [somebody({ contacts: [way] }), somebody({ contacts: [way] })];
        const [typing, watching] = [await connect(ann), await on.connect(nodes[1], { token: token(bob), transports })];
        for (const client of [typing, watching]) await client.ask("subscribe:contact", way);
        typing.emit("typing:start", { contactId: way });
        assert.equal((await watching.next("typing:indicator"))[0].isTyping, true);
        assert.equal((await refresh(typing, { ...ann, contacts: [] })).ok, true);
        assert.equal((await watching.next("typing:indicator"))[0].isTyping, false);
        assert.equal((await typing.ask("typing:start", { contactId: way })).code, "not_in_room");
      });

      test("what is sent behind it is judged by the new claims", async () => {
        const ann = somebody({ contacts: ["1"] });
        const client = await connect(ann);
        client.emit("auth:refresh", { token: token({ ...ann, account_id: `${way}-more`, contacts: ["2"] }) });
        const answers = await Promise.all([client.ask("subscribe:contact", "1"), client.ask("subscribe:contact", "2")]);
        assert.deepEqual(answers.map((answer) => answer.ok), [false, true]);
        assert.ok((await rooms(ann.sub)).includes(`user:${way}-more`));
      });

      test("without an ack it works likewise, and a refusal is only counted", async () => {
        const ann = somebody({ contacts: ["1"] });
        const client = await connect(ann);
        const refused = await refreshes("token_malformed");
        client.emit("auth:refresh", { token: "garbage" });
        client.emit("auth:refresh", { token: token({ ...ann, contacts: ["2"] }) });
        assert.equal((await client.ask("subscribe:contact", "2")).ok, true);
        assert.equal(await refreshes("token_malformed"), refused + 1);
        assert.deepEqual(client.inbox.filter((one) => one.event !== "connect"), []);
      });

      test("a flood is not looked at, and answered", async () => {
        const ann = somebody();
        const client = await connect(ann);
        const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(client, ann)));
        const accepted = answers.filter((answer) => answer.ok);
        assert.ok(accepted.length >= 5 && accepted.length < 20, `${accepted.length}`);
        for (const { retryAfter, ...answer } of answers.filter((one) => !one.ok)) {
          const message = "too many events, send them more slowly";
          assert.deepEqual(answer, { ok: false, code: "rate_limited", message, retry: true });
          assert.ok(Number.isInteger(retryAfter) && retryAfter >= 1 && retryAfter <= 1000, `${retryAfter}`);
        }
        await until("it is let through again", async () => (await refresh(client, ann)).ok);
      });
    });
  }

  test("many end in the same second, and all of them do", async () => {
    const ways = Object.values(TRANSPORTS);
    const clients = await Promise.all(Array.from({ length: 60 }, (_, n) =>
      on.connect(nodes[n % 2], { token: token({ sub: `many-${n}` }), transports: ways[n % 3] })));
    const exp = seconds() + 8;
    const answers = await Promise.all(clients.map((client, n) => refresh(client, { sub: `many-${n}`, exp })));
    assert.ok(answers.every((answer) => answer.ok));
    for (const client of clients) {
      assert.equal((await client.next("disconnect", 30_000))[0], "io server disconnect");
      await client.next("auth:expiring");
    }
    await until("nobody is left", async () => (await nodes[0].ops.stats()).cluster.connected === 0);
  });
});
