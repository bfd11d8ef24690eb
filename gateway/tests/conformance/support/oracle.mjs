// A model of who may see what: told of everything that is done and heard, it judges afterwards what is missing and what is
// too much.
//
// It knows no times, only the order of what happened in this process. A client is surely in a room from the
// acknowledgement on until it begins to leave; it may be in it from the moment that it asked until its leaving is
// acknowledged; else it is not. An event was surely delivered on a node when anybody there has it. So each socket and
// each event have one of three answers, and only MAYBE is left open.

const NO = 0;
const MAYBE = 1;
const YES = 2;

export class Oracle {
  #tick = 0;
  facts = new Map();
  presences = [];
  /** What was answered or heard and cannot be. */
  violations = [];

  tick() {
    return (this.#tick += 1);
  }

  violate(text) {
    this.violations.push(text);
  }

  /** A socket that is connected now; it may have been since `asked`. */
  connected({ node, user, name, asked, rooms }) {
    const presence = new Presence({ oracle: this, node, user, name: `${name}.${this.presences.length}` });
    const sure = this.tick();
    for (const room of rooms) presence.stays(room).push({ asked, sure });
    this.presences.push(presence);
    return presence;
  }

  /** Something is about to be published. `key` is unique and arrives with it. */
  publishing(key, { rooms, except = [], ...more }) {
    const fact = { key, rooms, except, started: this.tick(), delivered: new Map(), ...more };
    this.facts.set(key, fact);
    return fact;
  }

  /** Every node that was reached has delivered it. */
  published(fact, nodes) {
    const now = this.tick();
    for (const node of nodes) this.#delivered(fact, node, now);
  }

  heard(presence, key) {
    const fact = this.facts.get(key);
    const now = this.tick();
    presence.heard.push({ key, tick: now, at: performance.now() });
    if (fact) this.#delivered(fact, presence.node, now);
    return fact;
  }

  #delivered(fact, node, now) {
    if (!fact.delivered.has(node)) fact.delivered.set(node, now);
  }

  /** Everything that is wrong, and how much was decided. May be asked again when more was heard. */
  judge() {
    const verdict = { missing: [], extra: [], twice: [], order: [], counts: { must: 0, may: 0, heard: 0 } };
    const inRoom = this.#members();
    const expected = new Map(this.presences.map((presence) => [presence, new Map()]));
    for (const fact of this.facts.values()) {
      const members = new Set(fact.rooms.flatMap((room) => inRoom.get(room) ?? []));
      let sure = 0;
      for (const presence of members) {
        const answer = this.#expected(fact, presence);
        if (answer.isMember === YES) sure += 1;
        if (answer.gets !== NO) expected.get(presence).set(fact.key, answer.gets);
      }
      if (fact.counted !== undefined && fact.counted < sure) {
        verdict.missing.push(`${fact.key} to ${fact.rooms}: ${fact.counted} sockets were counted, ${sure} are in`);
      }
    }
    for (const [presence, keys] of expected) this.#judgeOne(presence, keys, verdict);
    return verdict;
  }

