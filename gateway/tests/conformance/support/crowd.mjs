// Many clients and backends that do whatever the contract of the CRM lets them try, and tell an oracle of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { io } from "socket.io-client";
import { formed } from "./cluster.mjs";
import { FEED, FEED_TYPES } from "./crm.mjs";
import { POLICY } from "./node.mjs";
import { key, Oracle, Typing } from "./oracle.mjs";
import { token } from "./token.mjs";
import { until } from "./until.mjs";

const TENANTS = 4;
const USERS = 6;
/** Typing ends by itself after this long: sooner than in the example, so that it happens often. */
const TIMEOUT = 1500;
const CLAIMS = { whatsapp: "whatsapp_accounts", campaign: "campaigns", contact: "contacts" };
const EVENTS = ["whatsapp:ready", "message:received", "campaign:progress", "contact:updated", "team:activity", "system:notification"];
const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];
const PATIENCE = 60_000;

/** Numbers that look like chance and are the same again for the same seed. */
export class Chance {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  is(share) {
    return this.next() < share;
  }

  below(count) {
    return Math.floor(this.next() * count);
  }

  of(list) {
    return list[this.below(list.length)];
  }

  some(list) {
    return list.filter(() => this.is(0.7));
  }
}

/** The seed of this run: from the environment, or a new one. */
export const seed = Number(process.env.ROOMCAST_SEED ?? Math.floor(Math.random() * 2 ** 31));

const ids = (letter, count) =>
  Array.from({ length: TENANTS }, (_, t) => Array.from({ length: count }, (_, n) => `${letter}-${t}-${n}`));
const WORLD = { whatsapp: ids("w", 4), campaign: ids("c", 4), contact: ids("k", 6), bot: ids("b", 2) };
const users = ids("u", USERS);

/** Rooms that an observer on each node is in all the time. The others are entered and left by everybody. */
const isObserved = (room) => !/^(whatsapp|campaign):/.test(room) && !/^contact:k-\d-[45]$/.test(room) && !/^user:u-\d-[345]/.test(room);
const ALL_ROOMS = [
  "system", "contact:nobody",
  ...Array.from({ length: TENANTS }, (_, t) => [`tenant:t-${t}`, `user:a-${t}-0`, `user:a-${t}-1`]).flat(),
  ...users.flat().map((user) => `user:${user}`),
  ...users.flatMap((list, t) => list.flatMap((user) => WORLD.bot[t].map((bot) => `user:${user}:bot:${bot}`))),
  ...Object.keys(CLAIMS).flatMap((kind) => WORLD[kind].flat().map((id) => `${kind}:${id}`)),
];

export class Crowd {
  oracle = new Oracle();
  counts = {};
  /** By the connection and the room. */
  typing = new Map();
  observers = [];
  going = true;
  isOver = false;
  number = 0;

  static async start(on, { clients, seed, rest }) {
    const redis = await on.redis();
    const policy = readFileSync(POLICY, "utf8").replace('timeout = "6s"', `timeout = "${TIMEOUT}ms"`);
    assert.match(policy, new RegExp(`"${TIMEOUT}ms"`));
    const config = { redis: { url: redis.url, unsubscribe_delay: "200ms" }, log: { level: "info" } };
    const nodes = await Promise.all([1, 2].map(() => on.node({ policy, config })));
    await formed(nodes);
    const crowd = new Crowd();
    Object.assign(crowd, { nodes, redis, rest, on });
    crowd.backends = await Promise.all([1, 2, 3, 4].map(async () => on.keep(await redis.backend())));
    for (const n of [0, 1]) crowd.observers.push(await Observer.start(crowd, n));
    crowd.actors = Array.from({ length: clients }, (_, n) => on.keep(new Actor(crowd, n, new Chance(seed * 1000 + n))));
    crowd.sources = sources(crowd, seed);
    return crowd;
  }

  did(what, count = 1) {
    this.counts[what] = (this.counts[what] ?? 0) + count;
  }

