// permessage-deflate: who asks for it gets fewer bytes and the same events as all others; and nobody else notices.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { constants, deflateRawSync } from "node:zlib";
import { BINARY, COMPRESSED, Frames, TEXT } from "./support/compressing.mjs";
import { Site } from "./support/site.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "all"

[[reply]]
event = "echo"
ack   = "data"
`;

const ON = { engine: { compression: "permessage-deflate" } };
const OFFER = "permessage-deflate; client_max_window_bits";
const AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const LONG = { items: Array.from({ length: 60 }, (_, n) => ({ id: n, text: `message number ${n}`, isRead: n % 2 === 0 })) };
const SHORT = { text: "short" };
const ZEROS = Buffer.alloc(5000);
const binary = (buffer) => ({ $binary: buffer.toString("base64") });

/** As a client compresses a message. */
const deflate = (bytes) => deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);

describe("compression", () => {
  const on = stage();
  let node;
  before(async () => (node = await on.node({ policy: POLICY, config: ON })));

  const raw = async (extensions, auth = { token: token() }, of = node) =>
    on.keep(await Frames.open(of.url, { extensions, auth }));
  const publish = (data, event = "news") => node.publish({ room: "all", event, data });

  test("what is agreed on, and what is not", async () => {
    for (const [offer, expected] of [
      [undefined, undefined],
      ["permessage-deflate", AGREED],
      [OFFER, AGREED],
      ["permessage-deflate; server_max_window_bits=15", `${AGREED}; server_max_window_bits=15`],
      ["permessage-deflate; server_max_window_bits=10", undefined],
      ["permessage-deflate; server_max_window_bits=10, permessage-deflate", AGREED],
      ["permessage-deflate; unknown", undefined],
      ["permessage-deflate; client_max_window_bits; client_max_window_bits", undefined],
    ]) {
      const client = await raw(offer);
      assert.equal(client.agreed, expected, offer);
      client.close();
    }
  });

  test("who agreed gets fewer bytes, all of them the same ones, and each message stands for itself", async () => {
    const [one, other, plain] = [await raw(OFFER), await raw("permessage-deflate"), await raw()];
    const seen = [];
    for (let n = 0; n < 2; n += 1) {
      await publish(LONG);
      const [a, b, c] = [await one.next(), await other.next(), await plain.next()];
      assert.deepEqual([a.first, b.first, c.first], [TEXT | COMPRESSED, TEXT | COMPRESSED, TEXT]);
      assert.equal(c.text, `42["news",${JSON.stringify(LONG)}]`);
      assert.deepEqual([a.text, b.text], [c.text, c.text]);
      assert.ok(a.size * 3 < c.size, `${a.size} of ${c.size}`);
      seen.push(a.sent, b.sent);
    }
    for (const sent of seen) assert.ok(sent.equals(seen[0]));
    await publish(SHORT);
    assert.deepEqual([(await one.next()).first, (await plain.next()).first], [TEXT, TEXT]);
  });

  test("binary parts are compressed each by itself", async () => {
    const [one, plain] = [await raw(OFFER), await raw()];
    await publish({ zeros: binary(ZEROS), few: binary(Buffer.from([1, 2, 3])) });
    const firsts = async (client) => {
      const frames = [await client.next(), await client.next(), await client.next()];
      assert.match(frames[0].text, /^452-\["news",/);
      assert.ok(frames[1].payload.equals(ZEROS) && frames[2].payload.equals(Buffer.from([1, 2, 3])));
      return frames.map(({ first }) => first);
    };
    assert.deepEqual(await firsts(one), [TEXT, BINARY | COMPRESSED, BINARY]);
    assert.deepEqual(await firsts(plain), [TEXT, BINARY, BINARY]);
  });

  test("the threshold is a setting", async () => {
    const low = await on.node({ policy: POLICY, config: { engine: { ...ON.engine, compression_threshold: "100B" } } });
    const client = await raw(OFFER, { token: token() }, low);
    for (const [length, first] of [[60, TEXT], [100, TEXT | COMPRESSED]]) {
      await low.publish({ room: "all", event: "news", data: "x".repeat(length) });
      assert.equal((await client.next()).first, first, `${length}`);
    }
  });

  test("all clients of a room get the same, whatever each of them does", async () => {
    const site = on.keep(await Site.start());
    const shared = await on.node({ policy: POLICY, config: { ...ON, cors: { allowed_origins: site.origins } } });
    await site.open();
    const clients = await Promise.all([
      { perMessageDeflate: {} },
      { perMessageDeflate: { threshold: 0 } },
      { perMessageDeflate: { serverMaxWindowBits: 10 } },
      { perMessageDeflate: false },
      { transports: ["polling"] },
      { transports: ["polling", "websocket"], perMessageDeflate: { threshold: 0 } },
      { transports: ["polling", "websocket"], perMessageDeflate: false },
    ].map((options) => on.connect(shared, { token: token(), ...options })));
    const tab = await site.visit(site.same);
    const upgraded = await site.visit(site.same);
    assert.equal(await tab.connect(shared.url, { token: token(), transports: ["websocket"] }), "connect");
    assert.equal(await upgraded.connect(shared.url, { token: token(), transports: ["polling", "websocket"] }), "connect");
    await until("all have moved that do", () => clients.filter((one) => one.transport === "websocket").length === 6);
    const extensions = clients.map(({ socket }) => socket.io.engine.transport.ws?.extensions);
    const yes = "permessage-deflate";
    assert.deepEqual(extensions, [yes, yes, "", "", undefined, yes, ""]);
    for (const one of [tab, upgraded]) {
      const agreed = await one.page.evaluate(() => window.socket.io.engine.transport.ws.extensions);
      assert.ok(agreed.startsWith(yes), agreed);
    }

    for (const data of [LONG, SHORT, { zeros: binary(ZEROS) }, "last"]) {
      assert.equal((await shared.publish({ room: "all", event: "news", data })).sockets, clients.length + 2);
    }
    for (const client of clients) {
      const [long, short, zeros, last] = [await client.next("news"), await client.next("news"), await client.next("news"), await client.next("news")];
      assert.deepEqual([long, short, last], [[LONG], [SHORT], ["last"]]);
      assert.ok(ZEROS.equals(zeros[0].zeros));
    }
    for (const one of [tab, upgraded]) {
      await until("the tab has all", () => one.page.evaluate(() => window.inbox.length === 4));
      const [long, short, length, last] = await one.page.evaluate(() =>
        window.inbox.map(([, data]) => data.zeros?.byteLength ?? data));
      assert.deepEqual([long, short, length, last], [LONG, SHORT, ZEROS.length, "last"]);
      assert.deepEqual(await one.page.evaluate((data) => window.socket.emitWithAck("echo", data), LONG), LONG);
    }
  });

  test("what clients compress is understood", async () => {
    for (const transports of [["websocket"], ["polling", "websocket"]]) {
      const client = await on.connect(node, { token: token(), transports, perMessageDeflate: { threshold: 0 } });
      await until("it is on its websocket", () => client.transport === "websocket");
      const { bytesWritten } = client.socket.io.engine.transport.ws._socket;
      assert.deepEqual(await client.ask("echo", LONG), LONG);
      const written = client.socket.io.engine.transport.ws._socket.bytesWritten - bytesWritten;
      assert.ok(written * 3 < JSON.stringify(LONG).length, `it has compressed: ${written}`);
      assert.deepEqual(await client.ask("echo", SHORT), SHORT);
      assert.ok(ZEROS.equals((await client.ask("echo", { zeros: ZEROS })).zeros));
    }
  });

  test("a session that moves gets what waited for it, and is compressed from then on", async () => {
    const client = on.client(node, { token: token(), transports: ["polling", "websocket"], perMessageDeflate: {} });
    await client.connected();
    for (let n = 0; n < 20; n += 1) await publish({ n, ...LONG });
    await until("it has moved", () => client.transport === "websocket");
    const socket = client.socket.io.engine.transport.ws._socket;
    for (let n = 0; n < 20; n += 1) assert.deepEqual(await client.next("news"), [{ n, ...LONG }]);
    const { bytesRead } = socket;
    await publish(LONG);
    await client.next("news");
    const read = socket.bytesRead - bytesRead;
    assert.ok(read * 3 < JSON.stringify(LONG).length, `${read}`);
  });

  test("a message that inflates to too much closes the connection, and was not inflated", async () => {
    const bomb = deflate(Buffer.alloc(400 << 20));
    const peak = () => Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]) / 1024;
    const before = peak();
    for (const auth of [{ token: token() }, null]) {
      const client = await raw(OFFER, auth);
      client.send(TEXT | COMPRESSED, bomb);
      assert.equal(await client.closed(), 1009);
    }
    assert.ok(peak() - before < 50, `${before} MiB, then ${peak()}`);
  });

  test("what is not compressed at all, or was not agreed on, closes the connection", async () => {
    const packet = `420["echo","${"x".repeat(100)}"]`;
    for (const [offer, first, payload, status] of [
      [OFFER, TEXT | COMPRESSED, packet, 1007],
      [OFFER, TEXT | COMPRESSED, deflate(packet).subarray(0, 10), 1007],
      [OFFER, TEXT | COMPRESSED, "", 1007],
      [OFFER, 0x89 | COMPRESSED, "", 1002],
      [undefined, TEXT | COMPRESSED, deflate(packet), 1002],
      ["permessage-deflate; server_max_window_bits=9", TEXT | COMPRESSED, deflate(packet), 1002],
    ]) {
      const client = await raw(offer);
      client.send(first, payload);
      assert.equal(await client.closed(), status, `${offer} ${first}`);
    }
    const client = await raw(OFFER);
    client.send(TEXT | COMPRESSED, deflate(packet));
    assert.equal((await client.next()).text, `430["${"x".repeat(100)}"]`, "and what is right is answered");
  });

  test("it is off unless it is switched on", async () => {
    const usual = await on.node({ policy: POLICY });
    const client = await raw(OFFER, { token: token() }, usual);
    assert.equal(client.agreed, undefined);
    await usual.publish({ room: "all", event: "news", data: LONG });
    assert.equal((await client.next()).first, TEXT);
    client.send(TEXT | COMPRESSED, deflate('42["echo"]'));
    assert.equal(await client.closed(), 1002);
  });
});
