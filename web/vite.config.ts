// Builds the page to dist/: index.html, /assets/* under hashed names, and a .br and .gz twin of each
// file that compresses, so that whoever serves them never compresses anything itself.
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const COMPRESSIBLE = /\.(html|js|css|svg|json)$/;
/** A twin that saves less than this is not worth a second copy in the program. */
const SAVING_MIN_BYTES = 64;

export default defineConfig({
  // Every file is asked for by name under /assets/: nothing is inlined, which a strict policy would refuse.
  build: {
    target: ['chrome123', 'edge123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  plugins: [renderBlocking(), compressedTwins()],
});

/** Vite writes the script tag anew and loses the attribute that keeps the page from a first paint in the wrong theme. */
function renderBlocking(): Plugin {
  return {
    name: 'render-blocking',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
    },
  };
}

function compressedTwins(): Plugin {
  let dist = 'dist';
  return {
    name: 'compressed-twins',
    apply: 'build',
    configResolved(config) {
      dist = join(config.root, config.build.outDir);
    },
    async closeBundle() {
      const sums = { bytes: 0, gzip: 0, brotli: 0 };
      for (const path of await compressibleFiles(dist)) {
        const sizes = await writeTwins(path);
        sums.bytes += sizes.bytes;
        sums.gzip += sizes.gzip;
        sums.brotli += sizes.brotli;
        console.log(`${path.slice(dist.length + 1)}  ${sizeLine(sizes)}`);
      }
      console.log(`all  ${sizeLine(sums)}`);
    },
  };
}

interface Sizes {
  bytes: number;
  gzip: number;
  brotli: number;
}

function sizeLine({ bytes, gzip, brotli }: Sizes): string {
  return `${bytes} bytes, gzip ${gzip}, brotli ${brotli}`;
}

async function compressibleFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  const paths = entries.filter((name) => COMPRESSIBLE.test(name)).map((name) => join(folder, name));
  const files = await Promise.all(paths.map(async (path) => ((await stat(path)).isFile() ? [path] : [])));
  return files.flat().sort();
}

async function writeTwins(path: string): Promise<Sizes> {
  const content = await readFile(path);
  const gzip = gzipSync(content, { level: 9 });
  const brotli = brotliCompressSync(content, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
    },
  });
  await Promise.all([keepIfSmaller(`${path}.gz`, gzip, content), keepIfSmaller(`${path}.br`, brotli, content)]);
  return { bytes: content.length, gzip: gzip.length, brotli: brotli.length };
}

async function keepIfSmaller(path: string, twin: Buffer, original: Buffer): Promise<void> {
  if (original.length - twin.length >= SAVING_MIN_BYTES) await writeFile(path, twin);
  else await rm(path, { force: true });
}
