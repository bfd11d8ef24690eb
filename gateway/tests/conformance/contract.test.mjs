// What browsers and backends of the CRM rely on, row by row: rooms, tabs, events, the tenants' feed, who types. Two nodes
// over a real Redis.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { formed } from "./support/cluster.mjs";
import { assertIndicator, FAMILIES, FEED, FEED_TYPES, OWN_EVENTS, tenant } from "./support/crm.mjs";
import { RawPolling } from "./support/raw.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };
const KINDS = { whatsapp: "whatsapp_accounts", campaign: "campaigns", contact: "contacts" };
/** A start without a stop ends after 6 s, and wherever its node is gone, some seconds later. */
const END = 30_000;

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`contract, ${way}`, () => {
    const on = stage();
    /** The names of all events that any client got, and of all that a test published. */
    const heard = new Set();
    const published = new Set(["settled"]);
    let redis;
    let backend;
    let nodes;

    before(async () => {
      redis = await on.redis();
      backend = on.keep(await redis.backend());
      nodes = await Promise.all([1, 2].map(() => on.node({ config: { redis: { url: redis.url } } })));
    });

    beforeEach(() => formed(nodes));

    /** A client of node `n` that tries to connect, of which every event is noted. */
    const client = (n, claims, options) => {
      const one = on.client(nodes[n], { token: token(claims), transports, ...options });
      one.socket.onAny((event) => heard.add(event));
      return one;
    };
    const connect = (n, claims, options) => client(n, claims, options).connected();
    const everywhere = (claims, options) => Promise.all(nodes.map((_, n) => connect(n, claims, options)));

    const publish = (n, room, event, data) => {
      published.add(event);
      return nodes[n].publish({ room, event, data });
    };
    const call = (room, event, data) => {
      published.add(event);
      return backend.call(room, { event, data });
    };
    const feed = (message) => backend.command("PUBLISH", FEED, typeof message === "string" ? message : JSON.stringify(message));

    /** Rooms of a user's sockets, as the cluster knows them. */
    const roomsOf = async (user) => (await nodes[0].ops.api(`/users/${user}`)).sockets.map(({ rooms }) => rooms.sort());

    /** Passes one event through each of these clients, after which nothing else may be in their inboxes. */
    async function assertNothingMore(clients, room = "system") {
      for (const n of [0, 1]) await nodes[n].publish({ room, event: "settled" });
      for (const one of clients) {
        await one.next("settled");
        await one.next("settled");
        assert.deepEqual(one.inbox.filter(({ event }) => event !== "connect"), []);
      }
    }

    describe("who connects, and how", () => {
      test("accepted: on `connect` it is already in all its rooms, for publishers everywhere", async () => {
        const { claims, query, automatic, ids } = tenant("now");
        const rooms = ["system", ...automatic];
        for (const n of [0, 1]) {
          const one = client(n, claims, { query });
          const publishing = new Promise((resolve, reject) => {
            one.socket.once("connect", () => Promise.all([
              ...rooms.map((room) => publish(1 - n, room, "by api", room)),
              ...rooms.map((room) => call(room, "by function", room)),
              feed({ type: "by feed", tenantId: ids.tenant, data: n }),
            ]).then(resolve, reject));
          });
          published.add("by feed");
          await publishing;
          for (const event of ["by api", "by function"]) {
            const got = [];
            for (const _ of rooms) got.push((await one.next(event))[0]);
            assert.deepEqual(got.sort(), [...rooms].sort(), event);
          }
          assert.deepEqual(await one.next("by feed"), [n]);
          await assertNothingMore([one]);
          one.close();
        }
      });

      const { claims, query } = tenant("auto");
      const own = ["system", "user:user-auto"];
      const automatic = {
        "all of them": [claims, query, [...own, "tenant:t-auto", "user:acc-auto", "user:user-auto:bot:b-auto"]],
        "no account": [{ ...claims, account_id: undefined }, query, [...own, "tenant:t-auto", "user:user-auto:bot:b-auto"]],
        "no tenant": [{ ...claims, tenant_id: undefined }, query, [...own, "user:acc-auto", "user:user-auto:bot:b-auto"]],
        "no bot named": [claims, {}, [...own, "tenant:t-auto", "user:acc-auto"]],
        "a bot that is not allowed": [claims, { botId: "b-other" }, [...own, "tenant:t-auto", "user:acc-auto"]],
        "a bot, and no list of bots": [{ ...claims, bots: undefined }, query, [...own, "tenant:t-auto", "user:acc-auto"]],
        "a bot, and an empty list": [{ ...claims, bots: [] }, query, [...own, "tenant:t-auto", "user:acc-auto"]],
        "any bot, by a wildcard": [{ ...claims, bots: ["*"] }, { botId: "any" },
          [...own, "tenant:t-auto", "user:acc-auto", "user:user-auto:bot:any"]],
        "nothing but the user": [{ sub: "user-auto" }, {}, own],
      };
      for (const [name, [has, names, rooms]] of Object.entries(automatic)) {
        test(`auto-joined rooms, ${name}: exactly these, on each node`, async () => {
          const clients = await everywhere(has, { query: names });
          assert.deepEqual(await roomsOf("user-auto"), [[...rooms].sort(), [...rooms].sort()]);
          for (const room of rooms) {
            assert.equal((await publish(1, room, "hello", room)).sockets, 2, room);
            for (const one of clients) assert.deepEqual(await one.next("hello"), [room]);
          }
          for (const room of ["user:user-auto:bot:b-auto", "user:user-auto:bot:b-other", "tenant:t-auto", "user:acc-auto"]) {
            if (!rooms.includes(room)) assert.equal((await publish(0, room, "hello")).sockets, 0, room);
          }
          await assertNothingMore(clients);
        });
      }

      test("all users of an account see its status", async () => {
        const colleagues = await Promise.all([0, 1, 0].map((n, u) => connect(n, { sub: `colleague-${u}`, account_id: "acc-1" })));
        const other = await connect(1, { sub: "other", account_id: "acc-2" });
        await call("user:acc-1", "whatsapp:connection:status", { status: "Connected" });
        for (const one of colleagues) assert.deepEqual(await one.next("whatsapp:connection:status"), [{ status: "Connected" }]);
        await assertNothingMore([...colleagues, other]);
      });

      test("several tabs, several devices: each gets all, and one closing does not touch the others", async () => {
        const claims = { sub: "tabs", whatsapp_accounts: ["w"], tenant_id: "t-tabs" };
        const tabs = [await connect(0, claims), await connect(0, claims), await connect(1, claims),
          await connect(1, claims, { transports: ["polling", "websocket"] })];
        for (const tab of tabs) assert.equal((await tab.ask("subscribe:whatsapp", "w")).ok, true);
        let open = tabs;
        const all = ["user:tabs", "whatsapp:w", "tenant:t-tabs", "system"];
        const assertAllHear = async () => {
          for (const room of all) {
            assert.equal((await publish(0, room, "news", room)).sockets, open.length, room);
            for (const tab of open) assert.deepEqual(await tab.next("news"), [room]);
          }
          await assertNothingMore(open);
        };
        await assertAllHear();
        for (const end of [(tab) => tab.close(), (tab) => tab.socket.io.engine.close()]) {
          const [gone, ...rest] = open;
          gone.socket.io.reconnection(false);
          end(gone);
          open = rest;
          await until("the tab is gone", async () => (await nodes[1].ops.api("/users/tabs")).connected === open.length);
          await assertAllHear();
        }
      });
    });

    describe("rooms that a client asks for", () => {
      for (const [kind, claim] of Object.entries(KINDS)) {
        test(`subscribe:${kind}, with an ack: reached from the other node from then on, until unsubscribe:${kind}`, async () => {
          const clients = await everywhere({ [claim]: ["x"] });
          for (const [n, one] of clients.entries()) {
            assert.deepEqual(await one.ask(`subscribe:${kind}`, "x"), { ok: true, room: `${kind}:x` });
            assert.equal((await publish(1 - n, `${kind}:x`, "news", n)).sockets, n + 1);
            for (const member of clients.slice(0, n + 1)) assert.deepEqual(await member.next("news"), [n]);
          }
          for (const [n, one] of clients.entries()) {
            assert.deepEqual(await one.ask(`unsubscribe:${kind}`, "x"), { ok: true, room: `${kind}:x` });
            assert.equal((await publish(1 - n, `${kind}:x`, "news", n)).sockets, 1 - n);
          }
          assert.deepEqual(await clients[1].next("news"), [0]);
          await assertNothingMore(clients);
        });

        test(`subscribe:${kind}, without an ack: silent when allowed, subscribe:error when not`, async () => {
          const one = await connect(1, { [claim]: ["x"] });
          one.emit(`subscribe:${kind}`, "x");
          await one.ask("ping"); // handled in order: it is in
          await one.next("pong");
          assert.equal((await publish(0, `${kind}:x`, "news", 1)).sockets, 1);
          assert.deepEqual(await one.next("news"), [1]);
          one.emit(`unsubscribe:${kind}`, "x");
          one.emit(`subscribe:${kind}`, "y");
          const [{ event, code, message }] = await one.next("subscribe:error");
          assert.deepEqual({ event, code }, { event: `subscribe:${kind}`, code: "not_allowed" });
          assert.ok(message);
          assert.equal((await publish(0, `${kind}:x`, "news")).sockets, 0);
          assert.equal((await publish(0, `${kind}:y`, "news")).sockets, 0);
          await assertNothingMore([one]);
        });

        test(`subscribe:${kind}, refused: {ok:false, code, message} and nothing else`, async () => {
          for (const claims of [{}, { [claim]: [] }, { [claim]: ["y"] }]) {
            const one = await connect(0, claims);
            const { code, message, ...rest } = await one.ask(`subscribe:${kind}`, "x");
            assert.equal(code, "not_allowed", JSON.stringify(claims));
            assert.equal(typeof message, "string");
            assert.equal(rest.ok, false);
            assert.equal((await publish(1, `${kind}:x`, "news")).sockets, 0);
            await assertNothingMore([one]);
            one.close();
          }
        });

        test(`subscribe:${kind}, by an operator's wildcard: any, across tenants, and no other kind`, async () => {
          const operator = await connect(0, { sub: "operator", tenant_id: "t-op", [claim]: ["*"] });
          const member = await connect(1, { sub: "member", tenant_id: "t-other", [claim]: ["x"] });
          for (const one of [operator, member]) assert.equal((await one.ask(`subscribe:${kind}`, "x")).ok, true);
          for (const foreign of Object.keys(KINDS).filter((one) => one !== kind)) {
            assert.equal((await operator.ask(`subscribe:${foreign}`, "x")).code, "not_allowed");
          }
          assert.equal((await publish(0, `${kind}:x`, "news", 1)).sockets, 2);
          for (const one of [operator, member]) assert.deepEqual(await one.next("news"), [1]);
          assert.equal((await publish(0, "tenant:t-other", "news", 2)).sockets, 1, "a wildcard is for its kind alone");
          assert.deepEqual(await member.next("news"), [2]);
          await assertNothingMore([operator, member]);
        });
      }
    });

    describe("events from backends to clients", () => {
      const { claims, query, asked } = tenant("a");
      const roomOf = { user: "user:acc-a", whatsapp: "whatsapp:w-a", campaign: "campaign:c-a", contact: "contact:k-a",
        tenant: "tenant:t-a", system: "system" };

      /** The JSON text of an envelope goes in by each way in turn. */
      const ways = [
        (room, event, data) => nodes[1].publish(`{"room":"${room}","event":"${event}","data":${data}}`),
        (room, event, data) => backend.call(room, `{"event":"${event}","data":${data}}`),
        (room, event, data) => backend.publish(`{"room":"${room}","event":"${event}","data":${data}}`),
        (room, event, data) => backend.append(`{"room":"${room}","event":"${event}","data":${data}}`),
      ];

      for (const [family, [kind, events]] of Object.entries(FAMILIES)) {
        test(`${family}: names and payloads arrive untouched, by every way in, on each node`, async () => {
          const clients = await everywhere(claims, { query });
          for (const one of clients) {
            for (const [name, id] of Object.entries(asked)) assert.equal((await one.ask(`subscribe:${name}`, id)).ok, true);
          }
          for (const [event, data] of Object.entries(events)) {
            published.add(event);
            for (const send of ways) {
              await send(roomOf[kind], event, data);
              for (const one of clients) assert.deepEqual(await one.next(event), [JSON.parse(data)]);
            }
          }
          await assertNothingMore(clients);
        });

        if (way === "polling" && kind !== "whatsapp" && kind !== "campaign" && kind !== "contact") {
          test(`${family}: to the letter, large numbers and the order of keys included`, async () => {
            const raw = await RawPolling.connect(nodes[0].url, { token: token(claims) });
            for (const [event, data] of Object.entries(events)) {
              for (const send of ways) {
                await send(roomOf[kind], event, data);
                assert.equal(await raw.next(), `42["${event}",${data}]`);
              }
            }
            await raw.close();
          });
        }
      }

      test("binary payloads arrive as bytes, by every way in, on each node", async () => {
        const clients = await everywhere(claims, { query });
        const bytes = Buffer.from([0, 1, 127, 128, 255]);
        published.add("message:received");
        for (const [n, send] of ways.entries()) {
          await send("user:user-a", "message:received", `{"n":${n},"media":{"$binary":"${bytes.toString("base64")}"}}`);
          for (const one of clients) assert.deepEqual(await one.next("message:received"), [{ n, media: bytes }]);
        }
        await assertNothingMore(clients);
      });

      test("system:notification reaches `system`, a user or a tenant, and nobody besides", async () => {
        const [one, other] = [await connect(0, tenant("a").claims), await connect(1, tenant("b").claims)];
        for (const [room, reached] of [["system", [one, other]], ["user:user-a", [one]], ["tenant:t-b", [other]]]) {
          await call(room, "system:notification", room);
          for (const each of reached) assert.deepEqual(await each.next("system:notification"), [room]);
        }
        await assertNothingMore([one, other]);
      });
    });

    describe("the tenants' feed", () => {
      const both = async () => {
        const own = [...(await everywhere(tenant("a").claims)), await connect(0, { sub: "colleague", tenant_id: "t-a" })];
        const others = [...(await everywhere(tenant("b").claims)), await connect(1, { sub: "t-a" }),
          await connect(0, { sub: "x", account_id: "t-a" })];
        return { own, others };
      };
      const invalid = async () => {
        const counts = nodes.map((node) => node.ops.metric("roomcast_publish_total", { source: "ingest", outcome: "invalid" }));
        return (await Promise.all(counts)).reduce((a, b) => a + b);
      };

      test("{type, tenantId, data} reaches tenant:{tenantId} only, as event `type` with `data`, once on each node", async () => {
        const { own, others } = await both();
        for (const [n, type] of FEED_TYPES.entries()) {
          published.add(type);
          const data = { n, conversation: { id: "x", unread: 3 }, at: null };
          assert.equal(await feed({ type, tenantId: "t-a", data, more: "is left out" }), nodes.length);
          for (const one of own) assert.deepEqual(await one.next(type), [data]);
        }
        await feed({ type: "metrics_update", tenantId: "t-b", data: 1 });
        for (const one of others.slice(0, 2)) assert.deepEqual(await one.next("metrics_update"), [1]);
        await assertNothingMore([...own, ...others]);
      });

      test("what one backend publishes arrives in its order", async () => {
        const { own, others } = await both();
        for (let n = 0; n < 100; n += 1) await feed({ type: "new_message", tenantId: "t-a", data: n });
        for (const one of own) {
          for (let n = 0; n < 100; n += 1) assert.deepEqual(await one.next("new_message"), [n]);
        }
        await assertNothingMore([...own, ...others]);
      });

      test("a number as tenant id is that tenant", async () => {
        const one = await connect(0, { sub: "x", tenant_id: 42 });
        await feed({ type: "new_message", tenantId: 42, data: 1 });
        await feed({ type: "new_message", tenantId: "42", data: 2 });
        for (const n of [1, 2]) assert.deepEqual(await one.next("new_message"), [n]);
        await assertNothingMore([one]);
      });

      if (way === "polling") {
        test("data travels byte for byte", async () => {
          const raws = await Promise.all(nodes.map((node) => RawPolling.connect(node.url, { token: token({ tenant_id: "t-a" }) })));
          const texts = ['{"big":12345678901234567890,"f":1.10,"e":1E+40,"o":{"b":1,"a":2},"s":"\\u00e9\\/","l":[ ] }', "0.10", "null",
            '"tenantId"', '{"data":{"data":1}}', "[12345678901234567890]"];
          try {
            for (const text of texts) {
              await feed(`{"tenantId":"t-a", "data": ${text} ,"type":"metrics_update"}`);
              for (const raw of raws) assert.equal(await raw.next(), `42["metrics_update",${text}]`);
            }
          } finally {
            await Promise.all(raws.map((raw) => raw.close()));
          }
        });
      }

      const GARBAGE = ["", "{", "null", "[]", "7", "\u0000", '"text"', "{}", '{"type":"new_message"}',
        '{"type":"new_message","tenantId":"t-a"}', '{"type":"","tenantId":"t-a","data":1}', '{"type":7.5,"tenantId":"t-a","data":1}',
        '{"type":"connect","tenantId":"t-a","data":1}', '{"type":"disconnect","tenantId":"t-a","data":1}',
        '{"type":{"a":1},"tenantId":"t-a","data":1}', '{"type":"new_message","tenantId":["t-a"],"data":1}',
        '{"type":"new_message","tenantId":{"id":"t-a"},"data":1}', '{"type":"new_message","tenantId":"","data":1}',
        '{"type":"new_message","tenantId":"{tenant}","data":1}', '{"type":"new_message","tenantId":"t-a\\n","data":1}',
        '{"type":"new_message","tenantId":null,"data":1}', '{"type":"new_message","tenantId":true,"data":1}',
        `{"type":"new_message","tenantId":"${"t".repeat(300)}","data":1}`, `{"type":"${"e".repeat(300)}","tenantId":"t-a","data":1}`,
        `${"[".repeat(100_000)}`, `{"type":"new_message","tenantId":"t-a","data":"${"x".repeat(2 << 20)}"}`];

      test("garbage is counted, and harms nothing", async () => {
        const { own, others } = await both();
        const before = await invalid();
        for (const text of GARBAGE) await feed(text);
        await backend.client.publish(FEED, Buffer.from([0xff, 0xfe, 0x00]));
        await feed({ type: "new_message", tenantId: "t-a", data: "after" });
        for (const one of own) assert.deepEqual(await one.next("new_message"), ["after"]);
        await assertNothingMore([...own, ...others]);
        assert.equal((await invalid()) - before, (GARBAGE.length + 1) * nodes.length);
      });

      test("a tenant that nobody is of, and look-alikes of one, reach nobody", async () => {
        const { own, others } = await both();
        const ids = ["t-nobody", "T-A", "t-a ", " t-a", "t-a,tenant:t-b", "t-a:x", "tenant:t-a", "*", "t-а", "t-a\u200b"];
        for (const tenantId of ids) await feed({ type: "new_message", tenantId, data: "nobody's" });
        await feed({ type: "status_update", tenantId: "t-a", data: 1 });
        for (const one of own) assert.deepEqual(await one.next("status_update"), [1]);
        await assertNothingMore([...own, ...others]);
      });
    });

    describe("typing", () => {
      const CONTACT = { contactId: "k", whatsappAccountId: "w" };
      const shows = (isTyping, userId = "typist", more = CONTACT) => ({ ...more, isTyping, userId });
      const claims = (sub) => ({ sub, contacts: ["k", "k2"] });

      /** Somebody who types on node `n`, her other tab, others in the room on both nodes, and one who is not in it. */
      async function room(n = 0) {
        const typist = await connect(n, claims("typist"));
        const others = [await connect(n, claims("typist")), await connect(n, claims("near")), await connect(1 - n, claims("far"))];
        const outside = await connect(n, claims("outside"));
        for (const one of [typist, ...others]) assert.equal((await one.ask("subscribe:contact", "k")).ok, true);
        assert.equal((await outside.ask("subscribe:contact", "k2")).ok, true);
        return { typist, others, outside, all: [typist, ...others, outside] };
      }

      /** All of them see it, and say when it was. */
      async function assertSeen(clients, expected, limit) {
        const times = [];
        for (const one of clients) times.push(assertIndicator(await one.next("typing:indicator", limit), expected));
        return times;
      }

      const refusedRelays = async () => {
        const counts = nodes.map((node) => node.ops.metric("roomcast_dropped_total", { reason: "relay_refused" }));
        return (await Promise.all(counts)).reduce((a, b) => a + b);
      };

      test("typing:start and typing:stop reach the others in the room on both nodes, and not the sender's own socket", async () => {
        for (const n of [0, 1]) {
          const { typist, others, all } = await room(n);
          for (const [event, isTyping] of [["typing:start", true], ["typing:stop", false]]) {
            const began = Date.now();
            assert.deepEqual(await typist.ask(event, CONTACT), { ok: true });
            const times = await assertSeen(others, shows(isTyping));
            assert.equal(new Set(times).size, 1, "one event, one time");
            assert.ok(times[0] >= began - 1000 && times[0] <= Date.now() + 1000, "the gateway's time");
            typist.emit(event, CONTACT); // and without an ack
            await assertSeen(others, shows(isTyping));
          }
          await assertNothingMore(all);
          all.forEach((one) => one.close());
        }
      });

      test("userId and timestamp are the gateway's, whatever the client sends", async () => {
        const { typist, others, all } = await room();
        const forged = { ...CONTACT, userId: "victim", user: "victim", timestamp: "1999-01-01T00:00:00Z", isTyping: "maybe",
          tenantId: "t", event: "message:received", except: [], rooms: ["system"], room: "system" };
        const began = Date.now();
        for (const [event, isTyping] of [["typing:start", true], ["typing:stop", false]]) {
          assert.deepEqual(await typist.ask(event, forged, { userId: "victim" }, "more"), { ok: true });
          for (const time of await assertSeen(others, shows(isTyping))) assert.ok(time >= began - 1000);
        }
        await assertNothingMore(all);
      });

      test("what the client leaves out is left out, and what it says of the account is passed on as it is", async () => {
        const { typist, others, all } = await room();
        for (const more of [{ contactId: "k" }, { contactId: "k", whatsappAccountId: null }, { contactId: "k", whatsappAccountId: 7 }]) {
          assert.deepEqual(await typist.ask("typing:start", more), { ok: true });
          await assertSeen(others, shows(true, "typist", more));
        }
        await typist.ask("typing:stop", { contactId: "k" });
        await assertSeen(others, shows(false, "typist", { contactId: "k" }));
        await assertNothingMore(all);
      });

      test("the sender must be in the room: refused with an ack, only counted without one", async () => {
        const { typist, others, outside, all } = await room();
        for (const event of ["typing:start", "typing:stop"]) {
          const { ok, code, message } = await outside.ask(event, CONTACT);
          assert.deepEqual({ ok, code }, { ok: false, code: "not_in_room" });
          assert.ok(message);
        }
        const before = await refusedRelays();
        for (const event of ["typing:start", "typing:stop"]) outside.emit(event, CONTACT);
        await outside.ask("ping");
        await outside.next("pong");
        assert.equal((await refusedRelays()) - before, 2);
        await typist.ask("unsubscribe:contact", "k");
        assert.equal((await typist.ask("typing:start", CONTACT)).code, "not_in_room", "not any more");
        await assertNothingMore(all);
        assert.ok(others.length);
      });

      test("what names no room is refused, and does no harm", async () => {
        const { typist, others, all } = await room();
        const bad = [[], [null], ["k"], [7], [["k"]], [{}], [{ contactId: null }], [{ contactId: "" }], [{ contactId: ["k"] }],
          [{ contactId: { id: "k" } }], [{ contactId: "k}" }], [{ contactId: "k\n" }], [{ contactId: "k".repeat(10_240) }],
          [{ contactId: true }], [{ contactId: 1.5 }], [Buffer.from("k")], [{ contactId: Buffer.from("k") }]];
        for (const args of bad) {
          for (const event of ["typing:start", "typing:stop"]) {
            const { ok, code } = await typist.ask(event, ...args);
            assert.deepEqual({ ok, code }, { ok: false, code: "bad_argument" }, JSON.stringify(args).slice(0, 60));
          }
        }
        assert.deepEqual(await typist.ask("typing:start", CONTACT), { ok: true });
        await assertSeen(others, shows(true));
        await typist.ask("typing:stop", CONTACT);
        await assertSeen(others, shows(false));
        await assertNothingMore(all);
      });

      test("a start without a stop ends by itself, once, and again for the next one", async () => {
        const { typist, others, all } = await room();
        // Whoever would end it once more does so before the second one has ended.
        for (const n of [1, 2]) {
          const more = { ...CONTACT, whatsappAccountId: `w${n}` };
          const began = performance.now();
          await typist.ask("typing:start", more);
          const start = await assertSeen(others, shows(true, "typist", more));
          const end = await assertSeen(others, shows(false, "typist", more), END);
          assert.ok(performance.now() - began >= 5990, "not before its time");
          assert.ok(end[0] > start[0], "a later time");
        }
        await assertNothingMore(all);
      });

      test("a start that is repeated goes on, and a stop leaves nothing to end", async () => {
        const { typist, others, all } = await room();
        for (let n = 0; n < 3; n += 1) {
          await typist.ask("typing:start", CONTACT);
          await assertSeen(others, shows(true));
        }
        await typist.ask("typing:stop", CONTACT);
        await assertSeen(others, shows(false));
        // Another conversation ends by itself, and nothing of the first one does meanwhile.
        const [second] = others.slice(1);
        for (const one of all) await one.ask("subscribe:contact", "k2");
        await second.ask("typing:start", { contactId: "k2" });
        const watching = all.filter((one) => one !== second);
        await assertSeen(watching, shows(true, "near", { contactId: "k2" }));
        await assertSeen(watching, shows(false, "near", { contactId: "k2" }), END);
        await assertNothingMore(all);
      });

      test("two who type in one room end one by one", async () => {
        const { typist, others, all } = await room();
        const far = others[2];
        await typist.ask("typing:start", CONTACT);
        await assertSeen(others, shows(true));
        await far.ask("typing:start", CONTACT);
        await assertSeen([typist, ...others.slice(0, 2)], shows(true, "far"));
        await typist.ask("typing:stop", CONTACT);
        await assertSeen(others, shows(false));
        far.close();
        await assertSeen([typist, ...others.slice(0, 2)], shows(false, "far"));
        await assertNothingMore(all.filter((one) => one !== far));
      });

      const goes = {
        "disconnects": (typist) => typist.close(),
        "loses its transport": (typist) => typist.socket.io.engine.close(),
        "is sent away": (typist) => nodes[1].ops.api("/disconnect", { session: typist.socket.id }),
        "leaves the room": (typist) => typist.ask("unsubscribe:contact", "k"),
        "leaves the room without an ack": (typist) => typist.emit("unsubscribe:contact", "k"),
      };
      for (const [how, end] of Object.entries(goes)) {
        test(`it ends, once, when the socket ${how}`, async () => {
          const { typist, others, outside } = await room();
          typist.socket.io.reconnection(false);
          await typist.ask("typing:start", CONTACT);
          await assertSeen(others, shows(true));
          const began = performance.now();
          await end(typist);
          await assertSeen(others, shows(false), END);
          // That would be its own end: the socket's must not be the same by chance.
          assert.ok(performance.now() - began < 5500, "before its time");
          await assertNothingMore([...others, outside]);
        });
      }

      test("it ends, once, when the node of the socket is stopped", async () => {
        const { typist, others } = await room(1);
        const near = others.slice(2); // on the node that stays
        await typist.ask("typing:start", CONTACT);
        await assertSeen(others, shows(true));
        await nodes[1].stop();
        await assertSeen(near, shows(false), END);
        await nodes[1].start();
        await formed(nodes);
        await assertNothingMore(near);
      });

      test("it ends, once, when the node of the socket is killed", async () => {
        const { typist, others } = await room(1);
        const near = others.slice(2);
        await typist.ask("typing:start", CONTACT);
        await assertSeen(others, shows(true));
        await nodes[1].kill();
        await assertSeen(near, shows(false), END);
        await nodes[1].start();
        await formed(nodes); // by then everybody knows that the old one is dead
        await assertNothingMore(near);
      });

      test("a flood is refused beyond its rate, and what was not refused arrives", async () => {
        const { typist, others, all } = await room();
        const answers = await Promise.all(Array.from({ length: 500 }, () => typist.ask("typing:start", CONTACT)));
        const refused = answers.filter((answer) => !answer.ok);
        assert.ok(refused.length > 0 && refused.length < answers.length, `${refused.length} refused`);
        for (const { code, message } of refused) assert.deepEqual([code, typeof message], ["rate_limited", "string"]);
        for (let n = 0; n < answers.length - refused.length; n += 1) await assertSeen(others, shows(true));
        await typist.ask("typing:stop", CONTACT);
        await assertSeen(others, shows(false));
        await assertNothingMore(all);
        const again = await until("it may again", async () => {
          const answer = await typist.ask("typing:start", CONTACT);
          return answer.ok && answer;
        });
        assert.deepEqual(again, { ok: true });
        await assertSeen(others, shows(true));
      });
    });

    describe("answers of the gateway", () => {
      test("ping: the sender gets pong {timestamp} in milliseconds, and an ack when one was asked for", async () => {
        const [one, other] = [await connect(0), await connect(0)];
        const began = Date.now();
        one.emit("ping");
        const [pong, ...more] = await one.next("pong");
        assert.deepEqual([Object.keys(pong), more], [["timestamp"], []]);
        assert.ok(Number.isInteger(pong.timestamp) && Math.abs(pong.timestamp - began) < 60_000, pong.timestamp);
        const ack = await one.ask("ping", { timestamp: 1 });
        assert.deepEqual(Object.keys(ack), ["timestamp"]);
        assert.ok(ack.timestamp >= pong.timestamp);
        assert.ok((await one.next("pong"))[0].timestamp >= pong.timestamp);
        await assertNothingMore([one, other]);
      });

      test("an event that nobody names: unknown_event with an ack, only counted without one, and nobody hears it", async () => {
        const [one, other] = [await connect(0), await connect(1)];
        const unknown = () => nodes[0].ops.metric("roomcast_dropped_total", { reason: "unknown_event" });
        const before = await unknown();
        const names = ["message:received", "typing:indicator", "pong", "subscribe:error", "subscribe", "subscribe:", "Subscribe:whatsapp",
          "subscribe:whatsapp ", "typing", "join", "system:notification", "whatsapp", "", "__proto__", "constructor", "toString"];
        for (const name of names) {
          assert.equal((await one.ask(name, { room: "system" })).code, "unknown_event", name);
          one.emit(name, { room: "system" });
        }
        await one.ask("ping");
        await one.next("pong");
        assert.equal((await unknown()) - before, 2 * names.length);
        await assertNothingMore([one, other]);
      });
    });

    test("a socket that went away leaves nothing behind", async () => {
      const { claims, query, asked } = tenant("a");
      for (const one of await everywhere(claims, { query })) {
        for (const [kind, id] of Object.entries(asked)) await one.ask(`subscribe:${kind}`, id);
        await one.ask("typing:start", { contactId: asked.contact });
      }
      on.closeClients();
      for (const node of nodes) {
        await until("nobody is left", async () => {
          const { node: own, cluster } = await node.ops.stats();
          const left = [own.connected, own.users, own.rooms, cluster.connected, cluster.users, cluster.rooms,
            await node.ops.metric("roomcast_connections"), await node.ops.metric("roomcast_users"), await node.ops.metric("roomcast_rooms")];
          if (left.some((count) => count !== 0)) throw new Error(`${left}`);
          return true;
        });
      }
    });

    test("the gateway sent no event that neither the policy nor a backend names", () => {
      assert.deepEqual([...heard].filter((name) => !published.has(name) && !OWN_EVENTS.includes(name)), []);
      assert.ok(heard.size > OWN_EVENTS.length, "somebody listened");
    });
  });
}
