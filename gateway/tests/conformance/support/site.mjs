// A page of another origin than the nodes', in a real browser, with the official client.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { resolve } from "node:path";
import { chromium } from "playwright-core";
import { freePort } from "./port.mjs";
import { SOON } from "./until.mjs";

const CLIENT = readFileSync(resolve(import.meta.dirname, "../node_modules/socket.io-client/dist/socket.io.min.js"));
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export class Site {
  static async start() {
    const site = new Site();
    const port = await freePort();
    /** The same page, of the site that the balancers are on, and of another one. */
    site.same = `http://127.0.0.1:${port}`;
    site.other = `http://localhost:${port}`;
    site.origins = [site.same, site.other];
    site.server = createServer((request, response) => {
      const isClient = request.url === "/client.js";
      response.setHeader("content-type", isClient ? "text/javascript" : "text/html");
      response.end(isClient ? CLIENT : '<!doctype html><script src="/client.js"></script>');
    });
    await new Promise((listening) => site.server.listen(port, "127.0.0.1", listening));
    return site;
  }

  async open() {
    this.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET });
    this.context = await this.browser.newContext();
  }

  /** A tab with that page. All tabs have their cookies in common. */
  async visit(origin) {
    const page = await this.context.newPage();
    page.setDefaultTimeout(SOON);
    const tab = new Tab(page);
    await page.goto(origin);
    return tab;
  }

  forget() {
    return this.context.clearCookies();
  }

  async close() {
    await this.browser?.close();
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}

class Tab {
  /** The status of every answer to a request of the client that was refused. */
  #refused = [];

  constructor(page) {
    this.page = page;
    page.on("response", (response) => {
      if (response.url().includes("/socket.io/") && response.status() >= 400) this.#refused.push(response.status());
    });
  }

  /** `connect` once it is connected and upgraded, or the message of the first refusal. */
  connect(url, { token, ...options }) {
    return this.page.evaluate(([url, token, options]) => new Promise((done) => {
      const socket = (window.socket = window.io(url, { auth: { token }, reconnection: false, ...options }));
      window.inbox = [];
      socket.onAny((event, ...args) => window.inbox.push([event, ...args]));
      socket.on("connect_error", (error) => done(error.message));
      socket.on("connect", () => {
        const { engine } = socket.io;
        if (engine.transport.name === options.transports.at(-1)) done("connect");
        else engine.once("upgrade", () => done("connect"));
      });
    }), [url, token, options]);
  }

  /** The argument of such an event, when it has arrived. */
  async next(event) {
    const found = await this.page.waitForFunction((name) => window.inbox.find(([one]) => one === name), event);
    return (await found.jsonValue())[1];
  }

  /** Closes it; returns the status of each answer that was a refusal. */
  async leave() {
    await this.page.close();
    return this.#refused;
  }
}
