// The demo page of `roomcast serve --dev`: a Socket.IO client that shows what it receives, and a form that plays
// the backend. Whatever comes from the network is written with `textContent`, never as markup.
(() => {
  "use strict";

  const CLIENT_WAIT = 3000; // a blocked CDN may hang instead of failing
  const ANSWER_WAIT = 5000;
  const LOG_MAX = 200;
  const TEXT_MAX = 5000; // characters of one event on screen; its copy button has all of them

  const $ = (id) => document.getElementById(id);

  function el(tag, props = {}, ...children) {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children);
    return node;
  }

  const button = (text, label) => el("button", { type: "button", className: "button small", textContent: text, ariaLabel: label });
  const plural = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

  let config;
  try {
    config = JSON.parse($("roomcast-config").textContent);
  } catch {
    showState("disconnected", "No configuration", "Open this page through roomcast serve --dev.");
    return;
  }

  // === Connection state ===

  let runAction = () => {};
  $("state-action").addEventListener("click", () => runAction());

  function showState(state, label, detail, action) {
    $("state").dataset.state = state;
    $("state-label").textContent = label;
    $("state-detail").textContent = detail;
    if (state !== "reconnecting") $("state-attempt").textContent = "";
    $("state-action").hidden = !action;
    if (action) {
      $("state-action").textContent = action.text;
      runAction = action.run;
    }
  }

  const reload = { text: "Reload the page", run: () => location.reload() };

  // === The client: official if it can be had, else the built-in one ===

  const CLIENT_TEXT = {
    cdn: "Official client 4.8 (CDN)",
    bundle: "Official client (local bundle)",
    builtin: "Built-in client (no internet)",
  };

  function loadScript(url, integrity, wait) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${url} is late`)), wait);
      const script = el("script", { src: url, crossOrigin: "anonymous" });
      if (integrity) script.integrity = integrity;
      script.onload = () => {
        clearTimeout(timer);
        resolve();
      };
      script.onerror = () => reject(new Error(`${url} did not load`));
      document.head.append(script);
    });
  }

  async function loadClient({ source, url, integrity }) {
    // A script asked for before `load` delays it: behind a blocked CDN the tab would seem to load for a minute.
    if (document.readyState !== "complete") await new Promise((resolve) => addEventListener("load", resolve, { once: true }));
    try {
      await loadScript(url, integrity, CLIENT_WAIT);
      if (typeof window.io === "function") return { io: window.io, kind: source };
    } catch {
      // Offline or blocked; the page says which client is in use.
    }
    await loadScript("/dev/client.js", null, 3 * CLIENT_WAIT);
    return { io: window.io, kind: "builtin" };
  }

  let socket;
  let ended = false; // by a refusal or a goodbye: only the user starts again

  function connect(io) {
    socket = io({ path: config.path, auth: { token: config.token } });
    const retry = () => {
      showState("connecting", "Connecting", `to ${location.host}`);
      socket.connect();
    };
    const again = { text: "Try again", run: retry };

    socket.on("connect", () => {
      ended = false;
      showState("connected", "Connected", `as ${config.user}${config.tenant ? `, tenant ${config.tenant}` : ""}`);
      showTransport();
      socket.io.engine.on("upgrade", showTransport);
      note(socket.recovered ? "Connected again, missed events were replayed" : "Connected");
      enterRooms(socket.recovered);
      showControls();
    });

    socket.on("disconnect", (reason) => {
      ended = !socket.active;
      note(`Disconnected: ${reason}`);
      if (socket.active) {
        showState("reconnecting", "Reconnecting", `Lost: ${reason}. The client comes back by itself.`);
      } else if (tokenExpired()) {
        showState("disconnected", "Disconnected", "The token has expired. A reload brings a new one.", reload);
      } else {
        showState("disconnected", "Disconnected", `The server ended the connection (${reason}), so the client does not come back by itself.`, again);
      }
      showTransport();
      showControls();
    });

    socket.on("connect_error", (error) => {
      ended = !socket.active;
      if (socket.active) {
        showState("reconnecting", "Reconnecting", `No answer from ${location.host}. Is roomcast still running?`);
      } else {
        const code = error.data?.code ? ` (${error.data.code})` : "";
        const advice = error.data?.retry
          ? "The server asks to try again."
          : "Reload the page for a fresh token: each start of the server signs with a new key.";
        note(`Refused: ${error.message}`);
        showState("refused", "Refused", `${error.message.replace(/\.$/, "")}${code}. ${advice}`, error.data?.retry ? again : reload);
      }
      showControls();
    });

    socket.io.on("reconnect_attempt", (attempt) => {
      if (!socket.connected) $("state-attempt").textContent = `Attempt ${attempt}`;
    });

    socket.onAny((event, ...args) => {
      // A backend that asks for acks (POST /api/v1/request) gets one from this page.
      const ack = typeof args.at(-1) === "function" ? args.pop() : null;
      ack?.({ ok: true, socket: socket.id });
      // With recovery on, the server appends its position to the arguments.
      const position = socket._pid !== undefined && args.length > 1 && typeof args.at(-1) === "string" ? args.at(-1) : null;
      take({ event, args, shown: position === null ? args : args.slice(0, -1), position, acked: ack !== null, at: new Date() });
    });
  }

  function showTransport() {
    $("socket-id").textContent = socket.id ?? "none";
    $("transport").textContent = socket.connected ? socket.io.engine.transport.name : "none";
  }

  function showControls() {
    for (const id of ["ping-button", "drop-button", "subscribe-button"]) $(id).disabled = !socket.connected;
    drawRooms();
  }

  function ask(event, ...args) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_WAIT / 1000} s`)), ANSWER_WAIT);
      socket.emit(event, ...args, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
    });
  }

  $("ping-button").addEventListener("click", async () => {
    $("round-trip").textContent = "";
    try {
      const start = performance.now();
      await ask("ping");
      $("round-trip").textContent = `${(performance.now() - start).toFixed(1)} ms`;
    } catch (error) {
      $("round-trip").textContent = error.message;
    }
  });

  $("drop-button").addEventListener("click", () => socket.io.engine.close());

  // === Token ===

  function claims() {
    try {
      const [, body] = config.token.split(".");
      const bytes = Uint8Array.from(atob(body.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
      return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
    } catch {
      return {};
    }
  }

  const tokenExpired = () => claims().exp * 1000 <= Date.now();

  function showToken() {
    $("token-text").textContent = config.token;
    showJson($("token-claims"), JSON.stringify(claims(), null, 2));
    showExpiry();
    setInterval(showExpiry, 30_000);
  }

  function showExpiry() {
    const minutes = Math.round((claims().exp * 1000 - Date.now()) / 60_000);
    const long = minutes >= 120 ? plural(Math.round(minutes / 60), "hour") : plural(minutes, "minute");
    $("token-expiry").textContent = Number.isNaN(minutes) ? "" : tokenExpired() ? "expired" : `expires in ${long}`;
  }

  // === Rooms ===

  const rooms = new Map(); // name → { rule, arg } of the subscription, or null when joined on connect

  // A recovered session is still in its rooms. A new one holds what the policy gives, so ask again for the rest.
  function enterRooms(recovered) {
    const asked = [...rooms].filter(([, subscription]) => subscription);
    if (!recovered) rooms.clear();
    for (const room of config.rooms) rooms.set(room, null);
    if (!recovered) for (const [, { rule, arg }] of asked) subscribe(rule, arg, { quiet: true });
  }

  function drawRooms() {
    if (ended) rooms.clear();
    $("rooms").classList.toggle("stale", !socket.connected);
    $("rooms").replaceChildren(...[...rooms].map(([room, subscription]) => {
      const pick = el("button", { type: "button", className: "room", textContent: room, title: `Publish to ${room}` });
      pick.addEventListener("click", () => {
        $("publish-room").value = room;
        showCommand();
        $("publish-room").focus();
      });
      const item = el("li", {}, pick);
      item.dataset.room = room;
      if (subscription) {
        const leave = button("Leave", `Leave ${room}`);
        leave.dataset.leave = room;
        leave.disabled = !socket.connected;
        leave.addEventListener("click", () => unsubscribe(room, subscription));
        item.append(leave);
      } else {
        item.append(el("span", { className: "aside", textContent: "on connect" }));
      }
      return item;
    }));
    $("rooms-empty").hidden = rooms.size > 0;
    $("room-names").replaceChildren(...[...rooms.keys()].map((room) => el("option", { value: room })));
  }

  function showAnswer(id, tone, title, text) {
    const box = $(id);
    box.hidden = false;
    box.className = `answer ${tone}`;
    box.dataset.tone = tone;
    box.replaceChildren(el("strong", { textContent: title }), el("span", { textContent: text }));
  }

  async function subscribe(rule, arg, { quiet = false } = {}) {
    try {
      const answer = await ask(rule.event, arg);
      if (answer?.ok !== true) {
        const text = answer?.message ?? "The server refused without saying why.";
        return showAnswer("subscribe-result", "error", answer?.code ?? "refused", text);
      }
      const room = answer.room ?? rule.room.replace("{arg}", arg);
      if (!rooms.has(room)) rooms.set(room, { rule, arg });
      if (!quiet) showAnswer("subscribe-result", "ok", "Joined", room);
      drawRooms();
    } catch (error) {
      showAnswer("subscribe-result", "error", "No answer", `${rule.event}: ${error.message}.`);
    }
  }

  async function unsubscribe(room, { rule, arg }) {
    try {
      const answer = await ask(rule.leave, arg);
      if (answer?.ok === false) return showAnswer("subscribe-result", "error", answer.code ?? "refused", answer.message ?? "");
      rooms.delete(room);
      showAnswer("subscribe-result", "ok", "Left", room);
      drawRooms();
    } catch (error) {
      showAnswer("subscribe-result", "error", "No answer", `${rule.leave}: ${error.message}.`);
    }
  }

  const chosenRule = () => config.subscribe[$("subscribe-event").selectedIndex];

  function showSubscription() {
    const rule = chosenRule();
    const arg = $("subscribe-arg").value.trim();
    $("subscribe-room").textContent = `joins ${rule.room.replace("{arg}", arg || "…")}`;
    // The stranger cannot know what the token names; claims that carry the room's word are worth showing.
    const word = rule.room.split(":")[0];
    const named = Object.entries(claims()).filter(([key, value]) => key.includes(word) && Array.isArray(value));
    const example = named.flatMap(([, value]) => value).find((item) => item !== "*");
    $("subscribe-arg").placeholder = example === undefined ? "argument" : `e.g. ${example}`;
    $("subscribe-hint").hidden = named.length === 0;
    $("subscribe-hint").textContent = named.map(([key, value]) => `Your token lists ${key}: ${value.join(", ") || "none"}`).join("; ");
  }

  $("subscribe-event").addEventListener("change", showSubscription);
  $("subscribe-arg").addEventListener("input", showSubscription);
  $("subscribe-form").addEventListener("submit", (submit) => {
    submit.preventDefault();
    const arg = $("subscribe-arg").value.trim();
    if (!arg) return $("subscribe-arg").focus();
    if (socket?.connected) subscribe(chosenRule(), arg);
  });

  // === Event log ===

  const log = []; // what is on screen, newest first: { node, haystack }, haystack null for notes
  let waiting = []; // arrived, not yet drawn
  let paused = false;
  let drawing = 0;
  let received = 0;

  // Drawing waits a frame and then takes all that came: a burst costs one layout, and never more than LOG_MAX rows.
  function take(entry) {
    waiting.push(entry);
    if (waiting.length > LOG_MAX) waiting.shift();
    if (paused) return showPaused();
    drawing ||= setTimeout(draw, 16);
    if (entry.event !== undefined) received += 1;
  }

  const note = (text) => take({ text, at: new Date() });

  function draw() {
    drawing = 0;
    if (paused) return;
    const rows = waiting.map(row).reverse();
    waiting = [];
    log.unshift(...rows);
    for (const { node } of log.splice(LOG_MAX)) node.remove();
    $("events").prepend(...rows.slice(0, LOG_MAX).map(({ node }) => node));
    filter();
  }

  const clock = (date) => `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`;

  function row({ event, args, shown, position, acked, at, text }) {
    const time = el("time", { dateTime: at.toISOString(), textContent: clock(at) });
    if (event === undefined) {
      return { node: el("li", { className: "log-note" }, el("span", { textContent: text }), time), haystack: null };
    }
    const json = shown.map((arg) => JSON.stringify(arg, readable, 2)).join("\n");
    const copy = button("Copy", `Copy ${event}`);
    copy.addEventListener("click", () => copyText(copy, JSON.stringify([event, ...args], readable, 2)));
    const title = el("div", { className: "event-title" }, el("span", { className: "event-name", textContent: event }));
    if (acked) title.append(el("span", { className: "tag", textContent: "acked", title: "The sender asked for an ack, and this page gave one" }));
    if (position) title.append(el("span", { className: "tag", textContent: position, title: "Position, for recovery: delivered as one more argument" }));
    const node = el("li", { className: "event" }, el("div", { className: "event-head" }, title, time, copy));
    node.dataset.event = event;
    if (shown.length) {
      const body = el("pre");
      const scrolls = json.length > 300 || json.split("\n").length > 11; // then a keyboard must reach it
      if (scrolls) Object.assign(body, { tabIndex: 0, role: "group", ariaLabel: `Arguments of ${event}` });
      showJson(body, json);
      node.append(body);
    } else {
      node.append(el("p", { className: "note", textContent: "no data" }));
    }
    return { node, haystack: `${event}\n${json}`.toLowerCase() };
  }

  function readable(_key, value) {
    const bytes = value instanceof Blob ? value.size : value?.byteLength;
    const binary = value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
    return binary ? `<${plural(bytes, "byte")}>` : value;
  }

  function filter() {
    const needle = $("event-filter").value.trim().toLowerCase();
    let events = 0;
    let visible = 0;
    let rows = 0;
    for (const { node, haystack } of log) {
      node.hidden = needle !== "" && !haystack?.includes(needle);
      events += haystack !== null;
      visible += haystack !== null && !node.hidden;
      rows += !node.hidden;
    }
    $("event-count").hidden = events === 0;
    $("event-count").textContent = needle ? `${visible} of ${events}` : received > events ? `${events} of ${received}` : events;
    $("events-empty").hidden = visible > 0 || rows > 3; // it stands behind the rows: no room below many notes
    $("first-event").hidden = events > 0;
    $("events-empty-title").textContent = events ? "No match" : "Listening";
    $("events-empty-text").textContent = events
      ? `None of ${plural(events, "event")} contains the filter text.`
      : "Nothing has arrived yet. Publish an event, or run the command in a terminal.";
  }

  function showPaused() {
    const events = waiting.filter(({ event }) => event !== undefined).length;
    $("event-pause").textContent = events ? `Resume, ${events} new` : "Resume";
  }

  $("event-filter").addEventListener("input", filter);
  $("event-pause").addEventListener("click", () => {
    paused = !paused;
    $("event-pause").setAttribute("aria-pressed", paused);
    if (paused) return showPaused();
    $("event-pause").textContent = "Pause";
    received += waiting.filter(({ event }) => event !== undefined).length;
    draw();
  });
  $("event-clear").addEventListener("click", () => {
    for (const { node } of log.splice(0)) node.remove();
    waiting = [];
    received = 0;
    if (paused) showPaused();
    filter();
  });
  $("first-event").addEventListener("click", () => $("publish-form").requestSubmit());

  // === Publish ===

  let dataText = ""; // the last valid JSON, without the white space between its tokens

  // Kept as text, because parsing and printing again would change numbers beyond 2^53.
  const compact = (json) => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_all, string) => string ?? "");

  function checkData() {
    const text = $("publish-data").value;
    try {
      JSON.parse(text);
      dataText = compact(text);
      return "";
    } catch (error) {
      return text.trim() ? `Not valid JSON: ${error.message}` : "Data is empty. For an event without content write null.";
    }
  }

  function showInvalid(id, message) {
    $("publish-error").hidden = !message;
    $("publish-error").textContent = message;
    for (const field of ["publish-room", "publish-event", "publish-data"]) $(field).ariaInvalid = message && field === id ? "true" : null;
  }

  function envelope({ withRoom }) {
    const room = withRoom ? `"room":${JSON.stringify($("publish-room").value.trim())},` : "";
    return `{${room}"event":${JSON.stringify($("publish-event").value.trim())},"data":${dataText}}`;
  }

  async function publish() {
    const room = $("publish-room").value.trim();
    const url = `${config.opsUrl}/api/v1/publish`;
    const headers = { Authorization: `Bearer ${config.apiKey}`, "Content-Type": "application/json" };
    let response;
    let body;
    try {
      response = await fetch(url, { method: "POST", headers, body: envelope({ withRoom: true }), signal: AbortSignal.timeout(10_000) });
      body = await response.json().catch(() => null);
    } catch {
      return showResult("error", "No answer", `${config.opsUrl} cannot be reached from this page. It is the operations listener of roomcast (ops.listen).`);
    }
    if (!response.ok || body === null) {
      const title = body?.code ?? `HTTP ${response.status}`;
      return showResult("error", title, body?.detail ?? body?.title ?? "The answer holds no explanation.");
    }
    const { sockets, nodes, complete } = body;
    const reached = `reached ${plural(sockets, "socket")} on ${plural(nodes, "node")}`;
    const partly = complete === false ? " The count is incomplete: not every node answered within a second, so there may be more." : "";
    const nobody = `Nobody is in ${room} right now. Pick a room from the list, or subscribe to this one first.`;
    const second = sockets === 1 ? "Open a second tab, and the next one reaches both." : "";
    if (sockets > 0) showResult(partly ? "warn" : "ok", `Published, ${reached}`, partly || second, body);
    else showResult("warn", `Published, ${reached}`, partly || nobody, body);
  }

  function showResult(tone, title, text, { sockets = "", nodes = "" } = {}) {
    showAnswer("publish-result", tone, title, text.trim());
    Object.assign($("publish-result").dataset, { sockets, nodes });
  }

  let checking = 0;
  $("publish-form").addEventListener("input", () => {
    const message = checkData();
    showCommand(message);
    clearTimeout(checking); // half-typed JSON is never valid: complain only after a pause
    if (message) checking = setTimeout(() => showInvalid("publish-data", message), 600);
    else showInvalid();
  });
  $("publish-form").addEventListener("submit", async (submit) => {
    submit.preventDefault();
    clearTimeout(checking);
    const empty = ["room", "event"].find((name) => !$(`publish-${name}`).value.trim());
    const message = empty ? `Name the ${empty}.` : checkData();
    showInvalid(`publish-${empty ?? "data"}`, message);
    if (message) return $(`publish-${empty ?? "data"}`).focus();
    $("publish-button").disabled = true;
    await publish();
    $("publish-button").disabled = false;
  });
  $("publish-form").addEventListener("keydown", (key) => {
    if (key.key !== "Enter" || !(key.ctrlKey || key.metaKey)) return;
    key.preventDefault();
    $("publish-form").requestSubmit();
  });

  // === Commands and snippets ===

  const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

  const COMMANDS = {
    curl: () => [
      `curl -X POST ${shell(`${config.opsUrl}/api/v1/publish`)}`,
      `-H ${shell(`Authorization: Bearer ${config.apiKey}`)}`,
      "-H 'Content-Type: application/json'",
      `-d ${shell(envelope({ withRoom: true }))}`,
    ],
    roomcast: () => [
      config.publishCommand ?? "roomcast publish",
      `--room ${shell($("publish-room").value.trim())}`,
      `--event ${shell($("publish-event").value.trim())}`,
      `--data ${shell(dataText)}`,
    ],
    redis: () => [
      "redis-cli FCALL roomcast_publish 1",
      shell(`roomcast:{${$("publish-room").value.trim()}}`),
      shell(envelope({ withRoom: false })),
    ],
  };
  const REDIS_NOTE = "For a server with redis.url set. This one keeps its bus in memory, so Redis does not lead here.";

  let command = "curl";

  function showCommand(invalid = checkData()) {
    $("command-panel").textContent = COMMANDS[command]().join(" \\\n  ");
    $("command-note").textContent = invalid ? "Data is not valid JSON at the moment; this is the last valid version." : REDIS_NOTE;
    $("command-note").hidden = !invalid && command !== "redis";
  }

  function snippet(kind) {
    const options = [
      ...(config.path === "/socket.io/" ? [] : [`  path: ${JSON.stringify(config.path)},`]),
      `  auth: { token: ${JSON.stringify(config.token)} },`,
    ];
    const code = [
      `const socket = io(${JSON.stringify(location.origin)}, {`,
      ...options,
      "});",
      "",
      'socket.on("connect", () => console.log("connected as", socket.id));',
      'socket.on("connect_error", (error) => console.log("refused", error.message, error.data));',
      'socket.on("hello", (data) => console.log("hello", data));',
    ];
    if (kind === "npm") return ["// npm install socket.io-client", 'import { io } from "socket.io-client";', "", ...code].join("\n");
    const { source, url, integrity } = config.client;
    const src = source === "cdn" ? url : new URL(url, location.origin).href;
    const check = integrity ? `\n        integrity="${integrity}" crossorigin="anonymous"` : "";
    return [`<script src="${src}"${check}><\/script>`, "<script>", ...code.map((line) => (line ? `  ${line}` : "")), "<\/script>"].join("\n");
  }

  // Tabs as the ARIA pattern wants them: one tab stop, arrows move.
  function tabs(attribute, choose) {
    const all = [...document.querySelectorAll(`[data-${attribute}]`)];
    const select = (tab) => {
      for (const other of all) {
        other.ariaSelected = String(other === tab);
        other.tabIndex = other === tab ? 0 : -1;
      }
      $(tab.getAttribute("aria-controls")).setAttribute("aria-labelledby", tab.id);
      choose(tab.dataset[attribute]);
    };
    for (const [index, tab] of all.entries()) {
      tab.addEventListener("click", () => select(tab));
      tab.addEventListener("keydown", ({ key }) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
        if (!step) return;
        const next = all.at((index + step) % all.length);
        next.focus();
        select(next);
      });
    }
  }

  // === Small things ===

  // Colours by wrapping each token of the JSON text in a span.
  function showJson(target, json) {
    const text = json.length > TEXT_MAX ? json.slice(0, TEXT_MAX) : json;
    const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
    const parts = [];
    let end = 0;
    for (const match of text.matchAll(token)) {
      const [all, string, colon] = match;
      const kind = colon ? "key" : string ? "string" : /[a-z]/.test(all[0]) ? "word" : "number";
      parts.push(text.slice(end, match.index), el("span", { className: `json-${kind}`, textContent: string ?? all }), colon ?? "");
      end = match.index + all.length;
    }
    parts.push(text.slice(end));
    if (text !== json) parts.push(el("span", { className: "aside", textContent: `\n… ${json.length - TEXT_MAX} more characters` }));
    target.replaceChildren(...parts);
  }

  async function copyText(trigger, text) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Not a secure context, as on a forwarded port without TLS.
      const area = el("textarea", { value: text, className: "hidden-label" });
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    trigger.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => (trigger.textContent = "Copy"), 1400);
  }

  for (const trigger of document.querySelectorAll("[data-copy]")) {
    trigger.addEventListener("click", () => copyText(trigger, $(trigger.dataset.copy).textContent));
  }

  // === Start ===

  $("version").textContent = `${config.version} dev`;
  $("user").textContent = config.user;
  $("tenant").textContent = config.tenant ?? "";
  $("tenant-row").hidden = !config.tenant;
  $("publish-room").value = config.rooms.find((room) => room.startsWith("user:")) ?? config.rooms[0] ?? "";
  $("publish-key").textContent = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
  showToken();
  if (config.subscribe?.length) {
    $("subscribe-form").hidden = false;
    $("subscribe-event").append(...config.subscribe.map(({ event }) => el("option", { textContent: event })));
    showSubscription();
  }
  tabs("command", (name) => showCommand(void (command = name)));
  tabs("snippet", (name) => ($("snippet-panel").textContent = snippet(name)));
  showCommand();
  $("snippet-panel").textContent = snippet("npm");

  loadClient(config.client).then(
    ({ io, kind }) => {
      $("client-kind").dataset.kind = kind;
      $("client-kind").textContent = CLIENT_TEXT[kind];
      $("state-detail").textContent = `to ${location.host}`;
      connect(io);
    },
    () => showState("disconnected", "No client", "Neither the official client nor the built-in one could be loaded.", reload),
  );
})();
