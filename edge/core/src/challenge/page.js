
"use strict";
// SHA-256 (FIPS 180-4) of one block, in words: crypto.subtle answers one call at a time, far too slowly.
const isPrime = (n) => { for (let d = 2; d * d <= n; d += 1) if (n % d === 0) return false; return true };
const primes = [];
for (let n = 2; primes.length < 64; n += 1) if (isPrime(n)) primes.push(n);
const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
const K = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)));
const START = Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)));
const W = new Int32Array(64);
function firstWord(text) {
  W.fill(0);
  for (let i = 0; i < text.length; i += 1) W[i >> 2] |= text.charCodeAt(i) << (24 - 8 * (i & 3));
  W[text.length >> 2] |= 0x80 << (24 - 8 * (text.length & 3));
  W[15] = text.length * 8;
  for (let i = 16; i < 64; i += 1) {
    const a = W[i - 15], b = W[i - 2];
    const s = ((a >>> 7) | (a << 25)) ^ ((a >>> 18) | (a << 14)) ^ (a >>> 3);
    const t = ((b >>> 17) | (b << 15)) ^ ((b >>> 19) | (b << 13)) ^ (b >>> 10);
    W[i] = W[i - 16] + s + W[i - 7] + t;
  }
  let [a, b, c, d, e, f, g, h] = START;
  for (let i = 0; i < 64; i += 1) {
    const s = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const x = (h + s + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const t = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const y = t + ((a & b) ^ (a & c) ^ (b & c));
    h = g; g = f; f = e; e = (d + x) | 0; d = c; c = b; b = a; a = (x + y) | 0;
  }
  return (a + START[0]) >>> 0;
}
const { challenge, bits, life } = document.documentElement.dataset;
const most = 2 ** (32 - Number(bits));
let number = 0;
function work() {
  const until = performance.now() + 50;
  while (performance.now() < until) {
    for (let i = 0; i < 500; i += 1, number += 1) {
      if (firstWord(`${challenge}.${number}`) < most) return done();
    }
  }
  setTimeout(work);
}
function done() {
  // A proof is for one address; it is of no use to who asks from another each time.
  const told = document.getElementById("told");
  if (Date.now() - Number(sessionStorage.getItem("outport-proof")) < 10_000) {
    told.textContent = "What your browser has shown was not taken: your address may have changed. Try again later.";
    return;
  }
  sessionStorage.setItem("outport-proof", String(Date.now()));
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `outport-proof=${challenge}.${number}; Path=/; Max-Age=${life}; SameSite=Lax${secure}`;
  if (document.cookie.includes(challenge)) return location.reload();
  told.textContent = "This takes cookies, and your browser keeps none of this site.";
}
work();
