// New sessions from one address as fast as they can be asked for, in a thread of its own so that nobody else waits for it.

import { connect } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

/** How many are asked for at a time. */
const AT_ONCE = 64;

export class Flood {
  /** Begins, from `address`. */
  constructor(node, address) {
    this.worker = new Worker(new URL(import.meta.url), { workerData: { port: node.port, address } });
    this.answered = new Promise((resolve, reject) => this.worker.once("message", resolve).once("error", reject));
  }

  /** Ends, and says how often which status was answered; `0` is no answer. */
  async stop() {
    this.worker.postMessage("stop");
    return this.answered;
  }

  close() {
    return this.worker.terminate();
  }
}

if (!isMainThread) {
  const answers = {};
  let isGoing = true;
  parentPort.once("message", () => (isGoing = false));
  const lane = async () => {
    while (isGoing) {
      const status = await ask(workerData);
      answers[status] = (answers[status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  parentPort.postMessage(answers);
}

function ask({ port, address }) {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host: "127.0.0.1", port, localAddress: address });
    socket.setEncoding("latin1");
    socket.on("connect", () =>
      socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    socket.on("data", (more) => (text += more));
    socket.on("error", () => {});
    socket.on("close", () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)));
  });
}