  /** Everybody does something for so many seconds. Then what was begun is ended, and awaited. */
  async run(seconds) {
    const work = [...this.actors, ...this.sources].map((one) => one.run());
    await pause(seconds * 1000);
    this.going = false;
    await Promise.all(work);
    await Promise.all(this.actors.map((actor) => actor.settle()));
    for (const room of ALL_ROOMS) await this.sources[0].publish(room);
    for (const source of this.sources) await source.publish("system");
    await this.#complete();
    // Somebody types once more, and that ends by itself: whatever would end late or twice has done so before.
    const last = this.actors.find((actor) => actor.allowed("contact", "k-0-0")) ?? this.actors[0];
    await last.type("k-0-0");
    await this.#complete();
    await Promise.all(this.actors.map((actor) => actor.settle()));
    this.isOver = true;
  }

  /** What must have arrived has. If it does not, judging says what it is. */
  async #complete() {
    const isComplete = () => this.oracle.judge().missing.length === 0 && this.judgeTyping().every((wrong) => !wrong.includes("has not ended"));
    await until("everything has arrived", isComplete, { within: 30_000, every: 500 }).catch(() => {});
  }

  judgeTyping() {
    return Typing.judge([...this.typing.values()], this.observers.map(({ presence }) => presence));
  }

  /** All that is wrong, as texts. */
  wrong() {
    const { missing, extra, twice, order } = this.oracle.judge();
    return { violations: this.oracle.violations, missing, extra, twice, order, typing: this.judgeTyping() };
  }

  typingOf(presence, room) {
    const name = `${presence.name} ${room}`;
    if (!this.typing.has(name)) this.typing.set(name, new Typing(this.oracle, presence, room, TIMEOUT));
    return this.typing.get(name);
  }

  /** Something arrived at a client. */
  arrived(presence, event, args) {
    const [data, ...more] = args;
    const say = (what) => this.oracle.violate(`${presence.name} got ${event} ${JSON.stringify(args).slice(0, 200)}: ${what}`);
    if (event === "pong" || event === "subscribe:error") return void (presence.answers[event] = (presence.answers[event] ?? 0) + 1);
    if (event === "typing:indicator") {
      const { contactId, whatsappAccountId, isTyping, userId, timestamp, ...rest } = data;
      const fact = this.oracle.heard(presence, key(whatsappAccountId, isTyping));
      const isRight = fact && fact.from.user === userId && fact.rooms[0] === `contact:${contactId}` && /^20\d\d-.*Z$/.test(timestamp);
      if (!isRight || more.length || Object.keys(rest).length) say("not what was relayed");
      return undefined;
    }
    const fact = this.oracle.heard(presence, data?.key);
    if (!fact || fact.event !== event || more.length || JSON.stringify(data) !== fact.text) say("not what was published");
    return undefined;
  }
}

/** Is in every observed room of its node, and never leaves. */
class Observer {
  static async start(crowd, n) {
    const client = await crowd.on.connect(crowd.nodes[n], { token: token({ sub: `observer-${n}` }) });
    const rooms = ALL_ROOMS.filter(isObserved);
    const session = client.socket.id;
    for (let from = 0; from < rooms.length; from += 100) {
      const { sockets } = await crowd.nodes[n].ops.api("/join", { session, rooms: rooms.slice(from, from + 100) });
      assert.equal(sockets, 1);
    }
    const observer = new Observer();
    const own = ["system", `user:observer-${n}`];
    observer.presence = crowd.oracle.connected({ node: n, name: `observer ${n}`, asked: 0, rooms: [...new Set([...own, ...rooms])] });
    observer.presence.answers = {};
    client.socket.onAny((event, ...args) => crowd.arrived(observer.presence, event, args));
    client.socket.on("disconnect", (reason) => crowd.isOver || crowd.oracle.violate(`observer ${n} was disconnected: ${reason}`));
    return observer;
  }
}

