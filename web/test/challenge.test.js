// The page of a challenge in a real browser: it does the work, and then shows what was asked for. Set
// OUTPORT_BIN to the program; CHROMIUM to the browser where it is not /usr/bin/chromium.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ask, launchBrowser, startProgram } from './support.js';

/** What is challenged is a setting of the edge, and an edge that is there has others. */
const own = { skip: process.env.OUTPORT_EDGE && 'the edge under test was not set up for challenges' };

let product;
let browser;

before(async () => {
  if (own.skip) return;
  const settings = '[[firewall.rules]]\nname = "work"\nmatch = { paths = "/files/*" }\naction = "challenge"\n';
  [product, browser] = await Promise.all([startProgram(settings), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await product?.stop();
});

async function upload() {
  const headers = { 'content-type': 'text/plain' };
  const stored = await ask(product, '/files?name=a.txt&visibility=public', { method: 'POST', body: 'hello', headers });
  assert.equal(stored.status, 201);
  return new URL(stored.headers.get('location'), product.edge).href;
}

test('a browser does the work once, and is shown the file', own, async () => {
  const file = await upload();
  const context = await browser.newContext();
  const page = await context.newPage();
  const statuses = [];
  page.on('response', (response) => response.url() === file && statuses.push(response.status()));
  await page.goto(file);
  await page.getByText('hello').waitFor();
  assert.deepEqual(statuses, [403, 200]);
  await page.reload();
  await page.getByText('hello').waitFor();
  assert.deepEqual(statuses, [403, 200, 200]);
  // Pages that ask by themselves do so with the same cookie.
  await page.goto(product.edge);
  assert.equal(await page.evaluate(async (at) => (await fetch(at)).status, file), 200);
  await context.close();
});

test('a browser that keeps no cookies is told so, and does not ask for ever', own, async () => {
  const file = await upload();
  const context = await browser.newContext();
  await context.addInitScript(() => Object.defineProperty(document, 'cookie', { get: () => '', set: () => undefined }));
  const page = await context.newPage();
  await page.goto(file);
  await page.getByText('This takes cookies').waitFor();
  await context.close();
});

test('without a script it says what it takes', own, async () => {
  const file = await upload();
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  const answer = await page.goto(file);
  assert.equal(answer.status(), 403);
  // What is switched off from outside does not show what is for who has none.
  assert.match(await answer.text(), /<noscript><p>This takes JavaScript/);
  await context.close();
});
