// Certificates by the openssl command, and the operations listener by https.

import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { Ops } from "./ops.mjs";
import { keepSecret } from "./output.mjs";
import { SOON, within } from "./until.mjs";

/** How a private key is made; each in another kind and form. */
const KEYS = {
  ecdsa: ["ecparam", "-genkey", "-noout", "-name", "prime256v1"],
  rsa: ["genrsa", "-traditional", "2048"],
  ed25519: ["genpkey", "-algorithm", "ed25519"],
};

/** Somebody who signs certificates of 127.0.0.1, and whom clients trust. */
export class Authority {
  #folder = mkdtempSync(join(tmpdir(), "roomcast-authority-"));
  #number = 1;

  constructor() {
    this.#openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
      "-subj", "/CN=conformance authority", "-keyout", "ca.key", "-out", "ca.pem");
    this.file = join(this.#folder, "ca.pem");
    this.pem = this.#read("ca.pem");
  }

  /** A certificate and its key: `{cert, key, fingerprint, expires}`. */
  sign(kind = "ecdsa", days = 1) {
    const [command, ...options] = KEYS[kind];
    this.#openssl(command, "-out", "key.pem", ...options);
    this.#openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=conformance node", "-out", "request.pem");
    writeFileSync(join(this.#folder, "names"), "subjectAltName = IP:127.0.0.1\n");
    this.#openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", String(days),
      "-set_serial", String((this.#number += 1)), "-extfile", "names", "-out", "cert.pem");
    const [cert, key] = [this.#read("cert.pem"), keepSecret(this.#read("key.pem"))];
    const { fingerprint256, validTo } = new X509Certificate(cert);
    return { cert, key, fingerprint: fingerprint256, expires: Date.parse(validTo) / 1000 };
  }

  close() {
    rmSync(this.#folder, { recursive: true });
  }

  #openssl(...args) {
    execFileSync("openssl", args, { cwd: this.#folder, stdio: ["ignore", "ignore", "pipe"] });
  }

  #read(name) {
    return readFileSync(join(this.#folder, name), "utf8");
  }
}

/** As `Ops`, by https, for who trusts `ca`. */
export class SecureOps extends Ops {
  constructor(url, key, ca) {
    super(url, key);
    this.ca = ca;
  }

  fetch(url, options) {
    return get(url, this.ca, options);
  }
}

/** As the built-in fetch, which cannot be told whom to trust. */
export function get(url, ca, { method = "GET", headers = {}, body, signal = AbortSignal.timeout(SOON) } = {}) {
  return new Promise((resolve, reject) => {
    const asking = request(url, { method, headers, ca, signal, agent: false }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part)).once("error", reject);
      answer.once("end", () => resolve(new Response(Buffer.concat(parts), { status: answer.statusCode })));
    });
    asking.once("error", reject).end(body);
  });
}

/** What a new connection agrees on: `{protocol, fingerprint}`. */
export async function greet(port, ca, options = {}) {
  const socket = connect({ host: "127.0.0.1", port, ca, ...options });
  const agreed = new Promise((resolve, reject) => {
    socket.once("error", reject).once("secureConnect", () => {
      resolve({ protocol: socket.getProtocol(), fingerprint: socket.getPeerCertificate().fingerprint256 });
    });
  });
  try {
    return await within("TLS is agreed on", agreed);
  } finally {
    socket.destroy();
  }
}
