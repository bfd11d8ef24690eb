// nginx, HAProxy and Traefik with the files of docs/load-balancers, each sticky in both ways, before three nodes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { before, describe, test } from "node:test";
import { BALANCERS, Balancer, canRun, timeouts } from "./support/balancer.mjs";
import { Client, TRANSPORTS } from "./support/client.mjs";
import { formed } from "./support/cluster.mjs";
import { POLICY } from "./support/node.mjs";
import { Pretender } from "./support/pretender.mjs";
import { Requests } from "./support/requests.mjs";
import { Site } from "./support/site.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

/** `engine.ping_interval` and `engine.ping_timeout`: nobody who is well is silent for longer. */
const SILENCE = 25 + 20;
/** What a client of a node that is gone may need until it is back: the health checks, and its own pauses. */
const RETURN = 15_000;
const WAYS = Object.keys(TRANSPORTS);

describe("balancers", () => {
  const on = stage();
  const balancers = BALANCERS.filter(canRun);
  const residents = [];
  let redis, site, nodes;
  let joined = 0;

  before(async () => {
    [redis, site] = [await on.redis(), on.keep(await Site.start())];
    const config = {
      redis: { url: redis.url },
      server: { trusted_proxies: ["127.0.0.1"] },
      cors: { allowed_origins: site.origins },
      drain: { wait: "4s" }, // longer than the checks need
    };
    const policy = readFileSync(POLICY, "utf8");
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config, policy })));
    await formed(nodes);
    await Promise.all(balancers.map(async (one) => Object.assign(one, { runs: on.keep(await Balancer.start(one, nodes)) })));
    await Promise.all(balancers.flatMap((one) => WAYS.map(async (way) => {
      const client = on.keep(start(one, way, { tenant: "residents" }));
      residents.push(await client.connected());
      const since = performance.now();
      client.socket.io.on("ping", () => (client.wasSilent ||= performance.now() - since > 20_000));
    })));
  });

  test("each file allows for the longest silence of a client that is well", () => {
    for (const [file, found] of timeouts()) {
      assert.ok(found.length > 0, file);
      for (const [text, seconds] of found) assert.ok(seconds > SILENCE, `${file}: ${text}`);
    }
  });

  for (const one of balancers) {
    test(`${one.name}: clients on three nodes, by every transport, and each session on its own`, async (t) => {
      const requests = new Requests([one.runs.url]);
      const begun = await handshakes();
      const { clients, places } = await spread(one, 12);
      await until("those that upgrade have done so", () =>
        clients.every((client) => client.transport === (client.way === "polling" ? "polling" : "websocket")));
      const room = `tenant:${one.name}`;
      for (const [n, node] of nodes.entries()) {
        const { sockets, complete } = await node.publish({ room, event: "news", data: n });
        assert.deepEqual({ sockets, complete }, { sockets: clients.length, complete: true });
      }
      const backend = on.keep(await redis.backend());
      for (let n = 0; n < 10; n += 1) assert.equal((await backend.call(room, { event: "called", data: n }))[1], 3);
      await Promise.all(clients.map(async (client) => {
        for (const n of nodes.keys()) assert.deepEqual(await client.next("news"), [n]);
        for (let n = 0; n < 10; n += 1) assert.deepEqual(await client.next("called"), [n]);
        const elsewhere = nodes[(places.get(client) + 1) % 3];
        assert.equal((await elsewhere.publish({ room: `user:${client.user}`, event: "yours" })).sockets, 1);
        await client.next("yours");
        assert.ok((await client.ask("ping")).timestamp, "a client is answered");
        client.socket.on("question", (answer) => answer(client.user));
      }));
      const { acks, missing } = await nodes[0].ops.api("/request", { room, event: "question" });
      assert.deepEqual([acks.flat().sort(), missing], [clients.map((client) => client.user).sort(), 0], "and answers");

      assert.deepEqual(requests.refused(), [], "no request came to a node that does not know the session");
      assert.equal((await handshakes()) - begun, clients.length, "the nodes have begun one session for each client");
      clients.forEach(assertStayed);
      clients.forEach((client) => assertAddress(nodes[places.get(client)], client));
      requests.close();
      const count = nodes.map((_, n) => [...places.values()].filter((place) => place === n).length);
      t.diagnostic(`${clients.length} clients on the nodes: ${count.join(", ")}; ${requests.answered.length} requests`);
    });
  }

  test("a client cannot say that it is at another address", async () => {
    for (const one of balancers) {
      for (const way of ["websocket", "polling"]) {
        const client = await connect(one, way, { extraHeaders: { "x-forwarded-for": "6.6.6.6" } });
        assertAddress(nodes[await place(client)], client);
      }
    }
  });

  test("without stickiness websockets work; what polls never connects, and goes on trying", async () => {
    const one = { product: "haproxy", stickiness: "none", name: "haproxy, in turn" };
    const inTurn = (text) => edited(edited(text, "balance source", "balance roundrobin"), "hash-type consistent", "");
    one.runs = on.keep(await Balancer.start({ ...one, stickiness: "hash" }, nodes, inTurn));
    const requests = new Requests([one.runs.url]);
    const sockets = await Promise.all([1, 2, 3, 4, 5, 6].map(() => connect(one, "websocket")));
    await reached(one, sockets, nodes);
    assert.deepEqual(requests.refused(), []);
    for (const way of ["polling", "upgrade"]) {
      const client = join(one, way);
      for (const _ of [1, 2]) assert.match((await client.refused()).message, /^xhr (post|poll) error$/);
      assert.ok(client.socket.active && !client.socket.connected, "it goes on trying");
      client.close();
    }
    assert.ok(requests.refused().length >= 4);
    for (const refused of requests.refused()) assert.match(refused, /^(GET|POST) 400 .*sid=/);
    const polling = `${one.runs.url}/socket.io/?EIO=4&transport=polling`;
    // Others' last requests are among these, so that one may come to the right node by chance.
    await until("a request of a session comes to another node", async () => {
      const { sid } = JSON.parse((await (await fetch(polling)).text()).slice(1));
      const answer = await fetch(`${polling}&sid=${sid}`, { method: "POST", body: "40" });
      return answer.status === 400 && (await answer.json()).message === "Session ID unknown";
    });
    requests.close();
    sockets.forEach(assertStayed);
  });

  test("Chromium: the cookie needs withCredentials, and for pages of another site other attributes", async () => {
    const lax = balancers.find((one) => one.name === "haproxy, cookie").runs;
    const crossSite = (text) => edited(text, 'httponly attr "SameSite=Lax"', 'httponly secure attr "SameSite=None" attr "Partitioned"');
    const none = on.keep(await Balancer.start({ product: "haproxy", stickiness: "cookie", name: "SameSite=None" }, nodes, crossSite));
    await site.open();
    for (const [balancer, origin, way] of [[lax, site.same, "polling"], [lax, site.same, "upgrade"], [none, site.other, "upgrade"]]) {
      const tabs = await Promise.all([1, 2].map(() => site.visit(origin)));
      const users = tabs.map(() => `u${(joined += 1)}`);
      for (const [n, tab] of tabs.entries()) {
        const options = { token: token({ sub: users[n] }), transports: TRANSPORTS[way], withCredentials: true };
        assert.equal(await tab.connect(balancer.url, options), "connect", `${way} on ${origin}`);
        await nodes[n].publish({ room: `user:${users[n]}`, event: "news", data: way });
        assert.equal(await tab.next("news"), way);
      }
      const [first, second] = await Promise.all(users.map((user) => place({ user })));
      assert.equal(first, second, "tabs share the cookie, and so the node");
      for (const tab of tabs) assert.deepEqual(await tab.leave(), [], `${way} on ${origin}`);
    }
    for (const [origin, withCredentials] of [[site.same, false], [site.other, true]]) {
      await site.forget(); // a cookie is for all ports of a host
      const websocket = await site.visit(origin);
      assert.equal(await websocket.connect(lax.url, { token: token(), transports: ["websocket"], withCredentials }), "connect");
      // Where a request goes without the cookie is chance: now and then all of a session go to one node.
      let failed, statuses;
      for (let n = 0; n < 20 && failed !== "xhr post error" && failed !== "xhr poll error"; n += 1) {
        const polling = await site.visit(origin);
        failed = await polling.connect(lax.url, { token: token(), transports: ["polling"], withCredentials });
        statuses = await polling.leave();
      }
      assert.match(failed, /^xhr (post|poll) error$/, origin);
      assert.deepEqual([...new Set(statuses)], [400]);
      assert.deepEqual(await websocket.leave(), []);
    }
  });

  test("who is refused by a node that is full is let in by another, and /healthz is asked", async () => {
    await Promise.all(balancers.map(async (shipped) => {
      const full = on.keep(await Pretender.start());
      const one = { ...shipped, runs: on.keep(await Balancer.start(shipped, [nodes[0], nodes[1], full])) };
      const nine = async () => {
        for (let n = 0; n < 9; n += 1) await connect(one, WAYS[n % 3]); // in turn: another attempt is one at another node
      };
      if (one.stickiness === "cookie") {
        for (let tries = 0; full.requests.length === 0; tries += 1) {
          assert.ok(tries < 10, `${one.name}: it is never tried`);
          await nine();
        }
        for (const request of full.requests) assert.match(request, /^GET (?!.*sid=)/, "and nothing but the start of a session");
      }
      if (one.name === "nginx, cookie") return; // which has nobody else asked
      [full.isHealthy, full.asked] = [false, 0];
      if (one.product !== "nginx") await until("it has said no twice, and once more", () => full.asked > 2);
      full.requests = [];
      for (let tries = 0; tries === 0 || full.asked === 0; tries += 1) {
        assert.ok(tries < 10, `${one.name}: it is never asked`);
        await nine();
      }
      assert.deepEqual(full.requests, [], one.name);
    }));
  });

  test("a POST is sent to one node and to no other, whether that refuses it or breaks", async () => {
    const three = await Promise.all([1, 2, 3].map(() => Pretender.start()));
    three.forEach((node) => on.keep(node));
    const urls = await each(async (one) => on.keep(await Balancer.start(one, three)).url);
    for (const [way, does] of Object.entries({ refuses: (answer) => answer(503), breaks: (_, socket) => socket.destroy() })) {
      three.forEach((node) => (node.does = does));
      await each(async (one, n) => {
        const asked = `${urls[n]}/socket.io/?EIO=4&transport=polling&sid=${way}-${n}`;
        // HAProxy ends a connection that was kept, without an answer.
        const status = await fetch(asked, { method: "POST", body: "41" }).then((answer) => answer.status, () => "closed");
        assert.ok(["closed", 502, 503].includes(status), `${one.name} ${way}: ${status}`);
        const sent = three.flatMap((node) => node.requests.filter((request) => request.endsWith(`sid=${way}-${n}`)));
        assert.equal(sent.length, 1, `${one.name} ${way}: ${sent}`);
      });
    }
  });

  test("clients that have nothing to say stay connected, over pings and empty polls", async () => {
    await until("each was pinged after the engine's 25 s, or is away", () =>
      residents.every((client) => client.wasSilent || client.disconnects > 0), { within: 40_000 });
    residents.forEach(assertStayed);
    const { sockets } = await nodes[0].publish({ room: "tenant:residents", event: "news" });
    assert.equal(sockets, residents.length);
    for (const client of residents.splice(0)) {
      await client.next("news");
      client.close();
    }
  });

  test("kill -9 of a node: its clients come back on others, nobody else notices, nobody is sent to it", async () => {
    const [living, dead] = [nodes.slice(0, 2), nodes[2]];
    const groups = await Promise.all(balancers.map((one) => spread(one, 9)));
    await dead.kill();
    await each(async (one, n) => {
      const { clients, places } = groups[n];
      const victims = clients.filter((client) => places.get(client) === 2);
      await Promise.all(victims.map((client) => back(client, living[0])));
      await reached(one, clients, living);
      clients.filter((client) => places.get(client) !== 2).forEach(assertStayed);
      // With a hash, those from addresses that would go to it.
      for (const [m, way] of [...WAYS, ...WAYS].entries()) await connect(one, way, addressOf(one, victims, m));
    });
    await dead.start();
    await formed(nodes);
    await each(async (one, n) => {
      const { clients, places } = groups[n];
      const victims = clients.filter((client) => places.get(client) === 2);
      let tries = 0;
      await until(`${one.name} uses the node again`, async () => {
        const client = await connect(one, "websocket", addressOf(one, victims, (tries += 1)));
        return (await place(client)) === 2;
      }, { within: RETURN });
      if (one.stickiness === "hash") {
        // Back to the node of the hash, with the next request: what polls and was elsewhere meanwhile breaks once more.
        const moving = victims.filter((client) => client.way === "polling");
        await nodes[0].publish({ rooms: [...moving.map((client) => `user:${client.user}`), "nobody"], event: "wake" });
        await Promise.all(moving.map((client) => until(`${one.name}: ${client.user} has moved back`, async () =>
          client.socket.connected && (await allPlaces(client)).includes(2), { within: RETURN })));
      }
      for (const client of clients) {
        const expected = !victims.includes(client) ? 0 : one.stickiness === "hash" && client.way === "polling" ? 2 : 1;
        assert.equal(client.disconnects, expected, `${one.name}: ${client.user} by ${client.way}`);
      }
      await reached(one, clients, nodes);
    });
  });

  test("a node that is being stopped gets no new session, and its clients come back on others", async () => {
    const [draining, others] = [nodes[0], nodes.slice(1)];
    const groups = await Promise.all(balancers.map((one) => spread(one, 9)));
    const seen = draining.log.length;
    const stopped = draining.stop();
    await until("it is being stopped", () => draining.log.slice(seen).includes('"stopping: '));
    const known = joined;
    const requests = new Requests(balancers.filter(getsAllIn).map((one) => one.runs.url));
    let meanwhile = 0;
    await each(async (one, n) => {
      const { clients, places } = groups[n];
      const leaving = clients.filter((client) => places.get(client) === 0);
      if (one.stickiness === "cookie" && one.product !== "traefik") { // whose cookies have names that nobody else knows
        const begin = { headers: { cookie: "roomcast_node=1" } };
        const { status, headers } = await fetch(`${one.runs.url}/socket.io/?EIO=4&transport=polling`, begin);
        assert.equal(status, 200, one.name);
        assert.match(headers.get("set-cookie"), /^roomcast_node=[23];/, "who still has its cookie gets another one");
      }
      for (let m = 0; m < 6 || !draining.child.ended; m += 1) {
        if (!draining.child.ended) meanwhile += 1;
        const client = join(one, WAYS[m % 3], addressOf(one, leaving, m));
        // Those whose node it is by the hash try again until the check has failed; with nginx each request is one.
        if (getsAllIn(one)) await client.connected();
        else await back(client, others[0]);
      }
      await Promise.all(leaving.map((client) => back(client, others[0])));
      await reached(one, clients, others);
    });
    await stopped;
    assert.ok(meanwhile > 0, "some came while it was being stopped");
    const begun = requests.refused().filter((refused) => !refused.includes("sid="));
    assert.deepEqual(begun, [], "no session was refused");
    requests.close();
    const connected = draining.log.slice(seen).split("\n").filter((line) => line.includes('"connected"'));
    const late = connected.filter((line) => Number(/"user":"u(\d+)"/.exec(line)?.[1]) > known);
    assert.deepEqual(late, [], "nobody who came after that");
    await draining.start();
    await formed(nodes);
  });

  const each = (does) => Promise.all(balancers.map(does));

  /** Nobody sees that a node is being stopped. */
  const getsAllIn = (one) => one.stickiness === "cookie" || one.product === "nginx";

  /** A client from an address of its own, on its way to be connected; it is closed after the test. */
  function join(one, way, options) {
    const client = start(one, way, options);
    on.clients.push(client);
    return client;
  }

  function start(one, way, { tenant = one.name, address, extraHeaders } = {}) {
    joined += 1;
    const from = address ?? `127.9.${joined >> 8}.${joined & 255}`;
    const client = new Client(one.runs.url, {
      token: token({ sub: `u${joined}`, tenant_id: tenant }),
      transports: TRANSPORTS[way],
      withCredentials: one.stickiness === "cookie", // a jar for cookies, with this client
      agent: new Agent({ localAddress: from }),
      localAddress: from,
      extraHeaders,
    });
    Object.assign(client, { one, way, address: from, user: `u${joined}`, disconnects: 0 });
    client.socket.on("connect", () => (client.isIn = true));
    client.socket.on("disconnect", () => {
      if (client.isIn) client.disconnects += 1; // the client says it of attempts, too
      client.isIn = false;
    });
    return client;
  }

  /** One that gets in with its first attempt. */
  const connect = (one, way, options) => join(one, way, options).connected();

  /** That many clients or more, so that each node has some of them; and at which node each of them is. */
  async function spread(one, count) {
    const clients = await Promise.all(Array.from({ length: count }, (_, n) => connect(one, WAYS[n % 3])));
    const places = new Map(await Promise.all(clients.map(async (client) => [client, await place(client)])));
    while (new Set(places.values()).size < 3) {
      assert.ok(clients.length < 60, `${one.name}: a node gets nobody`);
      clients.push(await connect(one, WAYS[clients.length % 3]));
      places.set(clients.at(-1), await place(clients.at(-1)));
    }
    return { clients, places };
  }

  /** At which of the nodes the client is, as they say. */
  async function place(client) {
    const found = await allPlaces(client);
    assert.equal(found.length, 1, `${client.user} is at ${JSON.stringify(found)}`);
    return found[0];
  }

  /** A client that polled and was sent elsewhere leaves a session behind, until that is missed. */
  async function allPlaces({ user }) {
    const asked = nodes.find((node) => !node.child.ended);
    const { sockets } = await asked.ops.api(`/users/${user}`);
    const ids = await Promise.all(nodes.map((node) => (node.child.ended ? undefined : node.id())));
    return sockets.map((socket) => ids.indexOf(socket.node));
  }

  /** With a hash, the address of one of these clients. */
  const addressOf = (one, clients, n) => (one.stickiness === "hash" ? { address: clients[n % clients.length].address } : {});

  /** Connected again, and not at a node that is gone. */
  async function back(client, asked) {
    await until(`${client.one.name}: a client by ${client.way} is back`, async () =>
      client.socket.connected && (await asked.ops.api(`/users/${client.user}`)).connected === 1, { within: RETURN });
  }

  /** What any of the nodes is told for them reaches all of them. */
  async function reached(one, clients, asked) {
    for (const node of asked) {
      const { sockets } = await node.publish({ rooms: clients.map((client) => `user:${client.user}`), event: "again", data: node.port });
      assert.ok(sockets >= clients.length, `${one.name}: ${sockets} of ${clients.length}`);
      for (const client of clients) {
        const again = await client.next("again").catch((error) => assert.fail(`${one.name}, ${client.way}: ${error.message}`));
        assert.deepEqual(again, [node.port]);
      }
    }
  }

  async function handshakes() {
    const each = await Promise.all(nodes.map((node) => node.ops.metric("roomcast_handshakes_total", { outcome: "accepted" })));
    return each.reduce((sum, one) => sum + one);
  }

  function assertStayed(client) {
    assert.equal(client.disconnects, 0, `${client.one.name}: ${client.user} by ${client.way} was disconnected`);
  }

  /** The node has seen the client at its own address, not at that of the balancer. */
  function assertAddress(node, client) {
    const lines = node.log.split("\n").filter((line) => line.includes('"connected"') && line.includes(`"${client.user}"`));
    assert.equal(lines.length, 1, lines.join("\n"));
    assert.match(lines[0], new RegExp(`"peer":"${client.address.replaceAll(".", "\\.")}"`));
  }
});

/** The text with this in another place, which has to be in it. */
function edited(text, from, to) {
  assert.ok(text.includes(from), from);
  return text.replace(from, to);
}
