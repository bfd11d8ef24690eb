// The upgrade of Engine.IO from polling to websocket, which is a section of github.com/socketio/engine.io-protocol: nothing may
// be lost, doubled or out of order, and an upgrade that fails leaves everything as it was.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Clients, POLICY, QUIET, assertNoWebsocket } from "./support/conform.mjs";
import { CLOSE, TEXT, closing, frame } from "./support/frames.mjs";
import { SEPARATOR } from "./support/polling.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { PROMPT, until } from "./support/until.mjs";

/** Pings soon, with much time for an answer. */
const PING = { ping_interval: "300ms", ping_timeout: "12s" };
/** For what the server does after ten seconds, as the reference server. */
const LATER = 30_000;
const BYTES = Buffer.from([0, 1, 2, 127, 128, 254, 255]);

describe("Engine.IO protocol: upgrade", { concurrency: 8 }, () => {
  const on = stage();
  let calm;
  let brisk;
  before(async () => {
    calm = await on.node({ policy: POLICY, config: QUIET });
    brisk = await on.node({ policy: POLICY, config: { ...QUIET, engine: PING } });
  });
  const clients = (t, node = calm) => new Clients(t, node.url);
  const publish = (client, data, node = calm) => node.publish({ room: `user:${client.user}`, event: "news", data });

  test("2probe, 3probe, 5: then by websocket", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    await wire.send("5");
    await wire.alive();
    await publish(session, 1);
    assert.equal(await wire.next(), '42["news",1]');
  });

  test("a GET that waits is answered with 6", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const poll = session.get();
    await probed(all, session);
    assert.equal((await poll).text, "6");
  });

  test("so is one that comes between 3probe and 5", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    assert.equal((await session.get()).text, "6");
    await wire.send("5");
    await wire.alive();
  });

  test("so are several, one after the other", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    for (let n = 0; n < 3; n += 1) assert.equal((await session.get()).text, "6");
    await wire.send("5");
    await wire.alive();
  });

  test("a session that has not said CONNECT may upgrade", async (t) => {
    const all = clients(t);
    const session = await all.poll();
    const wire = await probed(all, session);
    await wire.send("5");
    await wire.send(`40${JSON.stringify({ token: token() })}`);
    assert.match(await wire.next(), /^40\{"sid":/);
    await wire.alive();
  });

  test("what waits meanwhile comes by websocket, once and in order", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    for (let n = 0; n < 10; n += 1) await publish(session, n);
    await wire.send("5");
    for (let n = 0; n < 10; n += 1) assert.equal(await wire.next(), `42["news",${n}]`);
    await wire.alive();
  });

  test("binary parts that wait stay behind their event", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    await publish(session, { $binary: BYTES.toString("base64") });
    await wire.send("5");
    assert.equal(await wire.next(), '451-["news",{"_placeholder":true,"num":0}]');
    assert.deepEqual(await wire.next(), BYTES);
  });

  test("under traffic from the server nothing is lost, doubled or out of order", async (t) => {
    const all = clients(t);
    for (let round = 0; round < 5; round += 1) {
      const session = await all.polling();
      let isOver = false;
      let published = 0;
      const traffic = (async () => {
        while (!isOver) await publish(session, (published += 1));
      })();
      const seen = [];
      // As the official client: it goes on polling until its poll is answered after the probe, and only then says 5.
      let isPausing = false;
      const polling = (async () => {
        while (!isPausing) seen.push(...(await session.get()).text.split(SEPARATOR));
      })();
      await until("some came by polling", () => seen.length > 3);
      const wire = await all.open({ sid: session.sid });
      await wire.send("2probe");
      assert.equal(await wire.next(), "3probe");
      isPausing = true;
      await polling;
      await wire.send("5");
      seen.push(await wire.next());
      await until("some came by websocket", () => wire.inbox.length > 3);
      isOver = true;
      await traffic;
      const expected = Array.from({ length: published }, (_, n) => `42["news",${n + 1}]`);
      await until("all came", () => seen.filter((one) => one !== "6").length + wire.inbox.length >= published);
      assert.deepEqual([...seen, ...wire.inbox].filter((one) => one !== "6"), expected);
    }
  });

  test("under traffic from the client nothing is lost, doubled or out of order", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    for (let n = 0; n < 20; n += 1) await session.send(`42${n}["echo",${n}]`);
    const wire = await probed(all, session);
    for (let n = 20; n < 40; n += 1) await session.send(`42${n}["echo",${n}]`);
    const seen = (await session.get()).text.split(SEPARATOR).filter((one) => one !== "6");
    await wire.send("5");
    for (let n = 40; n < 60; n += 1) await wire.send(`42${n}["echo",${n}]`);
    await until("all came", () => seen.length + wire.inbox.length >= 60);
    assert.deepEqual([...seen, ...wire.inbox], Array.from({ length: 60 }, (_, n) => `43${n}[${n}]`));
  });

  test("who sends 5 and messages at once loses none", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    await wire.write(Buffer.concat(["5", '421["echo",1]', '422["echo",2]'].map((one) => frame(TEXT, one))));
    assert.deepEqual([await wire.next(), await wire.next()], ["431[1]", "432[2]"]);
  });

  test("after it, requests of polling are refused, and the session goes on", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await upgraded(all, session);
    assert.equal((await session.get()).status, 400);
    assert.equal((await session.post("1")).status, 400);
    await wire.alive();
  });

  test("after it, another websocket is refused, and the session goes on", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await upgraded(all, session);
    await assertNoWebsocket(await all.open({ sid: session.sid }));
    await wire.alive();
  });

  test("a websocket for a session by websocket is refused, and the session goes on", async (t) => {
    const all = clients(t);
    const wire = await all.websocket();
    await assertNoWebsocket(await all.open({ sid: wire.sid }));
    await wire.alive();
  });

  test("while one goes on, another is refused, and the first ends well", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    await assertNoWebsocket(await all.open({ sid: session.sid }));
    await wire.send("5");
    await wire.alive();
  });

  test("the heartbeat goes on by websocket", async (t) => {
    const all = clients(t, brisk);
    const session = await all.polling();
    const wire = await upgraded(all, session);
    await until("three pings have come", () => wire.pings >= 3);
    await wire.alive();
  });

  test("a ping that came by polling may be answered by websocket", async (t) => {
    const all = clients(t, brisk);
    const session = await all.polling();
    assert.equal((await session.get()).text, "2");
    const wire = await probed(all, session);
    await wire.send("5");
    await wire.send("3");
    await until("two pings have come", () => wire.pings >= 2);
    await wire.alive();
  });

  test("the session is counted as one by websocket", async (t) => {
    const node = await on.node({ policy: POLICY, config: QUIET });
    const all = clients(t, node);
    const session = await all.polling();
    const counted = (transport) => node.ops.metric("roomcast_connections", { transport });
    assert.deepEqual([await counted("polling"), await counted("websocket")], [1, 0]);
    const wire = await upgraded(all, session);
    await until("it is moved", async () => (await counted("polling")) === 0 && (await counted("websocket")) === 1);
    await wire.send("1");
    await until("it is gone", async () => (await counted("polling")) + (await counted("websocket")) === 0);
  });

  const closesAll = test;
  const failing = {
    "another word than probe": (wire) => wire.send("2wrong"),
    "a ping without a word": (wire) => wire.send("2"),
    "a message instead of a probe": (wire) => wire.send('421["echo",1]'),
    "something that is no packet": (wire) => wire.send("abc"),
    "bytes": (wire) => wire.send(BYTES),
    "a close frame": (wire) => wire.frame(CLOSE, closing(1000)),
    "the end of its connection": (wire) => wire.socket.end(),
    "a reset": (wire) => wire.socket.resetAndDestroy(),
  };
  for (const [name, act] of Object.entries(failing)) {
    closesAll(`a probe with ${name}: polling goes on`, async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const wire = await all.open({ sid: session.sid });
      await act(wire);
      if (!/end|reset/.test(name)) await wire.closed(PROMPT);
      await session.alive();
    });
  }

  const leaving = { "a close frame": (wire) => wire.frame(CLOSE, closing(1000)), "the end of its connection": (wire) => wire.socket.end(),
    "a reset": (wire) => wire.socket.resetAndDestroy(), "a message before 5": (wire) => wire.send('421["echo",1]') };
  for (const [name, act] of Object.entries(leaving)) {
    closesAll(`after 3probe ${name}: polling goes on, and nothing is lost`, async (t) => {
      const all = clients(t);
      const session = await all.polling();
      const wire = await probed(all, session);
      await publish(session, 1);
      await act(wire);
      const packet = await until("the event comes by polling", async () => {
        const packet = await session.next();
        return packet !== "6" && packet;
      });
      assert.equal(packet, '42["news",1]');
      await session.alive();
      const again = await upgraded(all, session);
      await again.alive();
    });
  }

  closesAll("one that never finishes is given up, and polling goes on", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const silent = await all.open({ sid: session.sid });
    await silent.closed(LATER);
    await session.alive();
    const half = await probed(all, session);
    await half.closed(LATER);
    await until("polls wait again", async () => {
      await session.send('421["echo",1]');
      return (await session.next()) === "431[1]";
    });
  });

  test("a session that ends meanwhile ends both", async (t) => {
    const all = clients(t);
    const session = await all.polling();
    const wire = await probed(all, session);
    await session.send("1");
    await session.gone();
    await wire.closed(PROMPT);
  });
});

/** A websocket for the session, up to `3probe`. */
async function probed(clients, session) {
  const wire = await clients.open({ sid: session.sid });
  assert.equal(wire.answer.status, 101, wire.answer.text);
  await wire.send("2probe");
  assert.equal(await wire.next(), "3probe");
  return wire;
}

/** As the official client does it. */
async function upgraded(clients, session) {
  const wire = await probed(clients, session);
  await wire.send("5");
  await wire.alive();
  return wire;
}
