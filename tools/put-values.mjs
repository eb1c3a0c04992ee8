// Puts the page's files into the local Workers KV. The command line's `kv bulk put --local` reads
// values as text, and what is compressed would not survive that.
//
// node put-values.mjs WRANGLER_TOML STATE VALUES_JSON, where STATE is what `--persist-to` gets.
import { readFileSync } from 'node:fs';
import { getPlatformProxy } from 'wrangler';

const [configPath, state, values] = process.argv.slice(2);
const persist = { path: `${state}/v3` };
const { env, dispose } = await getPlatformProxy({ configPath, persist, envFiles: [] });
for (const { key, value } of JSON.parse(readFileSync(values, 'utf8'))) {
  // The bytes alone: a Buffer may be a view into more.
  await env.OUTPORT_VALUES.put(key, new Uint8Array(Buffer.from(value, 'base64')).buffer);
}
await dispose();
