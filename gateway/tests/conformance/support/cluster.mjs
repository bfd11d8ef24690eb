// What "the cluster is whole" means, seen from outside.

import { until } from "./until.mjs";

/** Redis is allowed this long to be found again: the longest pause between two tries, and then some. */
const RETURN = 20_000;

export const connectedAll = (nodes) => busState(nodes, "connected", (state) => state === "connected", 1);
export const disconnectedAll = (nodes) => busState(nodes, "away from", (state) => state !== "connected", 0);

function busState(nodes, how, isSo, gauge) {
  return until(`every node is ${how} Redis, in /stats and in /metrics`, async () => {
    const states = await Promise.all(nodes.map(async (node) => (await node.ops.stats()).bus.state));
    const gauges = await Promise.all(nodes.map((node) => node.ops.metric("roomcast_bus_connected")));
    if (!states.every(isSo) || !gauges.every((one) => one === gauge)) throw new Error(JSON.stringify({ states, gauges }));
    return true;
  }, { within: RETURN });
}

/** Every node knows of every other, and of nobody who is gone. */
export function formed(nodes) {
  return until(`${nodes.length} nodes know each other`, async () => {
    const views = await Promise.all(nodes.map(async (node) => (await node.ops.stats()).cluster));
    if (!views.every((view) => view.complete && view.nodes === nodes.length)) throw new Error(JSON.stringify(views));
    return true;
  }, { within: RETURN });
}

/** Publishes until the answer is complete and holds the expected numbers. */
export function complete(node, expected, envelope) {
  return until(`${node.url} gets a complete answer with ${JSON.stringify(expected)}`, async () => {
    const answer = await node.publish(envelope);
    const fits = answer.complete && Object.entries(expected).every(([name, value]) => answer[name] === value);
    if (!fits) throw new Error(JSON.stringify(answer));
    return answer;
  }, { within: RETURN });
}
