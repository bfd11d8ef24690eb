// Waiting for a condition, with a deadline. Nothing in these suites waits by the clock alone.

import { setTimeout as tick } from "node:timers/promises";

/** Deadline for what should take milliseconds: long enough for a busy machine, short enough to notice. */
export const SOON = 10_000;
/** For what has to come before something that takes ten seconds. */
export const PROMPT = 5_000;

/**
 * Calls `condition` until it gives something truthy, and returns that.
 * A condition that throws counts as "not yet"; what it said last is part of the error.
 */
export async function until(what, condition, { within = SOON, every = 20 } = {}) {
  const deadline = performance.now() + within;
  let last;
  for (;;) {
    try {
      last = await condition();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${within} ms: ${what}; last seen: ${describeValue(last)}`);
    }
    await tick(every);
  }
}

/** `promise`, or an error that says what was waited for. */
export async function within(what, promise, limit = SOON) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limit} ms: ${what}`)), limit);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

function describeValue(value) {
  if (value instanceof Error) return value.cause ? `${value.message} (${value.cause.message})` : value.message;
  return JSON.stringify(value) ?? String(value);
}
