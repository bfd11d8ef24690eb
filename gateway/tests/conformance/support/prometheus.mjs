// A real Prometheus that scrapes nodes every two seconds and evaluates rules each second, and its tool.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child } from "./child.mjs";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

/** Runs `promtool`; `input` is its standard input. Anything that it finds wrong is an error. */
export function promtool(args, { input } = {}) {
  const { status, stdout, stderr, error } = spawnSync("promtool", args, { input, encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) throw new Error(`promtool ${args.join(" ")}:\n${stdout}${stderr}`);
  return stdout + stderr;
}

export class Prometheus {
  /** Scrapes these nodes as the job `roomcast`, with these files of rules. */
  static async start(nodes, rules) {
    const prometheus = new Prometheus();
    prometheus.port = await freePort();
    prometheus.folder = mkdtempSync(join(tmpdir(), "roomcast-prometheus-"));
    const config = {
      global: { scrape_interval: "2s", scrape_timeout: "2s", evaluation_interval: "1s" },
      rule_files: rules,
      scrape_configs: [{ job_name: "roomcast", static_configs: [{ targets: nodes.map((node) => `127.0.0.1:${node.opsPort}`) }] }],
    };
    const file = join(prometheus.folder, "prometheus.yml");
    writeFileSync(file, JSON.stringify(config)); // JSON is YAML
    prometheus.child = new Child("prometheus", "prometheus", [
      `--config.file=${file}`, `--storage.tsdb.path=${join(prometheus.folder, "data")}`,
      `--web.listen-address=127.0.0.1:${prometheus.port}`, "--log.level=warn",
    ]);
    await prometheus.scraped(nodes.length, Date.now());
    return prometheus;
  }

  /** Has scraped that many nodes since then (in milliseconds). Answers with a time at which it had scraped all of these. */
  scraped(count, since) {
    return until(`Prometheus has scraped ${count} nodes`, async () => {
      if (this.child.ended) throw new Error(this.child.output);
      const times = (await this.query("timestamp(up == 1)")).map((one) => Number(one.value[1]) * 1000);
      if (times.filter((time) => time > since).length !== count) throw new Error(JSON.stringify({ times, since }));
      return Math.ceil(Math.max(...times)) + 1; // behind the last of them, however fractions are rounded
    }, { within: 30_000 });
  }

  /** The samples of an instant query, now or at a time in milliseconds. */
  async query(expr, at = Date.now()) {
    const body = new URLSearchParams({ query: expr, time: String(at / 1000) });
    const { result, resultType } = await this.#ask("/api/v1/query", { method: "POST", body });
    return resultType === "vector" ? result : [{ metric: {}, value: result }];
  }

  /** All alerts as Prometheus understood them. */
  async alerts() {
    const { groups } = await this.#ask("/api/v1/rules?type=alert");
    return groups.flatMap((group) => group.rules);
  }

  async #ask(path, options) {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, { signal: AbortSignal.timeout(10_000), ...options });
    const answer = await response.json();
    if (answer.status !== "success") throw new Error(`${answer.errorType}: ${answer.error}`);
    return answer.data;
  }

  async close() {
    await this.child.end("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
