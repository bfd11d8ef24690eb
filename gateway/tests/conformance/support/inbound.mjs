// A backend that reads clients' events from the stream, with a connection of its own.

export class Inbound {
  /** `handle(entry, backend)` is called with each entry's fields, in the order of the stream. */
  static async start(redis, handle, from = "$") {
    const inbound = new Inbound();
    inbound.reader = await redis.backend();
    inbound.backend = await redis.backend();
    // What is appended from now on, also before the first question.
    if (from === "$") {
      const last = await inbound.reader.command("XREVRANGE", "roomcast:inbound", "+", "-", "COUNT", 1);
      from = last[0]?.[0] ?? "0";
    }
    inbound.entries = [];
    inbound.reading = inbound.#read(from, handle).catch((error) => (inbound.error = error));
    return inbound;
  }

  async #read(from, handle) {
    while (!this.closed) {
      const answer = await this.reader.command("XREAD", "COUNT", 100, "BLOCK", 200, "STREAMS", "roomcast:inbound", from);
      for (const [id, fields] of answer?.["roomcast:inbound"] ?? []) {
        from = id;
        const entry = {};
        for (let at = 0; at < fields.length; at += 2) entry[fields[at]] = fields[at + 1];
        this.entries.push(entry);
        await handle(entry, this.backend);
      }
    }
  }

  async close() {
    this.closed = true;
    await this.reading;
    this.reader.close();
    this.backend.close();
  }
}
