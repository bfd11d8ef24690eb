// Rooms: those on connect, those on request, and that nobody ever hears what is not theirs.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };

/** What no argument may do: leave its place in the room's name, or become a name that is none. */
const HOSTILE = {
  nothing: [],
  null: [null],
  true: [true],
  fraction: [1.5],
  object: [{ toString: "y" }],
  list: [["y"]],
  binary: [Buffer.from("y")],
  empty: [""],
  "10 KB": ["y".repeat(10_240)],
  braces: ["{user}"],
  "closing brace": ["}y"],
  "line end": ["a\ny"],
  nul: ["y\u0000"],
  "delete character": ["y\u007f"],
};

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`rooms, ${way}`, () => {
    const on = stage();
    let node;
    before(async () => (node = await on.node()));

    const connect = (claims, options) => on.connect(node, { token: token(claims), transports, ...options });

    /** Publishes to a room and says how many sockets heard it. */
    const publish = async (room, event, data = {}) => (await node.publish({ room, event, data })).sockets;

    /** Everything published before has passed by this client when this returns. */
    async function settled(client, user = "u1") {
      await publish(`user:${user}`, "settled");
      await client.next("settled");
    }

    describe("on connect", () => {
      test("an event published in the connect callback arrives", async () => {
        const client = on.client(node, { token: token(), transports });
        const answer = new Promise((resolve, reject) => {
          client.socket.on("connect", () => publish("user:u1", "at once", { n: 1 }).then(resolve, reject));
        });
        assert.equal(await answer, 1);
        assert.deepEqual(await client.next("at once"), [{ n: 1 }]);
      });

      test("also while many connect at the same time", async () => {
        const users = Array.from({ length: 30 }, (_, n) => `many-${n}`);
        await Promise.all(users.map(async (user) => {
          const client = await connect({ sub: user });
          assert.equal(await publish(`user:${user}`, "at once", user), 1);
          assert.deepEqual(await client.next("at once"), [user]);
        }));
      });

      test("every automatic room is proven by an event", async () => {
        const claims = { account_id: "acc", tenant_id: "t1", bots: ["b1", "b2"] };
        const client = await connect(claims, { query: { botId: "b2" } });
        for (const room of ["system", "user:u1", "user:acc", "tenant:t1", "user:u1:bot:b2"]) {
          assert.equal(await publish(room, "hello", room), 1, room);
          assert.deepEqual(await client.next("hello"), [room]);
        }
        assert.equal(await publish("user:u1:bot:b1", "hello"), 0, "a bot that was not named");
      });

      test("without the claims there are no rooms of them", async () => {
        await connect({});
        for (const room of ["tenant:", "tenant:null", "tenant:undefined", "user:", "user:null", "user:u1:bot:"]) {
          const { status, sockets } = await node.ops.post("/api/v1/publish", { room, event: "hello" })
            .then(async (response) => ({ status: response.status, ...(await response.json()) }));
          assert.deepEqual({ status, sockets }, { status: 200, sockets: 0 }, room);
        }
      });

      test("a bot that the token does not hold: connected, without its room", async () => {
        const client = await connect({ bots: ["b1"] }, { query: { botId: "b2" } });
        assert.equal(await publish("user:u1:bot:b2", "hello"), 0);
        assert.equal(await publish("user:u1:bot:b1", "hello"), 0);
        await settled(client);
        assert.equal(client.count("hello"), 0);
        const nobody = await connect({ sub: "u2" }, { query: { botId: "b1" } });
        assert.equal(await publish("user:u2:bot:b1", "hello"), 0, "no list at all means no");
        await settled(nobody, "u2");
      });
    });

    describe("on request", () => {
      const kinds = { whatsapp: "whatsapp_accounts", campaign: "campaigns", contact: "contacts" };

      for (const [kind, claim] of Object.entries(kinds)) {
        test(`${kind}: allowed, heard, left`, async () => {
          const client = await connect({ [claim]: ["a", "b"] });
          assert.equal(await publish(`${kind}:a`, "news"), 0);
          assert.deepEqual(await client.ask(`subscribe:${kind}`, "a"), { ok: true, room: `${kind}:a` });
          assert.equal(await publish(`${kind}:a`, "news", 1), 1);
          assert.deepEqual(await client.next("news"), [1]);
          assert.equal(await publish(`${kind}:b`, "news"), 0, "only what was asked for");
          assert.deepEqual(await client.ask(`unsubscribe:${kind}`, "a"), { ok: true, room: `${kind}:a` });
          assert.equal(await publish(`${kind}:a`, "news", 2), 0);
          await settled(client);
          assert.equal(client.count("news"), 0);
        });

        test(`${kind}: denied by another list, by an empty one, by none`, async () => {
          const others = Object.fromEntries(Object.values(kinds).filter((c) => c !== claim).map((c) => [c, ["a"]]));
          for (const claims of [{ [claim]: ["b"] }, { [claim]: [] }, {}, { [claim]: null }, { [claim]: "a" }, others]) {
            const client = await connect(claims);
            const { ok, code, message } = await client.ask(`subscribe:${kind}`, "a");
            assert.deepEqual({ ok, code }, { ok: false, code: "not_allowed" }, JSON.stringify(claims));
            assert.ok(message);
            assert.equal(await publish(`${kind}:a`, "news"), 0, JSON.stringify(claims));
          }
        });

        test(`${kind}: a wildcard allows all of its kind`, async () => {
          const client = await connect({ [claim]: ["*"] });
          assert.deepEqual(await client.ask(`subscribe:${kind}`, "any"), { ok: true, room: `${kind}:any` });
          assert.equal(await publish(`${kind}:any`, "news"), 1);
          for (const foreign of Object.keys(kinds).filter((k) => k !== kind)) {
            assert.equal((await client.ask(`subscribe:${foreign}`, "any")).code, "not_allowed");
          }
        });
      }

      test("a refusal without an ack arrives as subscribe:error", async () => {
        const client = await connect({ whatsapp_accounts: ["b"] });
        client.emit("subscribe:whatsapp", "a");
        const [error] = await client.next("subscribe:error");
        assert.deepEqual({ event: error.event, code: error.code }, { event: "subscribe:whatsapp", code: "not_allowed" });
        assert.ok(error.message);
        client.emit("subscribe:whatsapp", { a: 1 });
        assert.equal((await client.next("subscribe:error"))[0].code, "bad_argument");
      });

      for (const [name, args] of Object.entries(HOSTILE)) {
        test(`hostile argument, ${name}: bad_argument even with a wildcard, and no room`, async () => {
          const client = await connect({ whatsapp_accounts: ["*"] });
          const { ok, code } = await client.ask("subscribe:whatsapp", ...args);
          assert.deepEqual({ ok, code }, { ok: false, code: "bad_argument" });
          for (const room of ["whatsapp:y", "whatsapp:", "whatsapp:null", "whatsapp:[object Object]", "y"]) {
            assert.equal(await publish(room, "news"), 0, room);
          }
        });

        test(`hostile argument, ${name}: refused with a list of accounts`, async () => {
          const client = await connect({ whatsapp_accounts: ["y"] });
          assert.equal((await client.ask("subscribe:whatsapp", ...args)).ok, false);
          assert.equal(await publish("whatsapp:y", "news"), 0);
        });
      }

      test("separators in an argument stay part of one name", async () => {
        for (const argument of ["x,whatsapp:y", "x whatsapp:y", "../y", "x}{y", "*", "whatsapp:y", "y "]) {
          const limited = await connect({ whatsapp_accounts: ["y"] });
          assert.equal((await limited.ask("subscribe:whatsapp", argument)).ok, false, argument);
          const wide = await connect({ whatsapp_accounts: ["*"] });
          await wide.ask("subscribe:whatsapp", argument);
          for (const room of ["whatsapp:y", "whatsapp:x", "whatsapp:z"]) {
            assert.equal(await publish(room, "news"), 0, `${argument} -> ${room}`);
          }
        }
      });

      test("leaving a room that was never joined changes nothing", async () => {
        const client = await connect({ whatsapp_accounts: ["a"] });
        const { ok } = await client.ask("unsubscribe:whatsapp", "other");
        assert.equal(typeof ok, "boolean");
        assert.equal(await publish("user:u1", "news"), 1, "the own room stays");
      });
    });

    describe("users and tenants", () => {
      test("two tabs of one user: both hear, and one closing leaves the other", async () => {
        const first = await connect({ whatsapp_accounts: ["a"] });
        const second = await connect({ whatsapp_accounts: ["a"] });
        for (const tab of [first, second]) await tab.ask("subscribe:whatsapp", "a");
        assert.equal(await publish("user:u1", "news", 1), 2);
        for (const tab of [first, second]) assert.deepEqual(await tab.next("news"), [1]);
        await first.ask("unsubscribe:whatsapp", "a");
        assert.equal(await publish("whatsapp:a", "account", 1), 1, "rooms belong to the socket, not to the user");
        first.close();
        await second.next("account");
        assert.equal((await second.ask("subscribe:whatsapp", "a")).ok, true);
        assert.equal(await publish("user:u1", "news", 2), 1);
        assert.deepEqual(await second.next("news"), [2]);
        assert.equal(await publish("whatsapp:a", "account", 2), 1);
      });

      test("two tenants never hear each other", async () => {
        const both = { account_id: "acc", bots: ["b"], whatsapp_accounts: ["w"], campaigns: ["c"], contacts: ["k"] };
        const claims = (side) => ({ tenant_id: `t-${side}`, sub: `user-${side}`,
          ...Object.fromEntries(Object.entries(both).map(([name, value]) =>
            [name, Array.isArray(value) ? [`${value[0]}-${side}`] : `${value}-${side}`])) });
        const rooms = (side) => [`tenant:t-${side}`, `user:user-${side}`, `user:acc-${side}`, `whatsapp:w-${side}`,
          `campaign:c-${side}`, `contact:k-${side}`, `user:user-${side}:bot:b-${side}`];
        const [one, two] = [await connect(claims("1"), { query: { botId: "b-1" } }),
          await connect(claims("2"), { query: { botId: "b-2" } })];
        for (const [client, own, foreign] of [[one, "1", "2"], [two, "2", "1"]]) {
          for (const [kind, id] of [["whatsapp", "w"], ["campaign", "c"], ["contact", "k"]]) {
            assert.equal((await client.ask(`subscribe:${kind}`, `${id}-${own}`)).ok, true);
            assert.equal((await client.ask(`subscribe:${kind}`, `${id}-${foreign}`)).code, "not_allowed");
          }
        }
        for (const [client, other, side] of [[one, two, "1"], [two, one, "2"]]) {
          for (const room of rooms(side)) {
            assert.equal(await publish(room, `for ${side}`, room), 1, room);
            assert.deepEqual(await client.next(`for ${side}`), [room]);
          }
          await settled(other, side === "1" ? "user-2" : "user-1");
          assert.equal(other.count(`for ${side}`), 0);
        }
      });
    });
  });
}
