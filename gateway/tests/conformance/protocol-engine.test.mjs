// Engine.IO, protocol 4, sentence by sentence: the groups are the sections of github.com/socketio/engine.io-protocol. What
// that document leaves open and clients rely on is as the reference server does it.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Clients, POLICY, QUIET, WAYS, assertNoWebsocket } from "./support/conform.mjs";
import { TEXT, frame } from "./support/frames.mjs";
import { ORIGIN } from "./support/node.mjs";
import { QUERY, SEPARATOR, request } from "./support/polling.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const TRANSPORT_UNKNOWN = '{"code":0,"message":"Transport unknown"}';
const SESSION_UNKNOWN = '{"code":1,"message":"Session ID unknown"}';
const BAD_METHOD = '{"code":2,"message":"Bad handshake method"}';
const BAD_REQUEST = '{"code":3,"message":"Bad request"}';
const FORBIDDEN = '{"code":4,"message":"Forbidden"}';
const BAD_VERSION = '{"code":5,"message":"Unsupported protocol version"}';

const WEBSOCKET = "EIO=4&transport=websocket";
/** Pings soon, with much time for an answer. */
const PING = { ping_interval: "300ms", ping_timeout: "12s" };
/** Pings soon, and not much time. */
const STRICT = { ping_interval: "300ms", ping_timeout: "3s" };
const BYTES = Buffer.from([0, 1, 2, 127, 128, 254, 255]);
const codesAreTexts = test;

