// A steady stream of numbered events, and the proof of what became of each.

import assert from "node:assert/strict";
import { setTimeout as pace } from "node:timers/promises";

export class Numbers {
  /** The answer for each number, or the error of one whose outcome is unknown to the publisher. */
  answers = new Map();
  sent = 0;
  #going = false;

  constructor(node, room, { every = 5, event = "number" } = {}) {
    Object.assign(this, { node, room, every, event });
  }

  /** What a client has heard, in the order of arrival. */
  heard(client) {
    return client.inbox.filter((one) => one.event === this.event).map((one) => one.args[0]);
  }

  start() {
    this.#going = true;
    this.ended = this.#run();
    return this;
  }

  async stop() {
    this.#going = false;
    await this.ended;
  }

  /** Numbers of which the publisher was told that they may be lost: an error, or an answer that reached nobody. */
  unconfirmed() {
    const lost = ([, answer]) => answer instanceof Error || answer.sockets === 0;
    return [...this.answers].filter(lost).map(([number]) => number);
  }

  /**
   * Each number at most once; all of them from `from` to the last and in order, but for those of `but`: what the
   * publisher was told to be in doubt may be missing, or come late.
   */
  assertHeard(client, { from, but = [] }) {
    const heard = this.heard(client);
    assert.equal(new Set(heard).size, heard.length, "some number arrived twice");
    const sure = heard.filter((number) => !but.includes(number));
    const disorder = sure.findIndex((number, n) => n > 0 && number < sure[n - 1]);
    assert.equal(disorder, -1, `out of order: ${sure.slice(Math.max(0, disorder - 3), disorder + 3)}`);
    const known = new Set([...heard, ...but]);
    const missing = [];
    for (let number = from; number <= this.sent; number += 1) if (!known.has(number)) missing.push(number);
    const told = missing.slice(0, 5).map((number) => `${number}: ${JSON.stringify(this.answers.get(number))}`);
    assert.deepEqual(missing, [], `missing of ${this.sent}, as answered: ${told.join("; ")}`);
  }

  async #run() {
    while (this.#going) {
      const number = this.sent + 1;
      try {
        this.answers.set(number, await this.node.publish({ room: this.room, event: this.event, data: number }));
      } catch (error) {
        this.answers.set(number, error);
      }
      this.sent = number;
      await pace(this.every);
    }
  }
}
