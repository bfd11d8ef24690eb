// Clients that break the rules of websockets, of HTTP and of sense. Each is sent away, or left alone where it does no harm;
// nothing of it stays on the node, and a neighbour does not notice. Rules of frames are those of RFC 6455.

import assert from "node:assert/strict";
import { describe } from "node:test";
import { BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, closing, frame } from "./support/frames.mjs";
import { request } from "./support/polling.mjs";
import { scene } from "./support/scene.mjs";
import { token } from "./support/token.mjs";
import { PROMPT, until } from "./support/until.mjs";

const MIB = 1 << 20;
/** Where nobody is lost for his silence. */
const CALM = { engine: { ping_interval: "25s", ping_timeout: "20s" } };
/** So many at once hold all seats but one. */
const CROWD = 10;
/** For what the server does after ten seconds, or sixteen. */
const LATER = 60_000;
/** For the end of a request that does not come to one: no document says how long that may take. */
const PATIENCE = 60_000;
const part = (num) => `{"_placeholder":true,"num":${num}}`;
const connects = (sub) => `40${JSON.stringify({ token: token({ sub }) })}`;

describe("Hostile clients", { concurrency: true }, () => {
  scene("frames that are none", CALM, (hostile) => {
    const echo = '421["echo",1]';
    const wrong = {
      "without a mask (5.1)": [frame(TEXT, echo, { mask: false })],
      "bytes without a mask (5.1)": [frame(BINARY, "x", { mask: false })],
      "a close frame without a mask (5.1)": [frame(CLOSE, closing(1000), { mask: false })],
      "with another mask than it says": [garbled(frame(TEXT, echo))],
      ...Object.fromEntries([1, 2, 4].map((rsv) => [`with reserved bit ${rsv} (5.2)`, [frame(TEXT, echo, { rsv })]])),
      "a ping with a reserved bit (5.2)": [frame(PING, "", { rsv: 1 })],
      ...Object.fromEntries([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((code) => [`of the reserved kind ${code} (5.2)`, [frame(code, "x")]])),
      "a continuation of nothing (5.4)": [frame(CONTINUATION, echo)],
      "a continuation of a whole message (5.4)": [frame(TEXT, "3"), frame(CONTINUATION, echo)],
      "another message inside of one (5.4)": [frame(TEXT, "421[", { fin: false }), frame(TEXT, echo)],
      "bytes inside of a text (5.4)": [frame(TEXT, "421[", { fin: false }), frame(BINARY, "x")],
      "a ping in fragments (5.5)": [frame(PING, "x", { fin: false }), frame(CONTINUATION, "x")],
      "a close frame in fragments (5.5)": [frame(CLOSE, closing(1000), { fin: false })],
      "a ping of 126 bytes (5.5)": [frame(PING, "x".repeat(126))],
      "a pong of 65,536 bytes (5.5)": [frame(PONG, "x".repeat(65_536))],
      "a close frame of one byte (5.5.1)": [frame(CLOSE, "x")],
      "a close frame of 126 bytes (5.5)": [frame(CLOSE, closing(1000, "x".repeat(124)))],
      "a length of 2^63 (5.2)": [frame(TEXT, "", { announced: 2n ** 63n })],
      "a length of 2^64 - 1 (5.2)": [frame(TEXT, "", { announced: 2n ** 64n - 1n })],
      "text that is no UTF-8 (8.1)": [frame(TEXT, text("421[\"echo\",\"", 0xff, "\"]"))],
      "text with an overlong form (8.1)": [frame(TEXT, text("421[\"echo\",\"", 0xc0, 0x80, "\"]"))],
      "text with half a surrogate (8.1)": [frame(TEXT, text("421[\"echo\",\"", 0xed, 0xa0, 0x80, "\"]"))],
      "text that ends within a character (8.1)": [frame(TEXT, text("421[\"echo\",\"", 0xf0, 0x9f, 0x98))],
      "fragments that are no UTF-8 together (8.1)":
        [frame(TEXT, text("421[\"echo\",\"", 0xf0, 0x9f), { fin: false }), frame(CONTINUATION, text("x\"]"))],
      "a close frame whose reason is no UTF-8 (5.5.1)": [frame(CLOSE, Buffer.concat([closing(1000), Buffer.from([0xff])]))],
      ...Object.fromEntries([0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535].map((code) =>
        [`a close frame with the code ${code} (7.4)`, [frame(CLOSE, closing(code))]])),
    };
    for (const [name, frames] of Object.entries(wrong)) {
      hostile(`${name}: closed`, async (clients) => {
        const wire = await clients.websocket();
        await wire.write(Buffer.concat(frames));
        await wire.closed();
        assert.deepEqual(wire.inbox, []);
      });
    }

    const codes = {
      1002: [frame(TEXT, echo, { mask: false }), frame(TEXT, echo, { rsv: 4 }), frame(3, "x"), frame(CONTINUATION, "x"), frame(PING, "x".repeat(126))],
      1007: [frame(TEXT, Buffer.from([0xff]))],
      1009: [frame(TEXT, "", { announced: 3 * MIB })],
    };
    for (const [code, frames] of Object.entries(codes)) {
      hostile(`the close frame says ${code} (7.4.1)`, async (clients) => {
        for (const one of frames) {
          const wire = await clients.websocket();
          await wire.write(one);
          assert.equal(await wire.closed(), Number(code));
        }
      });
    }

    for (const code of [1000, 1001, 1008, 3000, 4999]) {
      hostile(`a close frame with the code ${code} is echoed, and the server ends the connection (5.5.1, 7.1.1)`, async (clients) => {
        const wire = await clients.websocket();
        await wire.frame(CLOSE, closing(code, "bye"));
        assert.equal(await wire.closed(), code);
      });
    }

    hostile("a close frame without a code is answered by one (5.5.1)", async (clients) => {
      const wire = await clients.websocket();
      await wire.frame(CLOSE);
      await wire.closed();
      assert.ok(wire.close);
    });

    hostile("what stands behind a close frame is not looked at (5.5.1)", async (clients) => {
      const wire = await clients.websocket();
      await wire.write(Buffer.concat([frame(CLOSE, closing(1000)), frame(TEXT, echo)]));
      await wire.closed();
      assert.deepEqual(wire.inbox, []);
    });
  });

  scene("frames that are right", CALM, (hostile) => {
    const legal = {
      "a message in three fragments": [frame(TEXT, "421[", { fin: false }), frame(CONTINUATION, '"echo"', { fin: false }), frame(CONTINUATION, ",1]")],
      "fragments of one byte": fragments(TEXT, Buffer.from('421["echo",1]')),
      "fragments of nothing": [frame(TEXT, "", { fin: false }), frame(CONTINUATION, '421["echo",1]', { fin: false }), frame(CONTINUATION, "")],
      "fragments with pings between": [frame(TEXT, "421[", { fin: false }), frame(PING, "a"), frame(CONTINUATION, '"echo"', { fin: false }),
        frame(PING, "b"), frame(PONG, "c"), frame(CONTINUATION, ",1]")],
      "a pong that nobody asked for (5.5.3)": [frame(PONG, "x"), frame(TEXT, '421["echo",1]')],
      "a long ping": [frame(PING, "x".repeat(125)), frame(TEXT, '421["echo",1]')],
    };
    for (const [name, frames] of Object.entries(legal)) {
      hostile(`${name}: taken`, async (clients) => {
        const wire = await clients.websocket();
        await wire.write(Buffer.concat(frames));
        assert.equal(await wire.next(), "431[1]");
        wire.destroy();
      });
    }

    hostile("bytes in fragments", async (clients) => {
      const wire = await clients.websocket();
      const bytes = Buffer.from([0, 255, 1, 254]);
      await wire.send(`451-1["echo",${part(0)}]`);
      await wire.write(Buffer.concat(fragments(BINARY, bytes)));
      assert.equal(await wire.next(), `461-1[${part(0)}]`);
      assert.deepEqual(await wire.next(), bytes);
      wire.destroy();
    });

    hostile("a character that two fragments share (8.1)", async (clients) => {
      const wire = await clients.websocket();
      await wire.write(Buffer.concat(fragments(TEXT, Buffer.from('421["echo","ü😀"]'))));
      assert.equal(await wire.next(), '431["ü😀"]');
      wire.destroy();
    });

    hostile("frames that come byte by byte", async (clients) => {
      const wire = await clients.websocket();
      const bytes = Buffer.concat([frame(TEXT, '421["echo",1]'), frame(PING, "x"), frame(TEXT, '422["echo",2]')]);
      for (const byte of bytes) await wire.write(Buffer.from([byte]));
      assert.deepEqual([await wire.next(), await wire.next()], ["431[1]", "432[2]"]);
      wire.destroy();
    });

    hostile("pings are answered with what they hold, in the middle of a message too (5.5.2)", async (clients) => {
      const wire = await clients.websocket();
      await wire.frame(PING, "alone");
      await wire.watch("the pong comes", () => wire.controls.length || undefined);
      await wire.write(Buffer.concat([frame(TEXT, "421[", { fin: false }), frame(PING, "within")]));
      await wire.watch("the pong comes", () => (wire.controls.length > 1) || undefined);
      assert.deepEqual(wire.controls.map(([code, payload]) => [code, payload.toString()]), [[PONG, "alone"], [PONG, "within"]]);
      await wire.frame(CONTINUATION, '"echo",1]');
      assert.equal(await wire.next(), "431[1]");
      wire.destroy();
    });

    hostile("a client that sends all at once, the request included, loses nothing", async (clients) => {
      const tcp = clients.tcp();
      await tcp.write(Buffer.concat([
        Buffer.from(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${tcp.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
          + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
        frame(TEXT, connects("early")),
      ]));
      await tcp.watch("the open packet and CONNECT arrive", () => (/0\{"sid".*40\{"sid"/s.test(tcp.received.toString("latin1"))) || undefined);
      tcp.destroy();
    });
  });

  scene("sizes", {}, (hostile) => {
    hostile("frames that are announced and never come: nothing is reserved for them", async (clients, node) => {
      await node.within(16 * MIB, async () => {
        const wires = await Promise.all(Array.from({ length: 40 }, () => clients.websocket()));
        // 2 MiB is the most that a message may have.
        await Promise.all(wires.map((wire) => wire.write(frame(TEXT, "421[", { announced: 2 * MIB }))));
        await node.neighbour.alive();
        await Promise.all(wires.map((wire) => wire.closed(LATER)));
      });
    });

    for (const announced of [2 * MIB + 1, 2 ** 31, 2 ** 32, 2 ** 53]) {
      hostile(`a frame of ${announced} bytes is too long as soon as it is announced`, async (clients, node) => {
        await node.within(16 * MIB, async () => {
          const wire = await clients.websocket();
          await wire.write(frame(TEXT, "421[", { announced }));
          await wire.closed();
        });
      });
    }

    hostile("a message in fragments without an end is too long at some point", async (clients, node) => {
      await node.within(16 * MIB, async () => {
        const wire = await clients.websocket();
        const piece = "x".repeat(65_536);
        await wire.frame(TEXT, `4${piece}`, { fin: false });
        for (let n = 0; n < 64 && !wire.over; n += 1) await wire.frame(CONTINUATION, piece, { fin: false });
        await wire.closed();
      });
    });

    for (const [name, length] of [["without end", 2 ** 40], ["in chunks without end", undefined]]) {
      hostile(`a POST ${name} is refused before it has come`, async (clients, node) => {
        const session = await clients.polling();
        await node.within(16 * MIB, async () => {
          const tcp = clients.tcp();
          const kind = length ? `Content-Length: ${length}` : "Transfer-Encoding: chunked";
          await tcp.write(`POST /socket.io/?${session.query} HTTP/1.1\r\nHost: ${tcp.host}\r\n${kind}\r\n\r\n`);
          const piece = "4".padEnd(65_536, "x");
          for (let n = 0; n < 64 && !tcp.over && !tcp.received.length; n += 1) await tcp.write(length ? piece : `10000\r\n${piece}\r\n`);
          if (!tcp.over || tcp.received.length) assert.ok([400, 413].includes((await tcp.head()).status));
        });
        await session.gone();
      });
    }

    const deep = 100_000;
    const jsons = { "100,000 lists inside of each other": "[".repeat(deep) + "]".repeat(deep), "100,000 lists that do not end": "[".repeat(deep),
      "100,000 objects inside of each other": '{"a":'.repeat(deep) + "1" + "}".repeat(deep), "a key of 500,000 bytes": `{"${"k".repeat(500_000)}":1}`,
      "100,000 keys": `{${Array.from({ length: deep }, (_, n) => `"k${n}":1`).join(",")}}`, "a number of 500,000 digits": "9".repeat(500_000),
      "an exponent beyond all": "1e999999999", "500,000 escapes": `"${"\\u0000".repeat(80_000)}"` };
    for (const [name, json] of Object.entries(jsons)) {
      const packets = { "an event": `42["echo",${json}]`, "an event with an ack": `421["echo",${json}]`, "an ack": `431[${json}]`,
        "a binary event": `451-["echo",${part(0)},${json}]`, "CONNECT": `40{"token":${json}}`, "an unknown event": `42["${name}",${json}]` };
      hostile(`${name}, in every kind of packet`, async (clients) => {
        for (const [kind, packet] of Object.entries(packets)) {
          const wire = kind === "CONNECT" ? await clients.session() : await clients.websocket();
          await wire.send(packet);
          if (kind === "a binary event") await wire.send(Buffer.from("x"));
          // Taken, refused or closed: all are right, as long as nothing else happens.
          await wire.frame(PING, "after");
          await wire.watch("an answer or the end comes", () => wire.over ?? wire.close ?? (wire.controls.length || undefined));
          wire.destroy();
        }
      });
    }

    hostile("an event name of 1,000,000 bytes", async (clients) => {
      const wire = await clients.websocket();
      await wire.send(`421["${"n".repeat(1_000_000)}",1]`);
      await wire.watch("an answer or the end comes", () => wire.over ?? wire.close ?? (wire.inbox.length || undefined));
      wire.destroy();
    });

    for (const count of [11, 1000, 4_294_967_295, 4_294_967_296]) {
      hostile(`${count} attachments are announced: closed`, async (clients, node) => {
        await node.within(16 * MIB, async () => {
          const wire = await clients.websocket();
          await wire.send(`45${count}-["echo",${part(0)}]`);
          await wire.closed();
        });
      });
    }

    hostile("attachments that never come keep nobody from anything", async (clients, node) => {
      const wires = await Promise.all(Array.from({ length: 20 }, () => clients.websocket()));
      for (const wire of wires) await wire.send(`4510-["echo",[${Array.from({ length: 10 }, (_, n) => part(n))}]]`);
      await node.neighbour.alive();
      await until("they still answer pings", () => wires.every((wire) => wire.pings > 1));
      assert.ok(wires.every((wire) => !wire.over));
      wires.forEach((wire) => wire.destroy());
    });

    hostile("attachments of one event are not collected beyond the size of an event", async (clients, node) => {
      await node.within(48 * MIB, async () => {
        const wires = await Promise.all(Array.from({ length: 10 }, () => clients.websocket()));
        await Promise.all(wires.map(async (wire) => {
          await wire.send(`4510-1["echo",[${Array.from({ length: 10 }, (_, n) => part(n))}]]`);
          for (let n = 0; n < 9 && !wire.over; n += 1) await wire.send(Buffer.alloc(2 * MIB - 1, 1));
          await wire.frame(PING, "read");
          await wire.watch("all of it was read, or the end comes", () => wire.over ?? wire.close ?? (wire.controls.length || undefined));
        }));
        await node.neighbour.alive();
        setImmediate(() => wires.forEach((wire) => wire.destroy()));
      });
    });
  });

  scene("HTTP that is none", CALM, (hostile) => {
    const query = "EIO=4&transport=polling";
    const wrong = {
      "a greeting of TLS": Buffer.from("1603010200010001fc0303", "hex"),
      "bytes": Buffer.alloc(1000, 0xff),
      "a websocket frame": frame(TEXT, "2probe"),
      "another protocol": "SSH-2.0-x\r\n\r\n",
      "a header of 1 MiB": `GET /socket.io/?${query} HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(MIB)}\r\n\r\n`,
      "10,000 headers": `GET /socket.io/?${query} HTTP/1.1\r\nHost: x\r\n${"X: y\r\n".repeat(10_000)}\r\n`,
      "a query of 1 MiB": `GET /socket.io/?${query}&x=${"x".repeat(MIB)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      "two lengths": `POST /socket.io/?${query}&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n44`,
      "a length below 0": `POST /socket.io/?${query}&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n4`,
      "a chunk that is none": `POST /socket.io/?${query}&sid=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
      "a line end in a header": `GET /socket.io/?${query} HTTP/1.1\r\nHost: x\r\nX: a\nb\r\n\r\n`,
    };
    for (const [name, bytes] of Object.entries(wrong)) {
      hostile(`${name}: refused or closed`, async (clients) => {
        const tcp = clients.tcp();
        await tcp.write(bytes);
        tcp.socket.end();
        await tcp.watch("a refusal or the end comes", () => tcp.over ?? (tcp.received.length || undefined));
        assert.doesNotMatch(tcp.received.toString(), /^HTTP\/1\.1 (101|200)/);
      });
    }

    hostile("1,000 guesses at a session", async (clients, { node, url }) => {
      const session = await clients.polling({ user: "guessed" });
      const waiting = session.next(); // it answers pings meanwhile
      const guesses = Array.from({ length: 1000 }, (_, n) => session.sid.slice(0, -4) + String(n).padStart(4, "A"));
      for (let n = 0; n < guesses.length; n += 100) {
        const answers = await Promise.all(guesses.slice(n, n + 100).filter((one) => one !== session.sid).map((sid) =>
          request(url, { query: `${query}&sid=${sid}`, method: "POST", body: "1" })));
        assert.ok(answers.every(({ status }) => status === 400));
      }
      await node.publish({ room: "user:guessed", event: "news", data: 1 });
      assert.equal(await waiting, '42["news",1]');
      await session.send("1");
    });
  });

  scene("connections that break", {}, (hostile) => {
    const ends = { "half-closed": (wire) => wire.socket.end(), reset: (wire) => wire.socket.resetAndDestroy(), dropped: (wire) => wire.destroy() };
    for (const [name, end] of Object.entries(ends)) {
      hostile(`a websocket that is ${name}`, async (clients, { node }) => {
        const wire = await clients.websocket({ user: "breaks" });
        end(wire);
        if (name === "half-closed") await wire.ended(PROMPT);
        await until("it is gone before its silence is noticed", async () =>
          (await node.publish({ room: "user:breaks", event: "news" })).sockets === 0, { within: PROMPT });
      });
    }

    // All at once, as most of them are found out by their silence.
    hostile("in the middle of a frame, a CONNECT, an upgrade, a GET and a POST: half-closed, reset and dropped", async (clients) => {
      const way = {
        frame: async () => {
          const wire = await clients.websocket();
          await wire.write(frame(TEXT, "421[", { announced: 1000 }));
          return wire;
        },
        connect: async () => {
          const wire = await clients.session();
          await wire.send(connects("hasty"));
          return wire;
        },
        upgrade: async () => {
          const wire = await clients.open({ sid: (await clients.polling()).sid });
          await wire.send("2probe");
          assert.equal(await wire.next(), "3probe");
          return wire;
        },
        get: async () => {
          const [session, tcp] = [await clients.polling(), clients.tcp()];
          await tcp.write(`GET /socket.io/?${session.query} HTTP/1.1\r\nHost: ${tcp.host}\r\n\r\n`);
          return tcp;
        },
        post: async () => {
          const [session, tcp] = [await clients.polling(), clients.tcp()];
          await tcp.write(`POST /socket.io/?${session.query} HTTP/1.1\r\nHost: ${tcp.host}\r\nContent-Length: 1000\r\n\r\n42[`);
          return tcp;
        },
      };
      await Promise.all(Object.values(way).flatMap((begin) => Object.values(ends).map(async (end) => end(await begin()))));
    });

    hostile("a websocket that says nothing more is gone with its pong", async (clients) => {
      const wire = await clients.websocket({ answersPings: false });
      await wire.closed(LATER);
    });

    hostile("200 that come and go at once", async (clients) => {
      for (let round = 0; round < 4; round += 1) {
        const wires = await Promise.all(Array.from({ length: 50 }, (_, n) => clients.websocket({ user: `crowd${n}` })));
        wires.forEach((wire) => wire.socket.resetAndDestroy());
      }
    });
  });

  scene("floods on one connection", {}, (hostile) => {
    hostile("20,000 pings are answered, or end it", async (clients, node) => {
      const wire = await clients.websocket();
      const many = Buffer.concat(Array.from({ length: 1000 }, () => frame(PING, "x".repeat(100))));
      await node.within(16 * MIB, async () => {
        for (let n = 0; n < 20 && !wire.over; n += 1) await wire.write(many);
        await node.neighbour.alive();
        await wire.frame(PING, "last");
        const isAnswered = () => wire.controls.some(([, payload]) => payload.toString() === "last");
        await wire.watch("the last is answered, or the end comes", () => wire.over ?? wire.close ?? (isAnswered() || undefined));
      });
      wire.destroy();
    });

    hostile("pings of one who reads no pong: nothing piles up", async (clients, node) => {
      const wire = await clients.websocket();
      wire.socket.pause();
      const many = Buffer.concat(Array.from({ length: 1000 }, () => frame(PING, "x".repeat(125))));
      await node.within(16 * MIB, async () => {
        // Nobody waits for what is written: the node need not read it.
        for (let n = 0; n < 300; n += 1) wire.socket.write(many);
        for (let n = 0; n < 20; n += 1) await node.neighbour.alive();
      });
      wire.destroy();
    });

    hostile("20,000 events without an ack", async (clients, node) => {
      const wire = await clients.websocket();
      const many = Buffer.concat(Array.from({ length: 1000 }, () => frame(TEXT, '42["nobody:knows",1]')));
      for (let n = 0; n < 20; n += 1) await wire.write(many);
      await node.neighbour.alive();
      await wire.alive();
      wire.destroy();
    });

    hostile("1,000 times CONNECT without a token", async (clients, node) => {
      const wire = await clients.session();
      await wire.write(Buffer.concat(Array.from({ length: 1000 }, () => frame(TEXT, "40"))));
      await node.neighbour.alive();
      await wire.watch("all are refused, or the end comes", () => wire.over ?? wire.close ?? (wire.inbox.length === 1000 || undefined));
      assert.ok(wire.inbox.every((packet) => packet === "1" || packet.startsWith("44{")));
      wire.destroy();
    });

    hostile("1,000 times CONNECT to namespaces that do not exist", async (clients, node) => {
      const wire = await clients.websocket();
      await wire.write(Buffer.concat(Array.from({ length: 1000 }, (_, n) => frame(TEXT, `40/n${n},`))));
      await node.neighbour.alive();
      await wire.watch("all are refused, or the end comes", () => wire.over ?? wire.close ?? (wire.inbox.length === 1000 || undefined));
      wire.destroy();
    });

    hostile("1,000 times there and away", async (clients) => {
      const wire = await clients.session();
      const again = Buffer.concat([frame(TEXT, connects("again")), frame(TEXT, "41")]);
      await wire.write(Buffer.concat(Array.from({ length: 1000 }, () => again)));
      await wire.watch("some are answered, or the end comes", () => wire.over ?? wire.close ?? (wire.inbox.length > 0 || undefined));
      wire.destroy();
    });

    hostile("empty fragments without end", async (clients, node) => {
      const wire = await clients.websocket();
      await node.within(16 * MIB, async () => {
        await wire.frame(TEXT, "4", { fin: false });
        const many = Buffer.concat(Array.from({ length: 10_000 }, () => frame(CONTINUATION, "", { fin: false })));
        for (let n = 0; n < 10 && !wire.over; n += 1) await wire.write(many);
        await node.neighbour.alive();
      });
      wire.destroy();
    });
  });

  // Seats are those of `limits.max_connections`: as long as a session is known, it holds one.
  const floods = {
    "a websocket that never says CONNECT": async (clients) => (await clients.session()).ended(LATER),
    "a websocket that says nothing at all": async (clients) => (await clients.session({ answersPings: false })).ended(LATER),
    "a websocket that is refused": async (clients) => {
      const wire = await clients.session();
      await wire.send("40");
      await wire.ended(LATER);
    },
    "a session by polling that never comes back": (clients) => clients.poll(),
    "a session by polling that said CONNECT and never comes back": (clients) => clients.polling(),
    "a session by polling with a GET that waits": async (clients) => (await clients.poll({ answersPings: false })).get(),
    "an upgrade that stops after the probe": async (clients) => {
      const wire = await clients.open({ sid: (await clients.polling()).sid });
      await wire.send("2probe");
      await wire.ended(LATER);
    },
    "an upgrade without a probe": async (clients) => (await clients.open({ sid: (await clients.polling()).sid })).ended(LATER),
  };
  const seats = CROWD * Object.keys(floods).length;
  scene("floods of what never begins", { limits: { max_connections: seats + 1 } }, (hostile) => {
    hostile("all are gone after their time, and their seats are free", async (clients, { url }) => {
      await allOf(Object.fromEntries(Object.entries(floods).flatMap(([name, begin]) =>
        Array.from({ length: CROWD }, (_, n) => [`${name} (${n})`, begin(clients)]))));
      let seated = 0;
      await until(`${seats} others find a seat`, async () => {
        while (seated < seats && (await request(url)).status === 200) seated += 1;
        return seated === seats || assert.fail(`${seated} have one`);
      }, { within: LATER, every: 500 });
    });
  });

  scene("requests without an end", {}, (hostile) => {
    const dripping = async (tcp, head) => {
      await tcp.write(head);
      const drip = setInterval(() => tcp.socket.write("x"), 500);
      await tcp.ended(PATIENCE).finally(() => clearInterval(drip));
    };
    hostile("closed after a while, all of them", async (clients) => {
      const session = await clients.polling();
      const second = clients.tcp();
      await second.write(`GET /healthz HTTP/1.1\r\nHost: ${second.host}\r\n\r\n`);
      assert.equal((await second.head()).status, 200);
      await allOf({
        "connections without a word": Promise.all(Array.from({ length: 20 }, () => clients.tcp().ended(PATIENCE))),
        "a head byte by byte": dripping(clients.tcp(), "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: "),
        "a second request, byte by byte": dripping(second, "GET /healthz HTTP/1.1\r\nX: "),
        "a body byte by byte":
          dripping(clients.tcp(), `POST /socket.io/?${session.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4`),
      });
      await session.gone();
    });
  });
});

/** Waits for all of them, and says which went wrong. */
async function allOf(promises) {
  const results = await Promise.allSettled(Object.values(promises));
  const wrong = Object.keys(promises).filter((_, n) => results[n].status === "rejected");
  const reasons = wrong.map((name) => `${name}: ${results[Object.keys(promises).indexOf(name)].reason.message}`);
  assert.deepEqual(reasons, []);
}

/** One byte of text and anything, as bytes. */
function text(...parts) {
  return Buffer.concat(parts.map((one) => (typeof one === "number" ? Buffer.from([one]) : Buffer.from(one))));
}

/** The message in fragments of one byte. */
function fragments(opcode, bytes) {
  return Array.from(bytes, (byte, n) => frame(n ? CONTINUATION : opcode, Buffer.from([byte]), { fin: n === bytes.length - 1 }));
}

/** With one byte of its mask changed. */
function garbled(bytes) {
  bytes[2] ^= 0xff;
  return bytes;
}
