// JSON Web Tokens, right ones and wrong ones, by node:crypto alone.

import { constants, createHmac, generateKeyPairSync, sign } from "node:crypto";
import { keepSecret } from "./output.mjs";

export const SECRET = "conformance-secret-0123456789-0123456789-0123456789-0123456789-0123456789";
export const ISSUER = "https://issuer.example";
export const AUDIENCE = "roomcast-conformance";

/** Payloads and signatures of every token that is used: none of them may ever appear in a log. */
export const signedParts = new Set();

/** Watches the logs for a token that was not made here. */
export function watchFor(token) {
  token.split(".").slice(1).filter((part) => part.length > 20).forEach((part) => signedParts.add(keepSecret(part)));
  return token;
}

/** A token with the claims of a good one, changed as wanted; a claim that is `undefined` is left out. */
export function token(claims = {}, { alg = "HS256", key = SECRET, header = {} } = {}) {
  const now = seconds();
  const payload = { iss: ISSUER, aud: AUDIENCE, sub: "u1", iat: now, exp: now + 600, ...claims };
  return seal(JSON.stringify(payload), { alg, key, header });
}

/** A rightly signed token around any text at all. */
export function seal(payload, { alg = "HS256", key = SECRET, header = {} } = {}) {
  if (typeof key === "string" && !key.includes("PUBLIC KEY")) keepSecret(key);
  const input = `${encode(JSON.stringify({ alg, typ: "JWT", ...header }))}.${encode(payload)}`;
  return watchFor(`${input}.${signature(alg, input, key).toString("base64url")}`);
}

export const seconds = () => Math.floor(Date.now() / 1000);

/** A key pair that suits the algorithm, the public half as PEM. */
export function keyPair(alg) {
  const { privateKey, publicKey } = generate(alg);
  return { key: privateKey, pem: publicKey.export({ type: "spki", format: "pem" }) };
}

/** A key with a name, as an identity provider has it: it signs tokens, and its public half is an entry of a key set. */
export function signer(alg, kid) {
  const { privateKey, publicKey } = generate(alg);
  return {
    alg,
    kid,
    jwk: { ...publicKey.export({ format: "jwk" }), kid, use: "sig" },
    token: (claims = {}) => token(claims, { alg, key: privateKey, header: { kid } }),
  };
}

function generate(alg) {
  if (alg.startsWith("RS") || alg.startsWith("PS")) return generateKeyPairSync("rsa", { modulusLength: 2048 });
  if (alg === "ES256") return generateKeyPairSync("ec", { namedCurve: "P-256" });
  if (alg === "ES384") return generateKeyPairSync("ec", { namedCurve: "P-384" });
  if (alg === "EdDSA") return generateKeyPairSync("ed25519");
  throw new Error(`no key pair for ${alg}`);
}

function signature(alg, input, key) {
  const hash = `sha${alg.slice(2)}`;
  const data = Buffer.from(input);
  if (alg === "none") return Buffer.alloc(0);
  if (alg === "EdDSA") return sign(null, data, key);
  if (alg.startsWith("HS")) return createHmac(hash, key).update(data).digest();
  if (alg.startsWith("RS")) return sign(hash, data, key);
  if (alg.startsWith("ES")) return sign(hash, data, { key, dsaEncoding: "ieee-p1363" });
  return sign(hash, data, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  });
}

const encode = (text) => Buffer.from(text).toString("base64url");
