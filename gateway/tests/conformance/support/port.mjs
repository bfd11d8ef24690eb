// Free loopback ports that no other test process is given at the same time.
//
// The kernel's own choice (port 0) may be handed out again as soon as it is closed, and a suite that restarts a node needs
// its port to stay its own meanwhile. So ports come from below the ephemeral range, each held by a lock file until exit.

import { mkdirSync, openSync, closeSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LOWEST = 20_000;
const COUNT = 12_000;
const locks = join(tmpdir(), "roomcast-test-ports");
const held = [];

export async function freePort() {
  mkdirSync(locks, { recursive: true });
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * COUNT);
    if (hold(port)) {
      if (await canListen(port)) return port;
      release(port);
    }
  }
}

function hold(port) {
  const file = join(locks, String(port));
  try {
    const fd = openSync(file, "wx");
    writeSync(fd, String(process.pid));
    closeSync(fd);
    held.push(port);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    if (!alive(file)) unlink(file); // of a process that was killed: free the next time round
    return false;
  }
}

function release(port) {
  held.splice(held.indexOf(port), 1);
  unlink(join(locks, String(port)));
}

function alive(file) {
  try {
    process.kill(Number(readFileSync(file, "utf8")), 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function unlink(file) {
  try {
    unlinkSync(file);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}

function canListen(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

process.on("exit", () => [...held].forEach(release));
