// What nodes, Redis and the API say in a run, kept in files, beside the secrets that may stand nowhere in it. leaks.mjs
// compares the two afterwards. Only where ROOMCAST_TEST_OUTPUT names a folder, as `./test` does.

import { existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const folder = process.env.ROOMCAST_TEST_OUTPUT;

/** A file that grows beyond this is not continued: what a suite says again and again is in it. */
const MOST_BYTES = 64 << 20;
/** Secrets of one test process, at most. */
const MOST_SECRETS = 100_000;

class File {
  #bytes = 0;

  constructor(name) {
    this.fd = openSync(join(folder, name), "a");
  }

  write(text) {
    if (this.#bytes > MOST_BYTES) return;
    this.#bytes += writeSync(this.fd, text);
  }
}

const files = new Map();
let children = 0;

function fileOf(name) {
  if (!files.has(name)) files.set(name, new File(name));
  return files.get(name);
}

/** A file for all that one child process says. */
export function outputOf(child) {
  if (!folder) return { write() {} };
  return fileOf(`${process.pid}-${(children += 1)}-${child.replace(/\W+/g, "-")}.log`);
}

const samples = new Set();

/** An answer as it was read. Of metrics each name with its labels is kept once: the numbers tell nothing. */
export function sawAnswer(from, text) {
  if (!folder) return;
  const lines = from === "/metrics" ? text.split("\n").filter(isNewSample) : [`${from} ${text}`];
  if (lines.length) fileOf(`${process.pid}-answers.log`).write(`${lines.join("\n")}\n`);
}

function isNewSample(line) {
  const sample = line.replace(/ \S+$/, "");
  return !samples.has(sample) && samples.add(sample);
}

const secrets = new Set();

/** From now on this may stand nowhere. Of several lines each counts, of a URL its password. Returns what it was given. */
export function keepSecret(text) {
  if (folder && typeof text === "string") {
    const [, inUrl] = /:\/\/[^/@:]*:([^/@]+)@/.exec(text) ?? [];
    const lines = text.includes("://") ? [inUrl ?? ""] : text.split("\n").map((line) => line.trim());
    lines.filter((line) => !line.startsWith("-----")).forEach(add);
  }
  return text;
}

function add(text) {
  for (const form of [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)]) {
    if (form.length < 8 || secrets.has(form) || secrets.size >= MOST_SECRETS) continue;
    secrets.add(form);
    fileOf(`${process.pid}-secrets.list`).write(`${JSON.stringify(form)}\n`);
  }
}

/** Every secret in a node's configuration, and in the files below `base` that it names. */
export function keepSecretsOf(config, base) {
  for (const [key, value] of Object.entries(config ?? {})) {
    if (value && typeof value === "object" && !Array.isArray(value)) {
      keepSecretsOf(value, base);
    } else if (/(secret|password|tls_key|url)_file$/.test(key)) {
      const file = join(base, String(value));
      if (existsSync(file)) keepSecret(readFileSync(file, "utf8"));
    } else if (/(secret|password|keys?|url)$/.test(key)) {
      [value].flat().forEach(keepSecret);
    }
  }
}

/** Those that a child process is given by its arguments and its environment. */
export function keepSecretsOfChild(args, env = {}) {
  args.forEach((word, n) => ["--api-key", "--token"].includes(args[n - 1]) && word.split(".").forEach(keepSecret));
  const names = Object.keys(env).filter((name) => /^ROOMCAST_.*(SECRET|PASSWORD|KEYS?|TOKEN|URL)$/.test(name));
  names.forEach((name) => keepSecret(env[name]));
}