/** A client that does one thing after the other. */
class Actor {
  constructor(crowd, n, chance) {
    const t = n % TENANTS;
    const isOperator = chance.is(0.03);
    const list = (kind) => (isOperator ? ["*"] : chance.is(0.1) ? undefined : chance.some(WORLD[kind][t]));
    this.claims = {
      sub: chance.of(users[t]),
      account_id: chance.is(0.8) ? `a-${t}-${chance.below(2)}` : undefined,
      tenant_id: chance.is(0.9) ? `t-${t}` : undefined,
      ...Object.fromEntries(Object.entries(CLAIMS).map(([kind, claim]) => [claim, list(kind)])),
      bots: chance.is(0.2) ? undefined : chance.some(WORLD.bot[t]),
      exp: Math.floor(Date.now() / 1000) + 3600,
    };
    this.query = chance.is(0.7) ? { botId: chance.of(chance.of(WORLD.bot)) } : {};
    Object.assign(this, { crowd, oracle: crowd.oracle, chance, node: chance.below(2), name: `client ${n}`, early: [], begun: new Set() });
    this.asked = this.oracle.tick();
    this.socket = io(crowd.nodes[this.node].url, {
      auth: { token: token(this.claims) }, query: this.query, transports: chance.of(TRANSPORTS), forceNew: true,
      reconnectionDelay: 50, reconnectionDelayMax: 500,
    });
    this.socket.on("connect", () => this.#connected());
    this.socket.on("connect_error", (error) => {
      if (!this.socket.active) this.oracle.violate(`${this.name} was refused: ${error.message}`);
    });
    this.socket.on("disconnect", () => this.#disconnected());
    this.socket.onAny((event, ...args) => {
      if (this.presence) crowd.arrived(this.presence, event, args);
      else this.early.push([event, args]);
    });
  }

  /** The rooms that the contract gives it on connect. */
  get #rooms() {
    const { sub, account_id: account, tenant_id: tenant, bots = [] } = this.claims;
    const { botId } = this.query;
    return ["system", `user:${sub}`, account && `user:${account}`, tenant && `tenant:${tenant}`,
      bots.includes(botId) && `user:${sub}:bot:${botId}`].filter(Boolean);
  }

  allowed(kind, id) {
    const list = this.claims[CLAIMS[kind]] ?? [];
    return list.includes(id) || list.includes("*");
  }

  #connected() {
    this.presence = this.oracle.connected({ node: this.node, user: this.claims.sub, name: this.name, asked: this.asked, rooms: this.#rooms });
    Object.assign(this.presence, { answers: {}, pings: [], refused: [], id: this.socket.id });
    this.crowd.did("connections");
    for (const [event, args] of this.early.splice(0)) this.crowd.arrived(this.presence, event, args);
  }

  #disconnected() {
    this.presence?.end(); // none, when a connection ended before it was accepted
    this.presence = undefined;
    this.asked = this.oracle.tick();
  }

  async run() {
    await pause(this.chance.below(this.crowd.rest * 2));
    while (this.crowd.going) {
      await this.#connectedAgain();
      if (this.presence && this.socket.connected && this.presence.ended === undefined) await this.#act();
      await pause(this.chance.below(this.crowd.rest));
    }
  }

  #connectedAgain() {
    return until(`${this.name} is connected`, () => this.socket.connected && this.presence, { within: PATIENCE });
  }

  /** Connected, with everything that it sent handled. */
  async settle() {
    await this.#connectedAgain();
    await Promise.all([...this.begun]);
    const { presence } = this;
    await this.#ask("time", "ping", presence.pings.push(this.oracle.tick()));
    for (const [event, sent] of [["pong", presence.pings], ["subscribe:error", presence.refused]]) {
      const got = presence.answers[event] ?? 0;
      if (got !== sent.length) this.oracle.violate(`${presence.name} got ${got} times ${event} for ${sent.length}`);
    }
  }

  async type(contact) {
    this.#enter("contact", contact, true);
    this.#type("typing:start", contact, true);
    await Promise.all([...this.begun]);
  }

  close() {
    this.socket.disconnect();
  }

