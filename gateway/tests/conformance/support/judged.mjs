// A crowd, and what the oracle says of it. And the proof that the oracle would have noticed.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Chance, Crowd, seed } from "./crowd.mjs";
import { stage } from "./stage.mjs";
import { until } from "./until.mjs";

const NOTHING = { violations: [], missing: [], extra: [], twice: [], order: [], typing: [] };
/** What a busy node may lose, and this one must not. */
const LOSSES = ["slow_consumer", "bus_lag", "bus_queue_full", "relay_queue_full", "relay_unsent", "relay_endings_full", "frame_malformed",
  "envelope_invalid", "untranslated", "event_queue_full", "malformed_event"];

/** To be called inside of `describe`. Each client does something, and then nothing for up to `rest` milliseconds. */
export function judged({ clients, seconds, rest }) {
  const on = stage();
  let crowd;
  let verdict;

  test("nobody gets too much, and nobody too little", async (t) => {
    t.diagnostic(`ROOMCAST_SEED=${seed}`);
    crowd = await Crowd.start(on, { clients, seed, rest });
    await crowd.run(seconds);
    verdict = crowd.oracle.judge();
    const done = Object.entries(crowd.counts).sort().map(([what, count]) => `${what} ${count}`);
    t.diagnostic(`done: ${done.join(", ")}`);
    const { must, may, heard } = verdict.counts;
    t.diagnostic(`${crowd.oracle.facts.size} events, deliveries: ${must} expected, ${may} possible, ${heard} heard`);
    for (const node of crowd.nodes) {
      for (const reason of LOSSES) assert.equal(await node.ops.metric("roomcast_dropped_total", { reason }), 0, reason);
      assert.equal(await node.ops.metric("roomcast_gaps_total"), 0, "gaps");
    }
    assert.deepEqual(shortened(crowd.wrong()), NOTHING, `ROOMCAST_SEED=${seed}`);
    assert.ok(must > 20 * clients && must > may, `most is decided: ${must} of ${must + may}`);
  });

  test("the oracle would have noticed", () => {
    assert.ok(verdict, "there is a verdict");
    const { presences, facts } = crowd.oracle;
    const chance = new Chance(seed);
    const one = (list, fits) => {
      const fitting = list.filter(fits);
      assert.ok(fitting.length > 0, "there is an example");
      return chance.of(fitting);
    };
    const found = () => Object.fromEntries(Object.entries(crowd.wrong()).map(([what, list]) => [what, list.length]));
    const none = Object.fromEntries(Object.keys(NOTHING).map((what) => [what, 0]));

    // An event that the last connection of somebody got from the system room, which it never leaves, before others of the same
    // source: it would not have come late otherwise.
    const surely = ({ rooms, heard }) => heard.findIndex(({ key }, at) => {
      const fact = facts.get(key);
      const isSure = fact?.source && fact.rooms.includes("system") && fact.except.length === 0 && rooms.get("system")?.[0].sure < fact.started;
      return isSure && heard.some((later, n) => n > at && facts.get(later.key)?.source === fact.source);
    });
    const listener = one(presences, (presence) =>
      presence.ended === undefined && presence.heard.length > 20 && presence.pings && surely(presence) >= 0);
    const at = surely(listener);
    const [dropped] = listener.heard.splice(at, 1);
    assert.deepEqual(found(), { ...none, missing: 1 }, "one that was dropped");
    listener.heard.splice(at, 0, dropped, dropped);
    assert.deepEqual(found(), { ...none, twice: 1 }, "one that came twice");
    listener.heard.splice(at, 2);
    listener.heard.push(dropped);
    assert.equal(found().order, 1, "one that came late");
    listener.heard.pop();
    listener.heard.splice(at, 0, dropped);

    // One of a room that it was never in, and one that nobody sent.
    const foreign = one([...facts.keys()], (key) => !facts.get(key).rooms.some((room) => listener.rooms.has(room)) && !facts.get(key).source);
    for (const key of [foreign, "nobody's"]) {
      listener.heard.unshift({ ...dropped, key });
      assert.deepEqual(found(), { ...none, extra: 1 }, "one too many");
      listener.heard.shift();
    }

    // Somebody's typing that ended again, and that never ended.
    const [{ presence: observer }] = crowd.observers;
    const stop = one(observer.heard, ({ key }) => key.startsWith("stops"));
    observer.heard.push(stop);
    assert.ok(found().typing > 0 && found().twice === 1, "an end that came twice");
    observer.heard.pop();
    const index = observer.heard.indexOf(stop);
    observer.heard.splice(index, 1);
    assert.ok(found().missing > 0, "an end that did not come");
    observer.heard.splice(index, 0, stop);
    assert.deepEqual(found(), none);
  });

  test("when all are gone, nothing is left of them", async () => {
    for (const actor of crowd.actors) actor.close();
    on.closeClients();
    for (const node of crowd.nodes) {
      await until("nobody is left", async () => {
        const { node: own, cluster } = await node.ops.stats();
        const left = [own.connected, own.users, own.rooms, cluster.connected, cluster.users, cluster.rooms];
        if (left.some((count) => count !== 0)) throw new Error(`${left}`);
        return true;
      });
    }
  });

  after(() => crowd?.actors.forEach((actor) => actor.close()));
}

/** The first few of each kind, and how many more there are. */
function shortened(wrong) {
  const short = (list) => (list.length > 10 ? [...list.slice(0, 10), `and ${list.length - 10} more`] : list);
  return Object.fromEntries(Object.entries(wrong).map(([what, list]) => [what, short(list)]));
}
