// HAProxy before the nodes, as an operator would run it.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child } from "./child.mjs";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

export class HaProxy {
  static async start(nodes) {
    const proxy = new HaProxy();
    const port = await freePort();
    proxy.url = `http://127.0.0.1:${port}`;
    proxy.folder = mkdtempSync(join(tmpdir(), "roomcast-haproxy-"));
    const file = join(proxy.folder, "haproxy.cfg");
    writeFileSync(file, config(port, nodes));
    proxy.child = new Child("haproxy", process.env.HAPROXY ?? "/usr/sbin/haproxy", ["-db", "-f", file]);
    await until("HAProxy passes requests on", async () => {
      if (proxy.child.ended) throw new Error(proxy.child.output);
      return (await fetch(`${proxy.url}/healthz`)).status === 200;
    });
    return proxy;
  }

  async close() {
    await this.child.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/**
 * - `roundrobin`, not `leastconn`: a node that was just restarted has no connections, and would get all who come.
 * - No `on-marked-down shutdown-sessions`: a node that drains is down for the check, and still serves its clients.
 * - `retry-on 503`: who still comes to a node that drains, or whose limit is reached, is tried on the next one.
 */
const config = (port, nodes) => `global
  maxconn 8000

defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option forwardfor
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response 503

frontend clients
  bind 127.0.0.1:${port}
  default_backend roomcast

backend roomcast
  balance roundrobin
  option httpchk GET /healthz
  http-check expect status 200
  default-server check inter 1s fastinter 200ms fall 2 rise 1
${nodes.map((node, n) => `  server node${n} 127.0.0.1:${node.port}`).join("\n")}
`;
