// What the browser tests stand on: the product as a process, a browser, files to upload.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const READY_MS = 60_000;
const STOP_MS = 10_000;

const results = fileURLToPath(new URL('../test-results/', import.meta.url));

/**
 * The product that OUTPORT_EDGE and OUTPORT_TOKEN name; else starts the program that OUTPORT_BIN
 * names, on free ports and an empty data folder.
 */
export async function startProduct() {
  const { OUTPORT_EDGE: edge, OUTPORT_TOKEN: token } = process.env;
  return edge ? { edge, token, stop: async () => {} } : startProgram();
}

/** Starts the program that OUTPORT_BIN names, with this as its outport.toml. */
export async function startProgram(settings = '') {
  const program = process.env.OUTPORT_BIN;
  if (!program) throw new Error('set OUTPORT_BIN to the outport program');
  const data = mkdtempSync(join(tmpdir(), 'outport-page-'));
  const config = join(data, 'outport.toml');
  writeFileSync(config, settings);
  const args = ['serve', '--edge-port', '0', '--origin-port', '0', '--data', data, '--config', config];
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', process.env.OUTPORT_LOG ? 'inherit' : 'ignore'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const { edge, token } = await readyLine(child, ended);
  return {
    edge,
    token,
    stop: async () => {
      child.kill('SIGTERM');
      const hard = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(hard);
      rmSync(data, { recursive: true, force: true });
    },
  };
}

function readyLine(child, ended) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ready line in ${READY_MS} ms`)), READY_MS);
    void ended.then((code) => reject(new Error(`the program ended with ${code} before it was ready`)));
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      const line = /^ready (\{.*\})$/m.exec(output);
      if (!line) return;
      clearTimeout(late);
      resolve(JSON.parse(line[1]));
    });
  });
}

export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A folder of random files, each with its SHA-256. */
export class Files {
  #folder = mkdtempSync(join(tmpdir(), 'outport-files-'));

  make(name, bytes) {
    const content = randomBytes(bytes);
    const path = join(this.#folder, name);
    writeFileSync(path, content);
    return { name, path, bytes, sha256: sha256(content) };
  }

  remove() {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export function sha256(content) {
  return createHash('sha256').update(content).digest('hex');
}

/** A tab with the page open, signed in unless `token` is null. */
export async function openPage(browser, product, { token = product.token, filePicker = 'input', ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1180, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  });
  // Most browsers have no file picker that gives handles; and no test tool can press its buttons.
  if (filePicker === 'input') await context.addInitScript(() => delete window.showOpenFilePicker);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  // Playwright takes file dialogs over only while somebody listens, and starts to a moment late.
  page.on('filechooser', () => undefined);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  await page.goto(token === null ? product.edge : `${product.edge}/#token=${token}`);
  return { context, page, complaints };
}

/** Presses the button and answers the file dialog that it opens. */
export async function choose(page, files, button = page.getByRole('button', { name: 'Choose files' })) {
  const [dialog] = await Promise.all([page.waitForEvent('filechooser'), button.click()]);
  await dialog.setFiles(files.map(({ path }) => path));
}

/** Slows the tab's uploads down; returns the way back to full speed. */
export async function throttleUploads(page, bytesPerS) {
  const devtools = await page.context().newCDPSession(page);
  const emulate = (uploadThroughput) =>
    devtools.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput,
    });
  await devtools.send('Network.enable');
  await emulate(bytesPerS);
  return () => emulate(-1);
}

export const transferRow = (page, { name }) => page.locator('.transfer').filter({ hasText: name });
export const fileRow = (page, { name }) => page.locator('.file').filter({ hasText: name });

/** Waits until a transfer shows at least this many percent. */
export async function waitForPercent(page, file, least) {
  await page.waitForFunction(
    ([name, share]) => {
      const rows = [...document.querySelectorAll('.transfer')];
      const bar = rows.find((row) => row.textContent?.includes(name))?.querySelector('progress');
      return bar && bar.value / bar.max >= share / 100;
    },
    [file.name, least],
  );
}

/**
 * The tus requests of a tab from now on: method, path, the offset each carries, and the offset each is
 * answered with.
 */
export function watchUploads(page) {
  const requests = [];
  const number = (text) => (text === undefined ? null : Number(text));
  page.on('request', (request) => {
    const { pathname } = new URL(request.url());
    if (!pathname.startsWith('/uploads')) return;
    const seen = { method: request.method(), pathname, offset: number(request.headers()['upload-offset']), answered: null };
    requests.push(seen);
    void request.response().then((response) => {
      seen.answered = number(response?.headers()['upload-offset']);
    });
  });
  return requests;
}

export async function screenshot(page, name) {
  mkdirSync(results, { recursive: true });
  await page.screenshot({ path: join(results, `${name}.png`), fullPage: true });
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds wrong with the page as it is, in one line each. */
export async function violations(page) {
  await page.evaluate(axe);
  const { violations: found } = await page.evaluate(() => window.axe.run());
  return found.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target }) => target).join(', ')}`);
}

/** Asks the product itself, past the page. */
export async function ask(product, path, init = {}) {
  const headers = { authorization: `Bearer ${product.token}`, ...init.headers };
  return fetch(new URL(path, product.edge), { ...init, headers });
}
