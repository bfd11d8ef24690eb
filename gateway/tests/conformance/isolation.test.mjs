// A second tenant tries every event, room and relay to reach the first one, and gets nothing. Two nodes, a real Redis.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { formed } from "./support/cluster.mjs";
import { FEED, tenant } from "./support/crm.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };
const KINDS = ["whatsapp", "campaign", "contact"];
const A = tenant("a");
const B = tenant("b");

/** Arguments that should name one of A's rooms, or several, or all. */
const HOSTILE = (id, kind) => [
  id, `${id} `, ` ${id}`, `${id},${kind}:${id}`, `x,${kind}:${id}`, `${kind}:${id}`, `x\u0000${id}`, `${id}\u0000`, `${id}\n`, `${id}\u007f`,
  `{${id}}`, `${id}}`, "{tenant}", "{claims.sub}", "${id}", "%2A", "*", "**", `${id}*`, "?", ".*", `${id}|x`, `../${kind}:${id}`,
  id.replace("a", "а"), id.toUpperCase(), `${id}\u200b`, `${id}\u0301`, `\ufeff${id}`, "__proto__", "constructor", "prototype",
  "x".repeat(10_240), id.repeat(2_000), "", null, true, false, 1, 1.5, -1, Number.MAX_SAFE_INTEGER, [id], [[id]], [], {}, { id }, { [id]: true },
  { toString: id }, { arg: id }, { 0: id, length: 1 }, Buffer.from(id), { $binary: Buffer.from(id).toString("base64") },
];

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`isolation, ${way}`, () => {
    const on = stage();
    let backend;
    let nodes;
    let number = 0;

    before(async () => {
      const redis = await on.redis();
      backend = on.keep(await redis.backend());
      nodes = await Promise.all([1, 2].map(() => on.node({ config: { redis: { url: redis.url } } })));
    });

    beforeEach(() => formed(nodes));

    const connect = (n, claims, options) => on.connect(nodes[n], { token: token(claims), transports, ...options });

    /** A tenant's users: one on each node, in all rooms that are theirs. */
    async function users({ claims, query, asked }) {
      const both = await Promise.all([0, 1].map((n) => connect(n, claims, { query })));
      for (const one of both) {
        for (const [kind, id] of Object.entries(asked)) assert.equal((await one.ask(`subscribe:${kind}`, id)).ok, true);
      }
      return both;
    }

    async function bothTenants() {
      return { ours: await users(A), theirs: await users(B) };
    }

    /**
     * Sends everything that a tenant's backends and users send, and sees that its own users get exactly that: every room
     * by every way in, the feed, and somebody who types.
     */
    async function sendEverything({ side, ids, asked, automatic, onRequest }, own) {
      const secret = `of ${side}, ${(number += 1)}`;
      const expected = [];
      for (const [r, room] of [...automatic, ...onRequest].entries()) {
        const answer = await nodes[r % 2].publish({ room, event: "secret", data: `${secret}: api, ${room}` });
        assert.deepEqual([answer.sockets, answer.nodes, answer.complete], [2, 2, true], `only its own are in ${room}`);
        await backend.call(room, { event: "secret", data: `${secret}: function, ${room}` });
        await backend.publish({ room, event: "secret", data: `${secret}: channel, ${room}` });
        for (const by of ["api", "function", "channel"]) expected.push(`${secret}: ${by}, ${room}`);
      }
      await backend.command("PUBLISH", FEED, JSON.stringify({ type: "secret", tenantId: ids.tenant, data: `${secret}: feed` }));
      expected.push(`${secret}: feed`);
      for (const one of own) {
        const got = [];
        for (const _ of expected) got.push((await one.next("secret"))[0]);
        assert.deepEqual(got.sort(), [...expected].sort());
      }
      const [typist, other] = own;
      for (const event of ["typing:start", "typing:stop"]) {
        assert.deepEqual(await typist.ask(event, { contactId: asked.contact, whatsappAccountId: secret }), { ok: true });
        const [indicator] = await other.next("typing:indicator");
        assert.deepEqual([indicator.whatsappAccountId, indicator.userId], [secret, ids.user]);
      }
    }

    /** Whatever was on its way has passed by these clients. */
    async function settled(clients) {
      for (const node of nodes) await node.publish({ room: "system", event: "settled" });
      await backend.publish({ room: "system", event: "settled" });
      await backend.call("system", { event: "settled" });
      for (const one of clients) for (let n = 0; n < nodes.length + 2; n += 1) await one.next("settled");
    }

    /** Both send everything; neither has anything of the other, nor anything else but answers to what it sent itself. */
    async function assertApart({ ours, theirs }, answers = []) {
      await sendEverything(A, ours);
      await sendEverything(B, theirs);
      await settled([...ours, ...theirs]);
      for (const one of ours) assert.deepEqual(one.inbox, [], "A got something of B");
      for (const one of theirs) {
        assert.deepEqual(one.inbox.filter(({ event }) => !answers.includes(event)), [], "B got something of A");
        const text = JSON.stringify(one.inbox);
        assert.ok(!text.includes("of a,") && !text.includes("user-a"), "an answer speaks of A");
      }
      for (const room of [...A.automatic, ...A.onRequest]) {
        const { members } = await nodes[0].ops.api(`/rooms/${encodeURIComponent(room)}?list=100`);
        assert.deepEqual(members.map(({ user }) => user), [A.ids.user, A.ids.user], room);
      }
    }

    test("two tenants side by side, with everything that is their own", async () => {
      await assertApart(await bothTenants());
    });

    for (const kind of KINDS) {
      test(`subscribe:${kind} and unsubscribe:${kind} with A's ids, and everything that may look like one`, async () => {
        const scene = await bothTenants();
        const own = B.asked[kind];
        const ids = [...new Set([...Object.values(A.asked), ...Object.values(A.ids)])];
        for (const argument of [...ids, ...HOSTILE(A.asked[kind], kind)]) {
          const shown = JSON.stringify(argument)?.slice(0, 60);
          for (const one of scene.theirs) {
            const answer = await one.ask(`subscribe:${kind}`, argument);
            assert.equal(answer.ok, false, shown);
            assert.ok(["not_allowed", "bad_argument"].includes(answer.code), `${shown}: ${answer.code}`);
          }
          scene.theirs[0].emit(`subscribe:${kind}`, argument, { tenant_id: A.ids.tenant });
          const left = await scene.theirs[1].ask(`unsubscribe:${kind}`, argument);
          assert.equal(typeof left.ok, "boolean", shown);
        }
        // More arguments are nobody's business: the first decides.
        assert.equal((await scene.theirs[0].ask(`subscribe:${kind}`, own, A.asked[kind])).room, `${kind}:${own}`);
        assert.equal((await scene.theirs[0].ask(`subscribe:${kind}`, A.asked[kind], own)).ok, false);
        await assertApart(scene, ["subscribe:error"]);
      });
    }

    test("relays into A's rooms", async () => {
      const scene = await bothTenants();
      const [typist] = scene.theirs;
      const targets = [...HOSTILE(A.asked.contact, "contact"), A.asked.whatsapp, A.ids.tenant, "system"];
      for (const [n, contactId] of targets.entries()) {
        for (const event of ["typing:start", "typing:stop"]) {
          const shown = JSON.stringify(contactId)?.slice(0, 60);
          const data = { contactId, whatsappAccountId: A.asked.whatsapp, userId: A.ids.user, tenantId: A.ids.tenant };
          const { ok, code } = await until("not too fast", async () => {
            const answer = await typist.ask(event, data);
            return answer.code !== "rate_limited" && answer;
          });
          assert.equal(ok, false, shown);
          assert.ok(["not_in_room", "bad_argument"].includes(code), `${shown}: ${code}`);
          if (n % 5 === 0) typist.emit(event, data);
        }
      }
      await assertApart(scene);
    });

    test("A's ids inside of a relay to B's own room reach B's others alone, with B's name", async () => {
      const scene = await bothTenants();
      const forged = { contactId: B.asked.contact, whatsappAccountId: A.asked.whatsapp, userId: A.ids.user, room: `contact:${A.asked.contact}`,
        rooms: A.onRequest, tenantId: A.ids.tenant, user: A.ids.user, isTyping: "x", except: [], namespace: "/", to: A.ids.user };
      assert.deepEqual(await scene.theirs[0].ask("typing:start", forged, { contactId: A.asked.contact }), { ok: true });
      const [{ timestamp, ...seen }] = await scene.theirs[1].next("typing:indicator");
      assert.deepEqual(seen, { contactId: B.asked.contact, whatsappAccountId: A.asked.whatsapp, isTyping: true, userId: B.ids.user });
      assert.ok(timestamp);
      assert.deepEqual(await scene.theirs[0].ask("typing:stop", forged), { ok: true });
      assert.equal((await scene.theirs[1].next("typing:indicator"))[0].userId, B.ids.user);
      await assertApart(scene);
    });

    test("bytes and markers inside of a relay break nobody's connection", async () => {
      const scene = await bothTenants();
      const values = [Buffer.from("x"), { $binary: "eA==" }, { _placeholder: true, num: 0 }, { _placeholder: true, num: 7 }, [Buffer.from("x"), 1]];
      for (const whatsappAccountId of values) {
        const { ok } = await scene.theirs[0].ask("typing:start", { contactId: B.asked.contact, whatsappAccountId });
        if (ok) await scene.theirs[1].next("typing:indicator");
      }
      const { ok } = await scene.theirs[0].ask("typing:stop", { contactId: B.asked.contact });
      assert.equal(ok, true);
      await scene.theirs[1].next("typing:indicator");
      await assertApart(scene);
    });

    test("A's names in the query, in auth and in headers", async () => {
      const lies = { tenant_id: A.ids.tenant, tenant: A.ids.tenant, tenantId: A.ids.tenant, sub: A.ids.user, user: A.ids.user, userId: A.ids.user,
        account_id: A.ids.account, claims: JSON.stringify(A.claims), room: A.automatic[0], rooms: A.automatic, "claims.sub": A.ids.user,
        token: token(A.claims), botId: A.ids.bot };
      const scene = { ours: await users(A), theirs: await users({ ...B, query: { ...lies, botId: B.ids.bot } }) };
      const liars = [
        await connect(0, B.claims, { query: lies }),
        await connect(1, undefined, { auth: { ...lies, claims: A.claims, token: token(B.claims) } }),
        await connect(0, B.claims, { extraHeaders: { authorization: `Bearer ${token(A.claims)}`, "x-tenant-id": A.ids.tenant, "x-user-id": A.ids.user } }),
      ];
      for (const one of liars) {
        const { rooms } = (await nodes[0].ops.api(`/users/${B.ids.user}`)).sockets.find(({ id }) => id === one.socket.id);
        assert.deepEqual(rooms.sort(), ["system", "tenant:t-b", "user:acc-b", "user:user-b"]);
        one.close();
      }
      await until("they are gone", async () => (await nodes[0].ops.api(`/users/${B.ids.user}`)).connected === 2);
      await assertApart(scene);
    });

    const bots = [A.ids.bot, `${B.ids.bot},${A.ids.bot}`, `${B.ids.bot}:x`, `../${A.ids.bot}`, "*", "{user}", `x:bot:${A.ids.bot}`, "", " ", "\u0000",
      `${B.ids.bot}\n`, `${B.ids.bot}}`, "b".repeat(10_240), "__proto__", "constructor", "[object Object]", "null", "undefined", "true", "0"];
    test("bots that are not B's: connected, and in no room of a bot", async () => {
      const ours = await users(A);
      const open = [];
      for (const [n, botId] of bots.entries()) {
        const query = n % 2 ? { botId } : { "botId[]": A.ids.bot, bot: A.ids.bot, BotId: A.ids.bot, botId };
        open.push(await connect(n % 2, B.claims, { query }));
      }
      for (const { rooms } of (await nodes[0].ops.api(`/users/${B.ids.user}`)).sockets) {
        assert.deepEqual(rooms.sort(), ["system", "tenant:t-b", "user:acc-b", "user:user-b"]);
      }
      assert.equal((await nodes[0].ops.api(`/users/${B.ids.user}`)).connected, bots.length);
      await sendEverything(A, ours);
      await settled([...ours, ...open]);
      for (const one of open) assert.deepEqual(one.inbox, []);
    });

    test("names of events that are the gateway's, the protocol's or a backend's", async () => {
      const scene = await bothTenants();
      const names = ["message:received", "secret", "typing:indicator", "system:notification", "team:activity", "auth:expiring",
        "join", "leave", "publish", "emit", "broadcast", "to", "room", "rooms", "subscribe", "presence", "history", "settled", "pong", "*"];
      for (const name of names) {
        for (const data of [{ room: A.automatic[0], event: "secret", data: "of b" }, A.ids.tenant, [A.ids.user]]) {
          const { ok, code } = await scene.theirs[0].ask(name, data);
          assert.deepEqual([ok, code], [false, "unknown_event"], name);
          scene.theirs[1].emit(name, data);
        }
      }
      // Takes a token of the same user, and nothing else.
      for (const data of [{ room: A.automatic[0] }, A.ids.tenant, { token: token(A.claims) }]) {
        const { ok, code } = await scene.theirs[0].ask("auth:refresh", data);
        assert.deepEqual([ok, code], [false, data.token ? "identity_changed" : "bad_data"]);
      }
      // The client itself would refuse to send these.
      for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
        const [, theirs] = scene.theirs;
        theirs.socket.io._packet({ type: 2, nsp: "/", data: [name, { room: A.automatic[0] }], options: {} });
      }
      await scene.theirs[1].ask("ping");
      await assertApart(scene, ["pong"]);
    });

    test("other namespaces do not exist", async () => {
      const scene = await bothTenants();
      for (const namespace of ["/admin", `/${A.ids.tenant}`, "/user:user-a", "//", "/*"]) {
        const one = scene.theirs[0].socket.io.socket(namespace, { auth: { token: token(B.claims) } });
        const error = await new Promise((resolve, reject) => {
          one.once("connect_error", resolve).once("connect", () => reject(new Error(`connected to ${namespace}`)));
          one.connect();
        });
        assert.equal(error.message, "Invalid namespace");
      }
      await assertApart(scene);
    });

    const others = { sub: B.ids.user };
    const wrong = {
      "a text for the lists": { ...others, whatsapp_accounts: A.asked.whatsapp, campaigns: A.asked.campaign, contacts: A.asked.contact, bots: A.ids.bot },
      "a longer text": { ...others, whatsapp_accounts: `x ${A.asked.whatsapp} x`, campaigns: "*", contacts: "*", bots: "*" },
      "true for the lists": { ...others, whatsapp_accounts: true, campaigns: 1, contacts: {}, bots: null },
      "lists of lists": { ...others, whatsapp_accounts: [[A.asked.whatsapp]], campaigns: [["*"]], contacts: [{ id: A.asked.contact }], bots: [[A.ids.bot]] },
      "nearly a wildcard": { ...others, whatsapp_accounts: ["**"], campaigns: [" *"], contacts: [".*", "%", "k-*"], bots: ["b-*"] },
      "claims of other names": { ...others, whatsappAccounts: [A.asked.whatsapp], campaign: [A.asked.campaign], contact: A.asked.contact, tenantId: A.ids.tenant,
        tenant: A.ids.tenant, accountId: A.ids.account, user: A.ids.user, claims: A.claims },
      "claims inside of claims": { ...others, app_metadata: A.claims, "https://example.com/claims": A.claims },
      "lists for account and tenant": { ...others, account_id: [A.ids.account], tenant_id: undefined },
      "an object for the account": { ...others, account_id: { id: A.ids.account } },
      "an account that is none": { ...others, account_id: `${A.ids.account}\n` },
      "an account in braces": { ...others, account_id: "{claims.sub}" },
      "a tenant in braces": { ...others, tenant_id: "{tenant}" },
      "a tenant with a line end": { ...others, tenant_id: `${A.ids.tenant}\n` },
      "nulls": { ...others, account_id: null, tenant_id: null, bots: null, contacts: null },
    };
    for (const [name, claims] of Object.entries(wrong)) {
      test(`claims of the wrong shape, ${name}: no room of A's`, async () => {
        const ours = await users(A);
        const one = await connect(0, claims, { query: A.query });
        for (const [kind, id] of Object.entries(A.asked)) assert.equal((await one.ask(`subscribe:${kind}`, id)).ok, false, kind);
        assert.equal((await one.ask("typing:start", { contactId: A.asked.contact })).ok, false);
        const [{ rooms }] = (await nodes[1].ops.api(`/users/${B.ids.user}`)).sockets;
        assert.deepEqual(rooms.filter((room) => ![...A.automatic, ...A.onRequest].includes(room)).sort(), rooms.sort());
        await sendEverything(A, ours);
        await settled([...ours, one]);
        assert.deepEqual(one.inbox, []);
        for (const each of ours) assert.deepEqual(each.inbox, []);
      });
    }

    for (const [name, claims] of Object.entries({
      "a list": { sub: B.ids.user, tenant_id: [A.ids.tenant] },
      "an object": { sub: B.ids.user, tenant_id: { id: A.ids.tenant } },
      "true": { sub: B.ids.user, tenant_id: true },
      "an empty text": { sub: B.ids.user, tenant_id: "" },
    })) {
      test(`a tenant that is ${name}: refused`, async () => {
        const one = on.client(nodes[0], { token: token(claims), transports });
        assert.equal((await one.refused()).message, "the token lacks a claim that is needed to connect");
      });
    }

    test("afterwards everybody is gone, and nothing is left of them", async () => {
      await assertApart(await bothTenants());
      on.closeClients();
      for (const node of nodes) {
        await until("nobody is left", async () => {
          const { node: own, cluster } = await node.ops.stats();
          const gauges = await Promise.all(["connections", "users", "rooms"].map((name) => node.ops.metric(`roomcast_${name}`)));
          const left = [own.connected, own.users, own.rooms, cluster.connected, cluster.users, cluster.rooms, ...gauges];
          if (left.some((count) => count !== 0)) throw new Error(`${left}`);
          return true;
        });
        for (const reason of ["slow_consumer", "bus_lag", "bus_queue_full", "relay_queue_full", "relay_unsent", "frame_malformed", "envelope_invalid"]) {
          assert.equal(await node.ops.metric("roomcast_dropped_total", { reason }), 0, reason);
        }
      }
    });
  });
}
