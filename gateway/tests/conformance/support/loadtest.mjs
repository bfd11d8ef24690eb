// The load scenarios of loadtest/, as its README says that they are run.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Child } from "./child.mjs";
import { API_KEY, TARGET, environment } from "./node.mjs";
import { AUDIENCE, ISSUER, SECRET } from "./token.mjs";

const LOADTEST = resolve(process.env.ROOMCAST_LOADTEST_BIN ?? join(TARGET, "debug/roomcast-loadtest"));
const README = resolve(import.meta.dirname, "../../../../loadtest/README.md");
const PROGRAM = "target/release/roomcast-loadtest ";
/** How much this machine is able to do is not what a test asks. Rules like `p99_ms>250` are left out for the same reason. */
const PATIENT = { "--max-lag": "1h", "--max-cpu": "1000", "--grace": "15s" };

/** The command of the README for this scenario, in words, without its thresholds. */
export function documented(scenario) {
  const lines = readFileSync(README, "utf8").split("\n").filter((line) => line.startsWith(`${PROGRAM}${scenario} `));
  assert.equal(lines.length, 1, `${README} has one command for ${scenario}`);
  return lines[0].slice(PROGRAM.length).replace(/ --fail-if '[^']*'/g, "").split(" ");
}

/**
 * Runs that command with other values for some of its options, against a load balancer and the nodes behind it. The
 * reports are `<folder>/<name>.md`, `.json` and `.html`. Returns how it ended, and the report.
 */
export async function runScenario(scenario, { name, folder, options = {}, target, nodes, within }) {
  assert.ok(existsSync(LOADTEST), `${LOADTEST} is there: build it (cargo build -p roomcast-loadtest), or name one in ROOMCAST_LOADTEST_BIN`);
  mkdirSync(folder, { recursive: true });
  const words = documented(scenario);
  for (const [option, value] of Object.entries({ "--target": target, ...PATIENT, ...options })) {
    const at = words.indexOf(option);
    if (at < 0) words.push(option, String(value));
    else words[at + 1] = String(value);
  }
  nodes.forEach((node) => words.push("--api", node.ops.url));
  for (const claim of [`iss=${ISSUER}`, `aud=${AUDIENCE}`]) words.push("--claim", claim);
  const reports = ["md", "html", "json"].map((kind) => join(folder, `${name.replaceAll(/\W+/g, "-")}.${kind}`));
  reports.forEach((file) => words.push("--report", file));
  const secrets = { ROOMCAST_LOADTEST_SECRET: SECRET, ROOMCAST_LOADTEST_API_KEY: API_KEY };
  const child = new Child(`loadtest ${name}`, LOADTEST, words, { env: environment(secrets) });
  const { code } = await child.end(0, within); // which is no signal: it ends by itself
  const report = existsSync(reports[2]) ? JSON.parse(readFileSync(reports[2], "utf8")) : undefined;
  return { code, report, reports, said: child.tail() };
}
