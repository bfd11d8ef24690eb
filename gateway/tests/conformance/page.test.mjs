// The first five minutes: `roomcast serve --dev`, what it prints, and its page in a real browser.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { chromium } from "playwright-core";
import { Child } from "./support/child.mjs";
import { Client } from "./support/client.mjs";
import { ROOMCAST, TARGET, environment } from "./support/node.mjs";
import { freePort } from "./support/port.mjs";
import { stage } from "./support/stage.mjs";
import { keepSecret } from "./support/output.mjs";
import { watchFor } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const BUNDLE = resolve(import.meta.dirname, "node_modules/socket.io-client/dist/socket.io.js");
const PICTURES = join(TARGET, "test-artifacts");
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

describe("serve --dev", () => {
  const on = stage();

  test("prints a page, a token, a key and a command, and each of them works", async () => {
    const dev = await startDev();
    const client = on.keep(new Client(dev.page, { token: watchFor(dev.token) }));
    await client.connected();
    const command = dev.line("Publish");
    const shell = new Child("the printed command", "sh", ["-c", command], { env: environment() });
    assert.equal((await shell.exit).code, 0, shell.output);
    assert.match(shell.stdout, /"sockets":1/);
    const event = await until("the event arrives", () => client.inbox[0]);
    assert.ok(command.includes(event.event), `${event.event} is the event of ${command}`);
    const response = await dev.publish({ room: "system", event: "news", data: 1 });
    assert.equal(response.status, 200);
    assert.deepEqual(await client.next("news"), [1]);
    assert.equal((await dev.end()).code, 0);
  });

  test("is refused beyond the loopback and beside production settings", async () => {
    const cases = [
      [["--listen", "0.0.0.0:1"], {}],
      [[], { ROOMCAST__REDIS__URL: "redis://127.0.0.1:1" }],
      [[], { ROOMCAST__AUTH__JWT__HMAC_SECRET: "0123456789-0123456789-0123456789" }],
    ];
    for (const [args, env] of cases) {
      const child = new Child("roomcast", ROOMCAST, ["serve", "--dev", ...args], { env: environment(env) });
      assert.equal((await child.exit).code, 64, child.output);
      assert.ok(child.output.trim());
    }
  });

  test("without the internet, the page works with its built-in client", async () => {
    const { dev, page } = await openPage([]);
    await page.locator('#client-kind[data-kind="builtin"]').waitFor();
    await assertShowsEvents(dev, page);
    await page.screenshot({ path: join(PICTURES, "page-builtin.png"), fullPage: true });
  });

  test("with --client-bundle, the page works with the official client, which is served too", async () => {
    const { dev, page } = await openPage(["--client-bundle", BUNDLE]);
    await page.locator('#client-kind[data-kind="bundle"]').waitFor();
    await assertShowsEvents(dev, page);
    await page.screenshot({ path: join(PICTURES, "page-bundle.png"), fullPage: true });
    const script = await fetch(new URL("/socket.io/socket.io.js", dev.page));
    assert.match(script.headers.get("content-type"), /javascript/);
    assert.match(await script.text(), /Socket\.IO v4\.8/);
  });

  test("the page publishes by itself, and shows what markup in an event is: text", async () => {
    const { dev, page } = await openPage(["--client-bundle", BUNDLE]);
    await page.locator("#publish-event").fill("from-the-page");
    await page.locator("#publish-data").fill('{"text": "<img src=x onerror=alert(1)>"}');
    await page.locator("#publish-button").click();
    const event = page.locator('#events .event[data-event="from-the-page"]');
    await event.waitFor();
    assert.ok((await event.textContent()).includes("<img"));
    assert.equal(await event.locator("img").count(), 0);
    await dev.publish({ room: "user:demo", event: '<b>"bold"</b>', data: 1 });
    await until("the name is shown as text", async () => (await page.locator("#events").textContent()).includes('<b>"bold"</b>'));
    assert.equal(await page.locator("#events b").count(), 0);
  });

  test("the page says that the server is gone, and finds it again", async () => {
    const { dev, page } = await openPage(["--client-bundle", BUNDLE]);
    await page.locator("#drop-button").click();
    await page.locator('#state:not([data-state="connected"])').waitFor();
    await page.locator('#state[data-state="connected"]').waitFor({ timeout: 20_000 });
    await dev.end();
    await page.locator('#state:not([data-state="connected"])').waitFor();
    await page.screenshot({ path: join(PICTURES, "page-away.png"), fullPage: true });
  });

  async function assertShowsEvents(dev, page) {
    const response = await dev.publish({ room: "user:demo", event: "order:shipped", data: { order: 4711 } });
    assert.ok((await response.json()).sockets >= 1);
    const event = page.locator('#events .event[data-event="order:shipped"]');
    await event.waitFor();
    assert.match(await event.textContent(), /4711/);
  }

  /** A development node as a user starts it, and what it printed. */
  async function startDev(args = []) {
    const [port, ops] = [await freePort(), await freePort()];
    const env = environment({ ROOMCAST__OPS__LISTEN: `127.0.0.1:${ops}` });
    const child = new Child("roomcast serve --dev", ROOMCAST, ["serve", "--dev", "--listen", `127.0.0.1:${port}`, ...args], { env });
    on.keep({ close: () => child.end("SIGTERM") });
    const line = (name) => new RegExp(`^\\s*${name}\\s+(\\S.*)$`, "m").exec(child.stdout)?.[1].trim();
    await until(`the greeting is printed: ${child.tail()}`, () => child.ended || line("Publish"));
    const [page, token, key] = [line("Page"), line("Token"), line("API key")];
    assert.ok(page && token && key, child.tail());
    keepSecret(key);
    watchFor(token);
    const publish = (envelope) => fetch(`http://127.0.0.1:${ops}/api/v1/publish`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(envelope),
    });
    return { page, token, key, line, publish, end: () => child.end("SIGTERM") };
  }

  /** Its page, connected, in a browser that cannot reach anything else. */
  async function openPage(args) {
    const dev = await startDev(args);
    mkdirSync(PICTURES, { recursive: true });
    const browser = on.keep(await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET }));
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(15_000);
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await page.route((url) => url.hostname !== "127.0.0.1", (route) => route.abort());
    await page.goto(dev.page);
    await page.locator('#state[data-state="connected"]').waitFor();
    assert.deepEqual(errors, []);
    return { dev, page };
  }
});