  #judgeOne(presence, expected, { missing, extra, twice, order, counts }) {
    const heard = new Map();
    const last = new Map();
    for (const { key } of presence.heard) {
      counts.heard += 1;
      heard.set(key, (heard.get(key) ?? 0) + 1);
      const fact = this.facts.get(key);
      if (!expected.has(key)) extra.push(`${presence.name} got ${key}, ${fact ? `which is for ${fact.rooms}` : "which nobody sent"}`);
      if (!fact?.source) continue;
      const before = last.get(fact.source);
      if (before && before.order > fact.order) order.push(`${presence.name} got ${fact.source}'s ${key} after ${before.key}`);
      last.set(fact.source, fact);
    }
    for (const [key, count] of heard) if (count > 1) twice.push(`${presence.name} got ${key} ${count} times`);
    for (const [key, gets] of expected) {
      counts[gets === YES ? "must" : "may"] += 1;
      if (gets === YES && !heard.has(key)) missing.push(`${presence.name} lacks ${key}, which is for ${this.facts.get(key).rooms}`);
    }
  }

  /** Whether it surely, perhaps or never got it, and was in one of the rooms. */
  #expected(fact, presence) {
    const delivered = fact.delivered.get(presence.node) ?? Infinity;
    const any = (rooms) => Math.max(NO, ...rooms.map((room) => presence.isIn(room, fact.started, delivered)));
    const rooms = fact.except.filter((one) => typeof one === "string");
    const isMember = Math.min(any(fact.rooms), YES - any(rooms));
    if (isMember === NO || fact.except.includes(presence)) return { isMember: NO, gets: NO };
    const happened = delivered < Infinity ? YES : this.#happened(fact, presence.node);
    return { isMember, gets: Math.min(isMember, happened, presence.keeps(delivered)) };
  }

  /** Whether what was sent was delivered at all, where nobody of a node has heard it. */
  #happened(fact, node) {
    const answer = fact.happened?.(node) ?? YES;
    if (answer === "elsewhere") return MAYBE;
    return answer === YES || (answer === MAYBE && fact.delivered.size > 0) ? YES : answer;
  }

  #members() {
    const members = new Map();
    for (const presence of this.presences) {
      for (const room of presence.rooms.keys()) {
        if (!members.has(room)) members.set(room, []);
        members.get(room).push(presence);
      }
    }
    return members;
  }
}

/** One connection of a client, from `connect` to its end. */
class Presence {
  /** By room, one after the other: `{asked, sure, leaving, left}`, of which the later ones may be missing. */
  rooms = new Map();
  heard = [];
  /** When questions were sent that were answered: what was sent before is done, what was queued before has arrived. */
  #roundtrips = [];

  constructor(fields) {
    Object.assign(this, fields);
  }

  stays(room) {
    if (!this.rooms.has(room)) this.rooms.set(room, []);
    return this.rooms.get(room);
  }

  /** What it will be in when everything that it sent was handled. */
  wants(room) {
    const last = this.stays(room).at(-1);
    return last !== undefined && last.leaving === undefined;
  }

  enter(room) {
    if (!this.wants(room)) this.stays(room).push({ asked: this.oracle.tick() });
  }

  leave(room) {
    if (this.wants(room)) this.stays(room).at(-1).leaving = this.oracle.tick();
  }

  /** Something that was sent at `asked` was answered now. Everything is handled in the order sent. */
  answered(asked) {
    const now = this.oracle.tick();
    this.#roundtrips.push(asked);
    for (const stay of [...this.rooms.values()].flat()) {
      if (stay.asked < asked) stay.sure ??= now;
      if (stay.leaving < asked) stay.left ??= now;
    }
  }

  /** From now on it is uncertain what still arrives. */
  ending() {
    this.ended ??= this.oracle.tick();
  }

  /** It is over: nothing arrives any more. */
  end() {
    this.ending();
    this.over ??= this.oracle.tick();
  }

  /** Whether it was in the room when something was delivered that was sent at `started` or later. */
  isIn(room, started, delivered) {
    let answer = NO;
    for (const { asked, sure, leaving, left } of this.rooms.get(room) ?? []) {
      if (asked > delivered || left < started || this.over < started) continue;
      const isSure = sure < started && !(leaving < delivered) && !(this.ended < delivered);
      answer = Math.max(answer, isSure ? YES : MAYBE);
    }
    return answer;
  }

  /** Whether what was put into its queue by then has reached it for sure. */
  keeps(delivered) {
    return this.ended === undefined || this.#roundtrips.some((asked) => asked > delivered) ? YES : MAYBE;
  }

  /** Whether what it sent at `sent` was handled for sure. */
  handled(sent) {
    return this.#roundtrips.some((asked) => asked >= sent) ? YES : MAYBE;
  }
}

/**
 * What clients tell each other that begins and ends: the model of "is typing", of one socket in one room.
 *
 * Each beginning and each end has a number, which the client puts into it. An end that comes by itself bears the number
 * of the last beginning.
 */
export class Typing {
  ops = [];

  constructor(oracle, presence, room, timeout) {
    Object.assign(this, { oracle, presence, room, timeout });
  }