  #act() {
    const { chance } = this;
    const kind = chance.of(["whatsapp", "campaign", "contact", "contact"]);
    const contact = chance.is(0.7) ? this.#contact() : `k-${chance.below(TENANTS)}-${chance.below(4)}`;
    const isAsked = chance.is(0.75);
    const choice = chance.below(100);
    if (choice < 40) return this.#enter(kind, this.#id(kind), isAsked);
    if (choice < 50) return this.#leave(kind, this.#id(kind), isAsked);
    if (choice < 72) return this.#type("typing:start", contact, isAsked);
    if (choice < 84) return this.#type("typing:stop", contact, isAsked);
    if (choice < 95) return this.#ping(isAsked);
    return this.#go();
  }

  /** Mostly one that it may have, sometimes another's, or none at all. */
  #id(kind) {
    const { chance } = this;
    const own = WORLD[kind][this.#tenant].filter((id) => this.allowed(kind, id));
    if (chance.is(0.7) && own.length) return chance.of(own);
    return chance.is(0.9) ? chance.of(WORLD[kind].flat()) : chance.of(["nobody", "*", "k-0-0,contact:k-1-0"]);
  }

  /** One that it is in, where typing is observed. */
  #contact() {
    const rooms = [...this.presence.rooms.keys()].filter((room) => room.startsWith("contact:") && isObserved(room) && this.presence.wants(room));
    return rooms.length ? this.chance.of(rooms).slice("contact:".length) : `k-${this.#tenant}-0`;
  }

  get #tenant() {
    return Number(this.name.slice("client ".length)) % TENANTS;
  }

  #enter(kind, id, isAsked) {
    const { presence } = this;
    const room = `${kind}:${id}`;
    const isAllowed = this.allowed(kind, id);
    if (isAllowed) presence.enter(room);
    else if (!isAsked) presence.refused.push(this.oracle.tick());
    this.crowd.did(isAllowed ? "subscribed" : "subscriptions refused");
    const expected = isAllowed ? { ok: true, room } : { ok: false, code: "not_allowed", message: "not allowed" };
    return this.#send(isAsked && expected, `subscribe:${kind}`, id);
  }

  #leave(kind, id, isAsked) {
    const room = `${kind}:${id}`;
    const typing = this.crowd.typing.get(`${this.presence.name} ${room}`);
    if (this.presence.wants(room)) typing?.leaves();
    this.presence.leave(room);
    this.crowd.did("unsubscribed");
    return this.#send(isAsked && { ok: true, room }, `unsubscribe:${kind}`, id);
  }

  #type(event, contactId, isAsked) {
    const room = `contact:${contactId}`;
    const isIn = this.presence.wants(room);
    const whatsappAccountId = `${(this.crowd.number += 1)}`;
    if (isIn) this.crowd.typingOf(this.presence, room).sends(whatsappAccountId, event === "typing:start");
    this.crowd.did(isIn ? event : "relays refused");
    const expected = isIn ? { ok: true } : { ok: false, code: "not_in_room", message: "only who is in the room reaches the others in it" };
    return this.#send(isAsked && expected, event, { contactId, whatsappAccountId, userId: "forged", timestamp: "1999", isTyping: 7 });
  }

  #ping(isAsked) {
    this.presence.pings.push(this.oracle.tick());
    this.crowd.did("pings");
    return this.#send(isAsked && "time", "ping");
  }

  /** Sends, and has the answer compared; three times out of ten without waiting for it. */
  #send(expected, event, ...args) {
    if (!expected) return void this.socket.emit(event, ...args);
    const asking = this.#ask(expected, event, ...args).finally(() => this.begun.delete(asking));
    this.begun.add(asking);
    return this.chance.is(0.7) ? asking : undefined;
  }

  async #ask(expected, event, ...args) {
    const { presence } = this;
    const asked = this.oracle.tick();
    try {
      const answer = await this.socket.timeout(PATIENCE).emitWithAck(event, ...args);
      presence.answered(asked);
      const isRight = expected === "time" ? Number.isInteger(answer.timestamp) : JSON.stringify(sorted(answer)) === JSON.stringify(sorted(expected));
      if (!isRight) this.oracle.violate(`${presence.name} ${event} ${JSON.stringify(args)}: ${JSON.stringify(answer)}, not ${JSON.stringify(expected)}`);
    } catch (error) {
      if (presence.ended === undefined) this.oracle.violate(`${presence.name} ${event}: ${error.message}`);
    }
  }

  /** Goes, sometimes with everything done before, and comes back by itself or on its own. */
  async #go() {
    const { presence, socket, chance } = this;
    if (chance.is(0.5)) await this.#ask("time", "ping", presence.pings.push(this.oracle.tick()));
    if (this.presence !== presence) return;
    presence.ending();
    const how = chance.below(3);
    this.crowd.did(["disconnected", "transports lost", "sent away"][how]);
    if (how === 0) {
      socket.disconnect();
      await pause(chance.below(this.crowd.rest));
      socket.connect();
    } else if (how === 1) {
      socket.io.engine.close();
    } else {
      const node = chance.of(this.crowd.nodes);
      const { sockets, complete } = await node.ops.api("/disconnect", { session: presence.id, reconnect: true });
      if (complete && sockets !== 1) this.oracle.violate(`${presence.name} was sent away ${sockets} times`);
      if (!complete) {
        this.crowd.did("incomplete orders"); // a busy node did not answer in time, and may have done it or not
        if (this.presence === presence) socket.io.engine.close();
      }
      await until(`${presence.name} has noticed`, () => presence.over !== undefined, { within: PATIENCE });
    }
  }
}