describe("Engine.IO protocol", { concurrency: 4 }, () => {
  const on = stage();
  let calm;
  let brisk;
  let strict;
  before(async () => {
    calm = await on.node({ policy: POLICY, config: { ...QUIET, limits: { max_event_bytes: "64KiB" } } });
    brisk = await on.node({ policy: POLICY, config: { ...QUIET, engine: PING } });
    strict = await on.node({ policy: POLICY, config: { ...QUIET, engine: STRICT } });
  });
  const clients = (t, node = calm) => new Clients(t, node.url);
  const publish = (client, data, node = calm) => node.publish({ room: `user:${client.user}`, event: "news", data });

  describe("HTTP long-polling: query parameters", () => {
    const versions = { "no EIO": "transport=polling", "an old EIO": "EIO=3&transport=polling", "a new EIO": "EIO=5&transport=polling",
      "an EIO that is no number": "EIO=abc&transport=polling", "an empty EIO": "EIO=&transport=polling" };
    for (const [name, query] of Object.entries(versions)) {
      codesAreTexts(`${name}: 400, code 5`, async () => assertRefused(await request(calm.url, { query }), BAD_VERSION));
      test(`${name}, by websocket: no session`, async (t) => assertNoWebsocket(await clients(t).open({ query: query.replace("polling", "websocket") })));
    }

    const transports = { "no transport": "EIO=4", "an unknown transport": "EIO=4&transport=abc", "an empty transport": "EIO=4&transport=",
      "a transport that is not offered": "EIO=4&transport=webtransport", "a transport like a property": "EIO=4&transport=constructor" };
    for (const [name, query] of Object.entries(transports)) {
      codesAreTexts(`${name}: 400, code 0`, async () => assertRefused(await request(calm.url, { query }), TRANSPORT_UNKNOWN));
      test(`${name}, by websocket: no session`, async (t) => assertNoWebsocket(await clients(t).open({ query })));
    }

    for (const sid of ["AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA", "x", "%00", "..%2f", "ü", "A".repeat(2000)]) {
      codesAreTexts(`the unknown session ${sid.slice(0, 20)}: 400, code 1`, async () => {
        const query = `${QUERY}&sid=${encodeURI(sid)}`;
        assertRefused(await request(calm.url, { query }), SESSION_UNKNOWN);
        assertRefused(await request(calm.url, { query, method: "POST", body: "4" }), SESSION_UNKNOWN);
      });
      test(`the unknown session ${sid.slice(0, 20)}, by websocket: no session`, async (t) =>
        assertNoWebsocket(await clients(t).open({ sid: encodeURI(sid) })));
    }

    test("a parameter that the protocol does not know is left alone", async (t) => {
      const session = await clients(t).poll();
      const { status, text } = await session.post("40", { query: `t=abc&b64=1&x&${session.query}&y=%ff` });
      assert.deepEqual([status, text], [200, "ok"]);
    });

    codesAreTexts("a session by polling is not for other transports without an upgrade: 400, code 3", async (t) => {
      const session = await clients(t).poll();
      assertRefused(await request(calm.url, { query: `${WEBSOCKET}&sid=${session.sid}` }), BAD_REQUEST);
      await session.send("40");
    });

    codesAreTexts("a session by websocket is not for polling: 400, code 3", async (t) => {
      const wire = await clients(t).websocket();
      const query = `${QUERY}&sid=${wire.sid}`;
      assertRefused(await request(calm.url, { query }), BAD_REQUEST);
      assertRefused(await request(calm.url, { query, method: "POST", body: '42["echo"]' }), BAD_REQUEST);
      await wire.alive();
    });

    for (const [name, query] of [["another EIO", "EIO=3&transport=polling"], ["no EIO", "transport=polling"]]) {
      test(`${name} within a session: 400, and the session goes on`, async (t) => {
        const session = await clients(t).polling();
        for (const options of [{}, { method: "POST", body: "41" }]) {
          assert.equal((await request(calm.url, { query: `${query}&sid=${session.sid}`, ...options })).status, 400);
        }
        await session.alive();
      });
    }

    test("another EIO in an upgrade: refused, and the session goes on", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      await assertNoWebsocket(await all.open({ query: "EIO=3&transport=websocket", sid: session.sid }));
      await session.alive();
    });
  });

  describe("HTTP long-polling: headers", () => {
    test("what is answered to GET is plain text in UTF-8", async (t) => {
      const session = await clients(t).polling();
      assert.match(session.answer.headers["content-type"], /^text\/plain; ?charset=utf-8$/i);
      await session.send('421["echo","ü😀"]');
      const { headers, text } = await session.get();
      assert.equal(text, '431["ü😀"]');
      assert.match(headers["content-type"], /^text\/plain; ?charset=utf-8$/i);
    });

    test("so is what holds binary parts, as base64", async (t) => {
      const session = await clients(t).polling();
      await publish(session, { $binary: BYTES.toString("base64") });
      const { headers } = await session.get();
      assert.match(headers["content-type"], /^text\/plain; ?charset=utf-8$/i);
    });

    test("what is answered to POST is text", async (t) => {
      const session = await clients(t).poll();
      const { headers } = await session.post("40");
      assert.match(headers["content-type"], /^text\//);
    });

    test("nothing of a session is for caches", async (t) => {
      const session = await clients(t).poll();
      const answers = [session.answer, await session.post(`40{"token":"${token()}"}`), await session.get()];
      assert.deepEqual(answers.map(({ headers }) => headers["cache-control"]), Array(3).fill("no-store"));
    });

    test("without a content type, what is posted is text", async (t) => {
      const session = await clients(t).polling();
      const { status, text } = await session.post(Buffer.from('421["echo",1]'), { headers: {} });
      assert.deepEqual([status, text], [200, "ok"]);
      assert.equal(await session.next(), "431[1]");
    });

    test("binary content is refused: bytes travel as base64", async (t) => {
      const session = await clients(t).polling();
      const { status } = await session.post(Buffer.from('421["echo",1]'), { headers: { "content-type": "application/octet-stream" } });
      assert.equal(status, 400);
    });

    test("a page of an allowed origin may read every answer", async (t) => {
      const headers = { origin: ORIGIN };
      const session = await clients(t).polling({ headers });
      await session.send('421["echo",1]');
      const answers = [session.answer, await session.get(), await session.post("1", { headers }), await session.get()];
      assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 400]);
      for (const answer of answers) {
        assert.equal(answer.headers["access-control-allow-origin"], ORIGIN);
        assert.equal(answer.headers["access-control-allow-credentials"], "true");
        assert.match(answer.headers.vary, /origin/i);
      }
    });

    test("a preflight of an allowed origin is answered, within a session too", async (t) => {
      const session = await clients(t).polling();
      const headers = { origin: ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
      for (const query of [QUERY, session.query]) {
        const answer = await request(calm.url, { query, method: "OPTIONS", headers });
        assert.ok([200, 204].includes(answer.status), String(answer.status));
        assert.equal(answer.headers["access-control-allow-origin"], ORIGIN);
        assert.match(answer.headers["access-control-allow-methods"], /POST/);
        assert.match(answer.headers["access-control-allow-headers"], /content-type/i);
      }
      await session.alive();
    });

    test("another origin: 403, code 4, and the session goes on", async (t) => {
      const session = await clients(t).polling();
      const headers = { origin: "https://evil.example" };
      for (const options of [{ query: QUERY }, { query: session.query }, { query: session.query, method: "POST", body: "1" }]) {
        const answer = await request(calm.url, { ...options, headers });
        assert.deepEqual([answer.status, answer.text, answer.headers["access-control-allow-origin"]], [403, FORBIDDEN, undefined]);
      }
      await session.alive();
    });
  });

  describe("HTTP long-polling: sending data", () => {
    test("a POST is answered with 200 and ok", async (t) => {
      const session = await clients(t).poll();
      const { status, text } = await session.post("40");
      assert.deepEqual([status, text], [200, "ok"]);
    });

    test("its packets are handled in their order", async (t) => {
      const session = await clients(t).polling();
      const numbers = Array.from({ length: 300 }, (_, n) => n);
      await session.send(...numbers.map((n) => `42${n}["echo",${n}]`));
      for (const n of numbers) assert.equal(await session.next(), `43${n}[${n}]`);
    });

    test("so are those of several POSTs, one after the other", async (t) => {
      const session = await clients(t).polling();
      for (let n = 0; n < 50; n += 1) await session.send(`42${n}["echo",${n}]`);
      for (let n = 0; n < 50; n += 1) assert.equal(await session.next(), `43${n}[${n}]`);
    });

    test("a body that comes in pieces is one payload", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const body = Buffer.from('421["echo","ü😀"]\x1e422["echo",2]');
      const tcp = all.tcp();
      await tcp.write(post(session, { length: body.length }));
      for (const byte of body) await tcp.write(Buffer.from([byte]));
      assert.equal((await tcp.head()).status, 200);
      assert.deepEqual([await session.next(), await session.next()], ['431["ü😀"]', "432[2]"]);
    });

    test("so is a body in chunks", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const tcp = all.tcp();
      await tcp.write(`${post(session, { more: "Transfer-Encoding: chunked\r\n" })}4\r\n421[\r\n9\r\n"echo",1]\r\n0\r\n\r\n`);
      assert.equal((await tcp.head()).status, 200);
      assert.equal(await session.next(), "431[1]");
    });

    test("two POSTs at once: 400, and the session is closed", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const tcp = all.tcp();
      await tcp.write(`${post(session, { length: 100 })}4`);
      // The first one may not have been seen yet when the second one comes.
      await until("the second one is refused", async () => (await session.post('42["echo"]')).status === 400);
      await session.gone();
    });

    for (const [name, how] of Object.entries({ ended: (tcp) => tcp.socket.end(), reset: (tcp) => tcp.socket.resetAndDestroy() })) {
      test(`a POST that is ${name} in the middle brings nothing, and keeps nothing from its session`, async (t) => {
        const all = clients(t);
        const session = await all.polling();
        const tcp = all.tcp();
        await tcp.write(`${post(session, { length: 100 })}422["echo",2]\x1e`);
        how(tcp);
        // The reference server closes the session; one that goes on has to be whole.
        await until("it is over, or goes on", async () => {
          const { status } = await session.post('421["echo",1]');
          if (status === 200) assert.equal(await session.next(), "431[1]");
          return true;
        });
      });
    }
  });

  describe("HTTP long-polling: receiving data", () => {
    test("a GET waits for a packet", async (t) => {
      const session = await clients(t).polling();
      let isAnswered = false;
      const poll = session.get().finally(() => (isAnswered = true));
      await session.send("3"); // what was sent afterwards has been answered, and the poll still waits
      assert.equal(isAnswered, false);
      await publish(session, 1);
      assert.equal((await poll).text, '42["news",1]');
    });

    test("what waits comes with the next GET, all of it, once and in order", async (t) => {
      const session = await clients(t).polling();
      for (let n = 0; n < 20; n += 1) await publish(session, n);
      const seen = [];
      while (seen.length < 20) seen.push(...(await session.get()).text.split(SEPARATOR));
      assert.deepEqual(seen, Array.from({ length: 20 }, (_, n) => `42["news",${n}]`));
      await session.alive();
    });

    test("two GETs at once: the first is told 1, the second gets 400, and the session is closed", async (t) => {
      const session = await clients(t).polling();
      const first = session.get();
      // Which of the two comes first is not known: one is told, the other refused.
      const second = session.get();
      const answers = [await first, await second].sort((a, b) => a.status - b.status);
      assert.deepEqual(answers.map(({ status }) => status), [200, 400]);
      assert.equal(answers[0].text, "1");
      await session.gone();
    });

    test("a GET that is cut off loses no packet that comes later, or its session is closed", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const tcp = all.tcp();
      await tcp.write(get(session));
      await tcp.write(""); // what was written has left
      tcp.socket.resetAndDestroy();
      const outcome = await until("the next GET waits alone, or the session is gone", async () => {
        const poll = session.get();
        await publish(session, 1);
        const { status, text } = await poll;
        if (status === 200) assert.match(text, /^(1|42\["news",1\])/);
        return { status };
      });
      assert.ok([200, 400].includes(outcome.status));
    });
  });

  describe("WebSocket", () => {
    test("each packet is a frame of its own", async (t) => {
      const wire = await clients(t).websocket();
      for (let n = 0; n < 3; n += 1) await publish(wire, n);
      for (let n = 0; n < 3; n += 1) assert.equal(await wire.next(), `42["news",${n}]`);
      await publish(wire, [{ $binary: BYTES.toString("base64") }]);
      assert.equal(await wire.next(), '451-["news",[{"_placeholder":true,"num":0}]]');
      assert.deepEqual(await wire.next(), BYTES);
    });

    test("the answer to the request is a right one", async (t) => {
      const { answer } = await clients(t).open(); // the key's answer is looked at there
      assert.equal(answer.status, 101);
      assert.match(answer.headers.upgrade, /^websocket$/i);
      assert.match(answer.headers.connection, /upgrade/i);
      assert.equal(answer.headers["sec-websocket-extensions"], undefined, "none was asked for");
      assert.equal(answer.headers["sec-websocket-protocol"], undefined);
    });

    test("names of headers and of what they hold may be in any case", async (t) => {
      const wire = await clients(t).session({ headers: { upgrade: "WebSocket", connection: "keep-alive, upgrade" } });
      assert.ok(wire.sid);
    });

    test("extensions that nobody knows are not agreed to", async (t) => {
      const wire = await clients(t).session({ headers: { "sec-websocket-extensions": "x-unknown; y=1" } });
      assert.equal(wire.answer.headers["sec-websocket-extensions"], undefined);
    });

    test("a page of an allowed origin may connect, another one not", async (t) => {
      await clients(t).session({ headers: { origin: ORIGIN } });
      const refused = await clients(t).open({ headers: { origin: "https://evil.example" } });
      assert.equal(refused.answer.status, 403);
    });

    test("no websocket without a key", async (t) => assertNoWebsocket(await clients(t).open({ headers: { "sec-websocket-key": undefined } })));

    test("no websocket of another version: 426 or 400", async (t) => {
      const wire = await clients(t).open({ headers: { "sec-websocket-version": 12 } });
      assert.ok([400, 426].includes(wire.answer.status), String(wire.answer.status));
    });

    test("without an upgrade it is a bad request: 400, code 3", async () => {
      assertRefused(await request(calm.url, { query: WEBSOCKET }), BAD_REQUEST);
    });

    test("without an upgrade it is no session", async () => assert.equal((await request(calm.url, { query: WEBSOCKET })).status, 400));
  });

  describe("Handshake", () => {
    const fields = (handshake) => ({ ...handshake, sid: typeof handshake.sid });
    const expected = { sid: "string", pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 131_072 };

    test("by polling: every field, and nothing else", async (t) => {
      const { handshake } = await clients(t).poll();
      assert.deepEqual(fields(handshake), { ...expected, upgrades: ["websocket"] });
    });

    test("by websocket: every field, and no upgrade", async (t) => {
      const { handshake } = await clients(t).session();
      assert.deepEqual(fields(handshake), { ...expected, upgrades: [] });
    });

    test("the times are the configured ones", async (t) => {
      const { handshake } = await clients(t, brisk).poll();
      assert.deepEqual([handshake.pingInterval, handshake.pingTimeout], [300, 12_000]);
    });

    test("no session id is given out twice, nor can one be guessed from another", async (t) => {
      const all = clients(t);
      const sids = await Promise.all(Array.from({ length: 20 }, async (_, n) => (await (n % 2 ? all.poll() : all.session())).sid));
      assert.equal(new Set(sids).size, 20);
      for (const sid of sids) assert.match(sid, /^[\w-]{16,}$/);
      for (const [n, sid] of sids.entries()) {
        for (const other of sids.slice(n + 1)) assert.notEqual(sid.slice(0, 10), other.slice(0, 10));
      }
    });

    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      test(`${method}: 400, code 2`, async () => {
        assertRefused(await request(calm.url, { method }), BAD_METHOD);
      });
      test(`${method} opens no session`, async () => assert.equal((await request(calm.url, { method })).status, 400));
    }

    for (const method of ["PUT", "DELETE", "PATCH"]) {
      test(`${method} within a session is refused, and changes nothing`, async (t) => {
        const session = await clients(t).polling();
        const { status } = await request(calm.url, { query: session.query, method });
        assert.ok(status >= 400, String(status));
        await session.alive();
      });
    }

    test("websocket alone: no polling, and nothing to upgrade to", async (t) => {
      const node = await on.node({ policy: POLICY, config: { ...QUIET, engine: { transports: ["websocket"] } } });
      assert.equal((await request(node.url)).status, 400);
      assert.deepEqual((await clients(t, node).session()).handshake.upgrades, []);
    });

    test("polling alone: no websocket, and nothing to upgrade to", async (t) => {
      const node = await on.node({ policy: POLICY, config: { ...QUIET, engine: { transports: ["polling"] } } });
      const all = clients(t, node);
      await assertNoWebsocket(await all.open());
      const session = await all.polling();
      assert.deepEqual(session.handshake.upgrades, []);
      await assertNoWebsocket(await all.open({ sid: session.sid }));
      await session.alive();
    });
  });

  describe("Heartbeat", () => {
    test("by polling: a ping for each pong", async (t) => {
      const session = await clients(t, brisk).poll();
      for (let n = 0; n < 3; n += 1) {
        assert.equal((await session.get()).text, "2");
        await session.send("3");
      }
    });

    test("by websocket: a ping for each pong", async (t) => {
      const wire = await clients(t, brisk).session({ answersPings: false, keepsPings: true });
      for (let n = 0; n < 3; n += 1) {
        assert.equal(await wire.next(), "2");
        await wire.send("3");
      }
      assert.equal(wire.inbox.length, 0);
    });

    test("by polling: without a pong the session is closed, and a GET that waits is answered", async (t) => {
      const session = await clients(t, strict).poll();
      const before = await session.gone();
      assert.equal(before.filter((packet) => packet === "2").length, 1, before.join());
    });

    test("by polling: without a GET the session is closed", async (t) => {
      const session = await clients(t, strict).polling();
      await until("the socket is gone", async () => (await publish(session, 1, strict)).sockets === 0);
      await session.gone();
    });

    test("by websocket: without a pong it is closed", async (t) => {
      const wire = await clients(t, strict).websocket({ answersPings: false });
      await wire.closed();
      await until("the socket is gone", async () => (await publish(wire, 1, strict)).sockets === 0);
    });

    for (const way of Object.keys(WAYS)) {
      test(`by ${way}: a pong that nobody asked for is no harm`, async (t) => {
        const client = await WAYS[way](clients(t));
        for (let n = 0; n < 5; n += 1) await client.send("3");
        await client.alive();
      });
    }

    test("who answers stays", async (t) => {
      const all = clients(t, brisk);
      const [wire, session] = [await all.websocket({ user: "stays" }), await all.polling({ user: "stays" })];
      const polled = session.next();
      await until("five pings have come", () => wire.pings >= 5);
      assert.equal((await publish(wire, 1, brisk)).sockets, 2);
      assert.deepEqual([await wire.next(), await polled], ['42["news",1]', '42["news",1]']);
    });
  });

  describe("Message", () => {
    for (const [way, connect] of Object.entries(WAYS)) {
      test(`by ${way}: text comes back`, async (t) => {
        const client = await connect(clients(t));
        await client.send('421["echo","hello"]');
        assert.equal(await client.next(), '431["hello"]');
      });

      test(`by ${way}: bytes come back`, async (t) => {
        const client = await connect(clients(t));
        await client.send('451-1["echo",{"_placeholder":true,"num":0}]');
        await client.send(BYTES);
        assert.equal(await client.next(), '461-1[{"_placeholder":true,"num":0}]');
        assert.deepEqual(await client.next(), BYTES);
      });

      test(`by ${way}: the close packet ends the session`, async (t) => {
        const client = await connect(clients(t));
        await client.send("1");
        await until("the socket is gone", async () => (await publish(client, 1)).sockets === 0);
        await (way === "polling" ? client.gone() : client.closed());
      });

      const unknown = { "a letter": "abc", "a number beyond the types": "7", "a high number": "9x", "a control character": "\u0001", "a space": " 4" };
      for (const [name, packet] of Object.entries(unknown)) {
        test(`by ${way}: ${name} is no type, and ends the session`, async (t) => {
          const client = await connect(clients(t));
          if (way === "polling") assert.equal((await client.post(packet)).status, 400);
          else await client.send(packet);
          await (way === "polling" ? client.gone() : client.closed());
          assert.equal((await publish(client, 1)).sockets, 0);
        });
      }
    }

    test("by polling: the GET that waits is answered with 6 when the client says 1", async (t) => {
      // A GET that comes after the 1 is refused, and then there was none that waited.
      await until("a GET was there before the 1", async () => {
        const session = await clients(t).polling();
        const poll = session.get();
        await session.send("3");
        await session.send("1");
        const { status, text } = await poll;
        await session.gone();
        if (status === 200) assert.equal(text, "6");
        return status === 200;
      });
    });

    test("by polling: what stands behind the close packet is not looked at", async (t) => {
      const session = await clients(t).polling();
      await session.post(['421["reflect",1]', "1", "abc"].join(SEPARATOR));
      await session.gone();
    });

    test("by websocket: a frame without anything ends the session", async (t) => {
      const wire = await clients(t).websocket();
      await wire.frame(TEXT, "");
      await wire.closed();
    });
  });

  describe("Packet encoding: HTTP long-polling", () => {
    test("packets are joined by \\x1e, both ways", async (t) => {
      const session = await clients(t).polling();
      await session.send('421["echo",1]', "3", '422["echo",2]');
      const seen = [];
      while (seen.length < 2) seen.push(...(await session.get()).text.split(SEPARATOR));
      assert.deepEqual(seen, ["431[1]", "432[2]"]);
    });

    test("what waits together comes in one payload", async (t) => {
      const session = await clients(t).polling();
      for (let n = 0; n < 3; n += 1) await publish(session, n);
      assert.equal((await session.get()).text, ['42["news",0]', '42["news",1]', '42["news",2]'].join(SEPARATOR));
    });

    test("bytes are base64 behind a b, both ways", async (t) => {
      const session = await clients(t).polling();
      await session.send('451-1["echo",{"_placeholder":true,"num":0}]', BYTES);
      const expected = `461-1[{"_placeholder":true,"num":0}]${SEPARATOR}b${BYTES.toString("base64")}`;
      let text = "";
      while (text.length < expected.length) text += `${text && SEPARATOR}${(await session.get()).text}`;
      assert.equal(text, expected);
    });

    for (const length of [0, 1, 2, 3, 4, 1000]) {
      test(`${length} bytes are padded as base64 is`, async (t) => {
        const session = await clients(t).polling();
        const bytes = Buffer.alloc(length, 0xfb);
        await session.send('451-1["echo",{"_placeholder":true,"num":0}]', bytes);
        assert.equal(await session.next(), '461-1[{"_placeholder":true,"num":0}]');
        assert.deepEqual(await session.next(), bytes);
      });
    }

    for (const bad of ["b!!!!", "bAQI", "bA", "bAQID BA=="]) {
      test(`${bad} is no base64, and ends the session`, async (t) => {
        const session = await clients(t).polling();
        const { status } = await session.post(`451-1["echo",{"_placeholder":true,"num":0}]${SEPARATOR}${bad}`);
        assert.equal(status, 400);
        await session.gone();
      });
    }

    const empty = { "nothing at all": "", "a separator alone": SEPARATOR, "a separator at the beginning": `${SEPARATOR}421["echo",1]`,
      "a separator at the end": `421["echo",1]${SEPARATOR}`, "two separators": `421["echo",1]${SEPARATOR}${SEPARATOR}422["echo",2]` };
    for (const [name, body] of Object.entries(empty)) {
      test(`${name} holds a packet without a type, and ends the session`, async (t) => {
        const session = await clients(t).polling();
        assert.equal((await session.post(body)).status, 400);
        await session.gone();
      });
    }

    test("a payload that is not UTF-8 ends the session", async (t) => {
      const session = await clients(t).polling();
      const { status } = await session.post(Buffer.concat([Buffer.from('421["echo","'), Buffer.from([0xff, 0xfe]), Buffer.from('"]')]));
      assert.equal(status, 400);
      await session.gone();
    });

    test("text that holds \\x1e as JSON writes it is one packet", async (t) => {
      const session = await clients(t).polling();
      await session.send('421["echo","a\\u001eb"]');
      assert.equal(JSON.parse((await session.next()).slice(3))[0], "a\x1eb");
    });
  });

  describe("maxPayload", () => {
    const sized = (bytes) => `421["echo","${"x".repeat(bytes - 14)}"]`;
    const MOST = 131_072;

    for (const [way, connect] of Object.entries(WAYS)) {
      test(`by ${way}: a message of exactly that size is taken`, async (t) => {
        const client = await connect(clients(t));
        assert.equal(client.handshake.maxPayload, MOST);
        await client.send(sized(MOST));
        assert.match(await client.next(), /^431\[.*event_too_large/, "only the event in it is too large");
        await client.alive();
      });
    }

    test("by polling: one byte more is 413 or 400, and ends the session", async (t) => {
      const session = await clients(t).polling();
      const { status } = await session.post(sized(MOST + 1));
      assert.ok([400, 413].includes(status), String(status));
      await session.gone();
    });

    test("by polling: in chunks likewise", async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const tcp = all.tcp();
      await tcp.write(post(session, { more: "Transfer-Encoding: chunked\r\n" }));
      for (let n = 0; n < 3; n += 1) await tcp.write(`10000\r\n${"4".padEnd(65_536, "x")}\r\n`);
      const { status } = await tcp.head();
      assert.ok([400, 413].includes(status), String(status));
      await session.gone();
    });

    test("by polling: several packets that are more together likewise", async (t) => {
      const session = await clients(t).polling();
      const { status } = await session.post(Array.from({ length: 3 }, () => sized(MOST / 2)).join(SEPARATOR));
      assert.ok([400, 413].includes(status), String(status));
      await session.gone();
    });

    test("by websocket: one byte more ends the session", async (t) => {
      const wire = await clients(t).websocket();
      await wire.send(sized(MOST + 1));
      await wire.closed();
    });

    test("by websocket: fragments that are more together end the session", async (t) => {
      const wire = await clients(t).websocket();
      const [first, more] = [frame(TEXT, "4".padEnd(50_000, "x"), { fin: false }), frame(0, "x".repeat(50_000), { fin: false })];
      await wire.write(Buffer.concat([first, more, more]));
      await wire.closed();
    });

    test("by websocket: the close frame says 1009", async (t) => {
      const wire = await clients(t).websocket();
      await wire.send(sized(MOST + 1));
      assert.equal(await wire.closed(), 1009);
    });

    test("what the server sends may be longer", async (t) => {
      const node = await on.node({ policy: POLICY, config: { ...QUIET, limits: { max_event_bytes: "1MiB" } } });
      const all = clients(t, node);
      const [wire, session] = [await all.websocket({ user: "long" }), await all.polling({ user: "long" })];
      const data = "x".repeat(1_000_000);
      await publish(wire, data, node);
      assert.equal(await wire.next(), `42["news","${data}"]`);
      assert.equal(await session.next(), `42["news","${data}"]`);
    });
  });
});

/** The head of a POST as it is written. */
function post({ url, query }, { length, more = "" }) {
  const size = length === undefined ? "" : `Content-Length: ${length}\r\n`;
  return `POST /socket.io/?${query} HTTP/1.1\r\nHost: ${new URL(url).host}\r\nContent-Type: text/plain\r\n${size}${more}\r\n`;
}

function get({ url, query }) {
  return `GET /socket.io/?${query} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n\r\n`;
}

function assertRefused({ status, headers, text }, body) {
  assert.deepEqual([status, text], [400, body]);
  assert.match(headers["content-type"], /^application\/json/);
}