  /** About to send a start or a stop with that number. */
  sends(number, isStart) {
    const fields = { rooms: [this.room], except: [this.presence], from: this.presence };
    const fact = this.oracle.publishing(key(number, isStart), fields);
    const op = { number, isStart, sent: fact.started, at: performance.now() };
    fact.happened = (node) => this.#isSaid(op, node);
    this.ops.push(op);
    if (isStart) {
      const end = this.oracle.publishing(key(number, false), fields);
      end.happened = () => this.#endsItself(op);
    }
    return fact;
  }

  leaves() {
    this.ops.push({ isLeave: true, sent: this.oracle.tick() });
  }

  /** Whether what was sent is told on a node: there, what has ended by itself just now does not end once more. */
  #isSaid(op, node) {
    const before = this.ops[this.ops.indexOf(op) - 1];
    const hasEnded = !op.isStart && before?.isStart && this.oracle.facts.get(key(before.number, false)).delivered.has(node);
    return hasEnded ? "elsewhere" : this.presence.handled(op.sent);
  }

  /** Whether the end that nobody sends is sent for this beginning. */
  #endsItself(op) {
    const next = this.ops[this.ops.indexOf(op) + 1];
    if (next && !next.isLeave) return "elsewhere"; // perhaps, if its time was over before: who heard it decides
    return this.oracle.facts.get(key(op.number, true)).delivered.size > 0 ? YES : this.presence.handled(op.sent);
  }

  /** Everything that observers, who missed nothing, heard in an order in which it cannot have been. */
  static judge(typings, observers) {
    const owners = new Map(typings.flatMap((typing) => typing.ops.filter((op) => op.number).map((op) => [op.number, typing])));
    return observers.flatMap((observer) => {
      const heard = new Map(typings.map((typing) => [typing, []]));
      for (const one of observer.heard) {
        const parsed = parse(one.key);
        heard.get(owners.get(parsed?.number))?.push({ ...one, ...parsed });
      }
      return [...heard].flatMap(([typing, list]) => typing.#judge(observer, list));
    });
  }

  #judge(observer, list) {
    const wrong = [];
    const numbers = new Map(this.ops.filter((op) => op.number).map((op, n) => [op.number, { op, n }]));
    let open;
    let last = -1;
    for (const { key: heard, tick, at, number, isStart } of list) {
      const { op, n } = numbers.get(number);
      const say = (what) => wrong.push(`${observer.name} at ${heard} of ${this.presence.name} in ${this.room}: ${what}`);
      if (isStart || !op.isStart) {
        if (n <= last) say("out of order");
        last = n;
        open = isStart ? op : undefined;
      } else {
        if (open !== op) say("ended by itself although it was not on");
        else if (!this.#isLeft(op, tick) && at - op.at < this.timeout - 5) say(`ended by itself after ${at - op.at} ms`);
        open = undefined;
      }
    }
    if (open) wrong.push(`${observer.name}: ${key(open.number, true)} of ${this.presence.name} in ${this.room} has not ended`);
    if (wrong.length) {
      const heard = list.map((one) => `${one.key} at ${one.tick} (${Math.round(one.at)})`);
      wrong.push(`in ticks (and milliseconds): did ${this.ops.map(describeOp).join(", ")}; heard ${heard.join(", ")}`);
    }
    return wrong;
  }

  /** Whether its sender had begun to leave or to go by then. */
  #isLeft(op, tick) {
    const next = this.ops.slice(this.ops.indexOf(op) + 1).find((one) => one.isLeave);
    return next?.sent < tick || this.presence.ended < tick;
  }
}

export const key = (number, isStart) => `${isStart ? "starts" : "stops"} ${number}`;

const parse = (text) => {
  const [, how, number] = /^(starts|stops) (.+)$/.exec(text) ?? [];
  return how && { number, isStart: how === "starts" };
};

const describeOp = ({ number, isStart, isLeave, sent, at }) =>
  isLeave ? `leaves at ${sent}` : `${key(number, isStart)} at ${sent} (${Math.round(at)})`;
