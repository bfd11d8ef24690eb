// The policy of a chat, end to end on two nodes: what the gateway does for a CRM it does for anybody, and nothing more.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, beforeEach, describe, test } from "node:test";
import { formed } from "./support/cluster.mjs";
import { CHAT } from "./support/node.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`chat, ${way}`, () => {
    const on = stage();
    let nodes;

    before(async () => {
      const redis = await on.redis();
      const policy = readFileSync(CHAT, "utf8");
      nodes = await Promise.all([1, 2].map(() => on.node({ policy, config: { redis: { url: redis.url } } })));
    });

    beforeEach(() => formed(nodes));

    const connect = (n, claims) => on.connect(nodes[n], { token: token({ name: `Name of ${claims.sub}`, ...claims }), transports });

    /** Ann and her other tab on the first node, Bob on the first, Cid on the second, all in one channel; Dan in none. */
    async function channel(name = "public-1") {
      const ann = await connect(0, { sub: "ann" });
      const others = [await connect(1, { sub: "ann" }), await connect(0, { sub: "bob" }), await connect(1, { sub: "cid" })];
      const dan = await connect(1, { sub: "dan" });
      for (const one of [ann, ...others]) assert.deepEqual(await one.ask("join", name), { ok: true, room: `chat:${name}` });
      return { ann, others, dan, all: [ann, ...others, dan] };
    }

    /** Passes an event through each user's own room, after which nothing else may be in the inboxes. */
    async function assertNothingMore(clients) {
      const rooms = ["ann", "bob", "cid", "dan"].map((user) => `user:${user}`);
      for (const node of nodes) await node.publish({ rooms, event: "settled" });
      for (const one of clients) {
        for (const _ of nodes) await one.next("settled");
        assert.deepEqual(one.inbox.filter(({ event }) => event !== "connect"), []);
      }
    }

    describe("channels", () => {
      test("public ones are joined and left on request", async () => {
        const ann = await connect(0, { sub: "ann" });
        assert.deepEqual(await ann.ask("join", "public-1"), { ok: true, room: "chat:public-1" });
        assert.equal((await nodes[1].publish({ room: "chat:public-1", event: "message", data: 1 })).sockets, 1);
        assert.deepEqual(await ann.next("message"), [1]);
        assert.deepEqual(await ann.ask("leave", "public-1"), { ok: true, room: "chat:public-1" });
        assert.equal((await nodes[1].publish({ room: "chat:public-1", event: "message" })).sockets, 0);
        await assertNothingMore([ann]);
      });

      test("private ones are the token's: its members are in them from the start, and others are refused", async () => {
        const members = await Promise.all([0, 1].map((n) => connect(n, { sub: "ann", channels: ["secret", "other"] })));
        const dan = await connect(0, { sub: "dan", channels: ["Secret", "secret-2", "public"] });
        assert.equal((await nodes[0].publish({ room: "chat:secret", event: "message", data: 1 })).sockets, 2);
        for (const one of members) assert.deepEqual(await one.next("message"), [1]);
        assert.equal((await dan.ask("join", "secret")).code, "not_allowed");
        dan.emit("join", "secret");
        assert.equal((await dan.next("subscribe:error"))[0].code, "not_allowed");
        assert.equal((await dan.ask("message", { channel: "secret", text: "hi" })).code, "not_in_room");
        assert.equal((await members[0].ask("leave", "secret")).ok, true);
        assert.equal((await nodes[0].publish({ room: "chat:secret", event: "message", data: 2 })).sockets, 1);
        assert.deepEqual(await members[1].next("message"), [2]);
        assert.equal((await members[0].ask("join", "secret")).ok, true, "it may come back");
        await assertNothingMore([...members, dan]);
      });

      test("a token without channels has none, and one whose channels are no list has none", async () => {
        for (const channels of [undefined, null, "secret", { secret: true }, 7, [["secret"]], [null], []]) {
          const dan = await connect(0, { sub: "dan", channels });
          assert.equal((await nodes[0].publish({ room: "chat:secret", event: "message" })).sockets, 0, JSON.stringify(channels));
          assert.deepEqual((await nodes[0].ops.api("/users/dan")).sockets.map(({ rooms }) => rooms), [["user:dan"]]);
          dan.close();
          await until("it is gone", async () => (await nodes[0].ops.api("/users/dan")).connected === 0);
        }
      });

      test("what names no channel is refused", async () => {
        const ann = await connect(0, { sub: "ann" });
        for (const args of [[], [null], [""], [7.5], [{}], [["public-1"]], ["public-{user}"], ["public-\n"], ["public-".padEnd(10_240, "x")]]) {
          assert.equal((await ann.ask("join", ...args)).code, "bad_argument", JSON.stringify(args).slice(0, 60));
        }
        for (const arg of ["Public-1", " public-1", "xpublic-1", "public", "chat:public-1", "user:bob", "*"]) {
          assert.equal((await ann.ask("join", arg)).code, "not_allowed", arg);
        }
        await assertNothingMore([ann]);
      });
    });

    describe("messages", () => {
      test("reach the others in the channel on both nodes, signed by the gateway, and not the sender's own socket", async () => {
        const { ann, others, all } = await channel();
        const began = Date.now();
        assert.deepEqual(await ann.ask("message", { channel: "public-1", text: "héllo 😀" }), { ok: true });
        for (const one of others) {
          const [{ at, ...message }, ...more] = await one.next("message");
          assert.deepEqual(message, { channel: "public-1", text: "héllo 😀", from: "ann", name: "Name of ann" });
          assert.ok(Number.isInteger(at) && at >= began - 1000 && at <= Date.now() + 1000);
          assert.deepEqual(more, []);
        }
        await assertNothingMore(all);
      });

      test("who wrote it, and when, is the gateway's to say", async () => {
        const { ann, others, all } = await channel();
        const forged = { channel: "public-1", text: "x", from: "bob", name: "Bob", user: "bob", at: 1, sub: "bob", claims: { name: "Bob" } };
        assert.deepEqual(await ann.ask("message", forged, { from: "bob" }), { ok: true });
        for (const one of others) {
          const [{ at, ...message }] = await one.next("message");
          assert.deepEqual(message, { channel: "public-1", text: "x", from: "ann", name: "Name of ann" });
          assert.ok(at > 1);
        }
        await assertNothingMore(all);
      });

      test("without an ack, in their order", async () => {
        const { ann, others, all } = await channel();
        for (let n = 0; n < 5; n += 1) ann.emit("message", { channel: "public-1", text: `${n}` });
        for (const one of others) {
          for (let n = 0; n < 5; n += 1) assert.equal((await one.next("message"))[0].text, `${n}`);
        }
        await assertNothingMore(all);
      });

      test("a channel's members hear nothing of another one", async () => {
        const { ann, others, all } = await channel("public-1");
        const [, bob] = others;
        await ann.ask("join", "public-2");
        assert.deepEqual(await ann.ask("message", { channel: "public-2", text: "only there" }), { ok: true });
        await bob.ask("join", "public-2");
        assert.deepEqual(await ann.ask("message", { channel: "public-2", text: "both there" }), { ok: true });
        assert.equal((await bob.next("message"))[0].text, "both there");
        await assertNothingMore(all);
      });

      const refused = {
        "empty text": [{ text: "" }, "not_allowed"],
        "too long a text": [{ text: "x".repeat(2001) }, "not_allowed"],
        "no text": [{}, "not_allowed"],
        "a number for text": [{ text: 7 }, "not_allowed"],
        "null for text": [{ text: null }, "not_allowed"],
        "another channel": [{ channel: "public-2", text: "x" }, "not_in_room"],
        "no channel": [{ channel: undefined, text: "x" }, "bad_argument"],
        "a list for a channel": [{ channel: ["public-1"], text: "x" }, "bad_argument"],
        "two channels in one": [{ channel: "public-1,chat:public-2", text: "x" }, "not_in_room"],
      };
      test("empty, too long or without text, or to where it is not: refused, and nobody hears it", async () => {
        for (const [name, [what, expected]] of Object.entries(refused)) {
          const { ann, all } = await channel(); // a rate is each socket's own
          const message = { channel: "public-1", ...what };
          const { ok, code } = await ann.ask("message", message);
          assert.deepEqual({ ok, code }, { ok: false, code: expected }, name);
          ann.emit("message", message);
          await ann.ask("whoami");
          await assertNothingMore(all);
          all.forEach((one) => one.close());
        }
      });

      test("the longest text arrives", async () => {
        const { ann, others, all } = await channel();
        for (const text of ["x".repeat(2000), "ü".repeat(2000)]) {
          assert.deepEqual(await ann.ask("message", { channel: "public-1", text }), { ok: true });
          for (const one of others) assert.equal((await one.next("message"))[0].text, text);
        }
        await assertNothingMore(all);
      });

      test("more than five in a second are refused", async () => {
        const { ann, others, all } = await channel();
        const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => ann.ask("message", { channel: "public-1", text: `${n}` })));
        const refused = answers.filter((answer) => !answer.ok);
        assert.ok(refused.length > 0 && refused.length <= 95, `${refused.length} refused`);
        assert.ok(refused.every(({ code }) => code === "rate_limited"), JSON.stringify(refused[0]));
        for (const one of others) {
          for (const [n, answer] of answers.entries()) if (answer.ok) assert.equal((await one.next("message"))[0].text, `${n}`);
        }
        await assertNothingMore(all);
      });
    });

    test("typing begins, ends on request, by itself, and with the socket", async () => {
      const { ann, others, all } = await channel();
      const seen = async (typing) => {
        for (const one of others) assert.deepEqual(await one.next("typing", 30_000), [{ channel: "public-1", from: "ann", typing }]);
      };
      for (const end of [() => ann.ask("typing:end", { channel: "public-1" }), () => {}, () => ann.close()]) {
        assert.deepEqual(await ann.ask("typing", { channel: "public-1", from: "bob", typing: 7 }), { ok: true });
        await seen(true);
        await end();
        await seen(false);
      }
      await assertNothingMore(all.slice(1));
    });

    test("whoami answers with the user and the time", async () => {
      const ann = await connect(0, { sub: "ann" });
      const { user, now, ...more } = await ann.ask("whoami", { user: "bob" });
      assert.deepEqual([user, more], ["ann", {}]);
      assert.match(now, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      ann.emit("whoami"); // nobody asked
      await assertNothingMore([ann]);
    });

    test("nothing of the other policy is there", async () => {
      const claims = { sub: "ann", tenant_id: "t", account_id: "acc", whatsapp_accounts: ["*"], contacts: ["*"], bots: ["*"] };
      const ann = await on.connect(nodes[0], { token: token(claims), transports, query: { botId: "b" } });
      for (const event of ["subscribe:whatsapp", "subscribe:contact", "typing:start", "typing:stop", "ping"]) {
        assert.equal((await ann.ask(event, "x")).code, "unknown_event", event);
      }
      assert.deepEqual((await nodes[0].ops.api("/users/ann")).sockets.map(({ rooms }) => rooms), [["user:ann"]]);
      await assertNothingMore([ann]);
    });
  });
}
