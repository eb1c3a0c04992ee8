// Makes the keys of the issuers that scenarios sign tokens as. They are known to everybody: never
// trust them anywhere else. Run it by `node make.mjs` in this folder; what it makes is committed, so
// that every run signs with the same.
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";

const make = () => ({
  ed25519: generateKeyPairSync("ed25519"),
  p256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }),
});
const write = (name, { privateKey }) =>
  writeFileSync(`${name}.pkcs8`, privateKey.export({ type: "pkcs8", format: "der" }));
const alg = { ed25519: "EdDSA", p256: "ES256", rsa: "RS256" };
const keys = Object.entries(make()).map(([kid, pair]) => {
  write(kid, pair);
  return { ...pair.publicKey.export({ format: "jwk" }), kid, alg: alg[kid], use: "sig" };
});
// Keys that no issuer has.
for (const [kid, pair] of Object.entries(make())) write(`stranger-${kid}`, pair);
writeFileSync("keys.jwks", `${JSON.stringify({ keys }, null, 2)}\n`);
