// Looks for secrets in all that a run has said: `node leaks.mjs FOLDER`, where output.mjs has left both. Ends with 1 when
// there is one, and when there was too little to look at for that to mean anything.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** A run of the suites leaves far more than this. */
export const LEAST = { secrets: 50, logs: 8, bytes: 1 << 20, answers: 200 };

/** Bytes of a secret that are looked for first: its last ones, since tokens begin alike. */
const WINDOW = 8;
const BASE = 0x01000193;
const FILTER_BITS = 22;

/** Finds any of many texts in one pass: a rolling hash of the last bytes, a filter, and then a comparison. */
export class Finder {
  #filter = new Uint32Array(1 << (FILTER_BITS - 5));
  #byHash = new Map();
  /** What a byte counts for when it leaves the window. */
  #leaving = Array.from({ length: WINDOW }).reduce((power) => Math.imul(power, BASE), 1);

  constructor(texts) {
    for (const text of texts) {
      const bytes = Buffer.from(text);
      let hash = 0;
      for (const byte of bytes.subarray(-WINDOW)) hash = (Math.imul(hash, BASE) + byte) | 0;
      const bit = hash >>> (32 - FILTER_BITS);
      this.#filter[bit >>> 5] |= 1 << (bit & 31);
      this.#byHash.set(hash, [...(this.#byHash.get(hash) ?? []), bytes]);
    }
  }

  /** All places, as `[from, to]`. */
  places(haystack) {
    const found = [];
    let hash = 0;
    for (let at = 0; at < haystack.length; at += 1) {
      hash = (Math.imul(hash, BASE) + haystack[at]) | 0;
      if (at >= WINDOW) hash = (hash - Math.imul(haystack[at - WINDOW], this.#leaving)) | 0;
      const bit = hash >>> (32 - FILTER_BITS);
      if (this.#filter[bit >>> 5] & (1 << (bit & 31))) {
        for (const bytes of this.#byHash.get(hash) ?? []) {
          const from = at + 1 - bytes.length;
          if (from >= 0 && haystack.compare(bytes, 0, bytes.length, from, at + 1) === 0) found.push([from, at + 1]);
        }
      }
    }
    return found;
  }
}

/** Everything that is wrong with what is in the folder, and how much there was. */
export function leaks(folder, least = LEAST) {
  const names = readdirSync(folder).sort();
  const read = (name) => readFileSync(join(folder, name));
  const lists = names.filter((name) => name.endsWith("-secrets.list")).map((name) => read(name).toString().trim());
  const secrets = new Set(lists.flatMap((list) => list.split("\n").filter(Boolean).map((line) => JSON.parse(line))));
  const finder = new Finder(secrets);
  const seen = { secrets: secrets.size, logs: 0, bytes: 0, answers: 0 };
  const problems = [];
  for (const name of names.filter((one) => one.endsWith(".log"))) {
    const text = read(name);
    seen.bytes += text.length;
    if (name.endsWith("-answers.log")) seen.answers += text.toString("latin1").split("\n").length - 1;
    else seen.logs += text.length > 0;
    problems.push(...describe(join(folder, name), text, finder.places(text)));
  }
  for (const [what, number] of Object.entries(least)) {
    if (seen[what] < number) problems.push(`${folder}: only ${seen[what]} ${what}, so that nothing was shown; expected ${number} or more`);
  }
  return { problems, seen };
}

/** One sentence for each line, without the secrets. */
function describe(file, text, places) {
  const lines = new Map();
  for (const [from, to] of places) {
    const begin = text.lastIndexOf(10, from) + 1;
    lines.set(begin, [...(lines.get(begin) ?? []), [from, to]]);
  }
  return [...lines].map(([begin, inLine]) => {
    const end = text.indexOf(10, begin);
    const line = Buffer.from(text.subarray(begin, end < 0 ? undefined : end));
    for (const [from, to] of inLine) line.fill("*", from - begin, to - begin);
    const number = text.subarray(0, begin).toString("latin1").split("\n").length;
    return `${file}:${number}: a secret of ${inLine[0][1] - inLine[0][0]} bytes: ${line.toString().slice(0, 400)}`;
  });
}

if (process.argv[1] === import.meta.filename) {
  const [folder] = process.argv.slice(2);
  const { problems, seen } = leaks(folder);
  problems.slice(0, 50).forEach((problem) => console.error(problem));
  if (problems.length > 50) console.error(`and ${problems.length - 50} more`);
  console.log(`${seen.secrets} secrets, ${seen.logs} logs, ${seen.answers} answers, ${(seen.bytes / 2 ** 20).toFixed(1)} MiB`);
  process.exitCode = problems.length ? 1 : 0;
}