/** A backend that publishes one thing after the other. */
class Source {
  order = 0;

  constructor(crowd, name, chance, send, { byRoom = false } = {}) {
    Object.assign(this, { crowd, name, chance, send, byRoom });
  }

  async run() {
    while (this.crowd.going) {
      await this.publish(this.chance.of(ALL_ROOMS));
      await pause(this.chance.below(40));
    }
  }

  async publish(room) {
    const { crowd, chance } = this;
    const number = `${(crowd.number += 1)}`;
    const event = chance.of(EVENTS);
    const data = { key: number, room, by: this.name };
    const source = this.byRoom ? `${this.name} ${room}` : this.name;
    const fields = { event, text: JSON.stringify(data), source, order: (this.order += 1) };
    crowd.did(`by ${this.name}`);
    try {
      await this.send({ number, room, event, data, fields });
    } catch (error) {
      crowd.oracle.violate(`${this.name}: ${error.message}`);
    }
  }
}

function sources(crowd, seed) {
  const { oracle, nodes, backends: [functions, stream, channel, feed] } = crowd;
  const chances = Array.from({ length: 6 }, (_, n) => new Chance(seed * 1000 + 900 + n));
  const twice = async (chance, send) => {
    const answer = await send();
    if (chance.is(0.5)) await send();
    return answer;
  };
  const somebody = (chance) => chance.of(crowd.actors).presence;

  const api = (node, chance) => async ({ number, room, event, data, fields }) => {
    const rooms = chance.is(0.2) ? [room, chance.of(ALL_ROOMS), chance.of(ALL_ROOMS)] : [room];
    const except = chance.is(0.1) ? [chance.of([somebody(chance), chance.of(ALL_ROOMS)])].filter(Boolean) : [];
    const count = chance.is(0.8);
    const id = rooms.length === 1 && chance.is(0.1) ? `id-${number}` : undefined;
    const fact = oracle.publishing(number, { rooms, except, ...fields });
    const envelope = { rooms, event, data, except: except.map((one) => one.id ?? one), count, id };
    const send = () => node.publish(envelope);
    const { complete, sockets } = id ? await twice(chance, send) : await send();
    if (!count) return;
    if (!complete) return void crowd.did("incomplete answers");
    fact.counted = sockets;
    oracle.published(fact, [0, 1]);
  };
  const one = (send) => async ({ number, room, event, data, fields }) => {
    oracle.publishing(number, { rooms: [room], ...fields });
    await send(room, { event, data });
  };
  return [
    ...nodes.map((node, n) => new Source(crowd, `api ${n}`, chances[n], api(node, chances[n]))),
    new Source(crowd, "function", chances[2], one((room, envelope) => {
      const id = chances[2].is(0.1) ? `id-${envelope.data.key}` : undefined;
      return id ? twice(chances[2], () => functions.call(room, { ...envelope, id })) : functions.call(room, envelope);
    })),
    new Source(crowd, "stream", chances[3], one((room, envelope) => stream.append({ room, ...envelope })), { byRoom: true }),
    new Source(crowd, "channel", chances[4], one((room, envelope) => channel.publish({ room, ...envelope }))),
    new Source(crowd, "feed", chances[5], async ({ number, data, fields }) => {
      const tenantId = `t-${chances[5].below(TENANTS)}`;
      const type = chances[5].of(FEED_TYPES);
      oracle.publishing(number, { rooms: [`tenant:${tenantId}`], ...fields, event: type });
      await feed.command("PUBLISH", FEED, JSON.stringify({ type, tenantId, data }));
    }),
  ];
}

const sorted = (object) => Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1));
