// One child process: its output, its end. Nothing outlives the test process that started it.

import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { keepSecretsOfChild, outputOf } from "./output.mjs";
import { SOON, until, within } from "./until.mjs";

const running = new Set();

export class Child {
  /** Standard output and standard error as they came, for messages and for checks. */
  output = "";
  stdout = "";

  constructor(name, command, args, options = {}) {
    this.name = name;
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    running.add(this.process);
    keepSecretsOfChild(args, options.env);
    const kept = outputOf(name);
    const isSecret = args.includes("--dev") || args[0] === "token"; // what they print is a token
    for (const stream of ["stdout", "stderr"]) {
      this.process[stream].setEncoding("utf8").on("data", (text) => {
        this.output += text;
        if (stream === "stdout") this.stdout += text;
        if (stream === "stderr" || !isSecret) kept.write(text);
      });
    }
    /** `{code, signal}` once the process has ended and its output is complete. */
    this.exit = new Promise((resolve) => {
      this.process.once("error", (error) => {
        running.delete(this.process);
        this.output += `could not be started: ${error.message}\n`;
        resolve({ code: null, signal: null, error });
      });
      this.process.once("close", (code, signal) => {
        running.delete(this.process);
        resolve({ code, signal });
      });
    });
    this.exit.then((exit) => (this.ended = exit));
  }

  get pid() {
    return this.process.pid;
  }

  signal(name) {
    if (!this.ended) this.process.kill(name);
  }

  /** Connected but silent, as a hung machine is. Its threads go on for a moment after the signal: waits until none does. */
  async freeze() {
    this.signal("SIGSTOP");
    await until(`${this.name} (pid ${this.pid}) stands still`, () => this.ended || threads(this.pid).every((state) => state === "T"), { every: 1 });
  }

  thaw() {
    this.signal("SIGCONT");
  }

  /** Sends the signal and waits for the end. Says how it ended; calling it again says the same. */
  async end(signal = "SIGTERM", limit = SOON) {
    this.signal(signal);
    try {
      return await within(`${this.name} (pid ${this.pid}) ends after ${signal}`, this.exit, limit);
    } catch (error) {
      this.signal("SIGKILL");
      await this.exit;
      throw error;
    }
  }

  tail(lines = 40) {
    return this.output.split("\n").slice(-lines).join("\n");
  }
}

/** The state of each thread of a process, as `ps` shows it. */
function threads(pid) {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).map((task) => {
    const stat = readFileSync(`${tasks}/${task}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0]; // behind the name, which may hold anything
  });
}

process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
