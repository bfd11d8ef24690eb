// The operations listener, as a backend and an operator use it.

import { sawAnswer } from "./output.mjs";

export class Ops {
  constructor(url, key) {
    this.url = url;
    this.key = key;
  }

  /** One request; who asks in another way overrides it. */
  fetch(url, options) {
    return fetch(url, options);
  }

  async get(path, options = {}) {
    const response = await this.fetch(this.url + path, { signal: AbortSignal.timeout(10_000), ...options });
    if (path === "/metrics" && response.ok) sawAnswer(path, await response.clone().text());
    else if (path === "/stats" || !response.ok) sawAnswer(path, `${response.status} ${await response.clone().text()}`);
    return response;
  }

  post(path, body, headers = {}) {
    return this.get(path, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${this.key}`, ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  }

  /** Publishes an envelope (an object, or JSON text that must not be touched) and returns the answer. */
  async publish(envelope) {
    const response = await this.post("/api/v1/publish", envelope);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`publish: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** Asks the API, with a body by POST, and returns what a 200 says. */
  async api(path, body) {
    const headers = { authorization: `Bearer ${this.key}` };
    const response = await (body ? this.post(`/api/v1${path}`, body) : this.get(`/api/v1${path}`, { headers }));
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  async stats() {
    const response = await this.get("/stats");
    if (response.status !== 200) throw new Error(`stats: ${response.status}`);
    return response.json();
  }

  /** All samples: `[{name, labels, value}]`. */
  async metrics() {
    const text = await (await this.get("/metrics")).text();
    return text.split("\n").filter((line) => line && !line.startsWith("#")).map(sample);
  }

  /** The sum of one metric over the samples whose labels match. */
  async metric(name, labels = {}) {
    const wanted = Object.entries(labels);
    return (await this.metrics())
      .filter((one) => one.name === name && wanted.every(([key, value]) => one.labels[key] === value))
      .reduce((sum, one) => sum + one.value, 0);
  }
}

function sample(line) {
  const [, name, labels = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
  if (!name) throw new Error(`not a sample: ${line}`);
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}
