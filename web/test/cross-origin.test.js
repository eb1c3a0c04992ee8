// Another site's page, in a real browser: it uploads by both protocols, with a token, and reads what it is
// answered. Set OUTPORT_BIN to the program; CHROMIUM to the browser where it is not /usr/bin/chromium.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { launchBrowser, startProgram } from './support.js';

const BYTES = 700_000;
const tusClient = createRequire(import.meta.url).resolve('tus-js-client/dist/tus.min.js');

/** The allowed origins are a setting of the edge, and an edge that is there has others. */
const own = { skip: process.env.OUTPORT_EDGE && 'the edge under test was not set up for another site' };

let product;
let browser;
let site;
let stranger;

before(async () => {
  if (own.skip) return;
  [site, stranger] = await Promise.all([startSite(), startSite()]);
  [product, browser] = await Promise.all([startProgram(`[cors]\norigins = ["${site.url}"]\n`), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await product?.stop();
  site?.server.close();
  stranger?.server.close();
});

/** A site with one empty page. */
async function startSite() {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

/** Runs `work` in the page of a site, with the edge's address, a token and so many bytes. */
async function inPageOf({ url }, work, more = {}) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  await page.addScriptTag({ path: tusClient });
  const { edge, token } = product;
  const told = await page.evaluate(work, { edge, token, bytes: BYTES, ...more });
  await context.close();
  return told;
}

/** By tus-js-client, in pieces; then the file is fetched, and a range of it. */
async function uploadByTus({ edge, token, bytes, parallelUploads }) {
  const content = crypto.getRandomValues(new Uint8Array(65_536));
  const blob = new Blob(Array.from({ length: Math.ceil(bytes / content.length) }, () => content)).slice(0, bytes);
  const headers = { authorization: `Bearer ${token}` };
  const url = await new Promise((resolve, reject) => {
    const upload = new window.tus.Upload(blob, {
      endpoint: `${edge}/uploads`,
      headers,
      chunkSize: parallelUploads ? Infinity : 300_000,
      parallelUploads,
      metadata: { filename: 'elsewhere.bin', filetype: 'application/x-elsewhere' },
      onError: reject,
      onSuccess: () => resolve(upload.url),
    });
    upload.start();
  });
  const file = url.replace('/uploads/', '/files/');
  const whole = await fetch(file, { headers });
  const range = await fetch(file, { headers: { ...headers, range: 'bytes=1-4' } });
  const digest = async (part) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', await part.arrayBuffer()))].join();
  return {
    same: (await digest(whole)) === (await digest(blob)),
    type: whole.headers.get('content-type'),
    etag: whole.headers.get('etag'),
    range: [range.status, range.headers.get('content-range'), range.headers.get('accept-ranges')],
  };
}

test('tus-js-client uploads from another site and reads what came of it', own, async () => {
  for (const parallelUploads of [1, 3]) {
    const told = await inPageOf(site, uploadByTus, { parallelUploads });
    assert.deepEqual(told, {
      same: true,
      type: 'application/x-elsewhere',
      etag: told.etag,
      range: [206, `bytes 1-4/${BYTES}`, 'bytes'],
    });
    assert.match(told.etag, /^"[0-9A-Z]{26}"$/);
  }
});

test('a page of another site speaks the draft and reads all of its fields', own, async () => {
  const told = await inPageOf(site, async ({ edge, token }) => {
    const headers = { authorization: `Bearer ${token}`, 'upload-draft-interop-version': '8' };
    const names = ['upload-complete', 'upload-offset', 'upload-length', 'upload-limit', 'repr-digest', 'location'];
    const shown = ({ status, headers }) => ({
      status,
      ...Object.fromEntries(names.map((name) => [name, headers.get(name)]).filter(([, value]) => value !== null)),
    });
    const ask = (method, path, fields, body) => fetch(edge + path, { method, body, headers: { ...headers, ...fields } });
    const began = await ask('POST', '/uploads', { 'upload-complete': '?0', 'want-repr-digest': 'sha-256=1' });
    const path = began.headers.get('location');
    const partial = { 'content-type': 'application/partial-upload' };
    const wrong = await ask('PATCH', path, { ...partial, 'upload-offset': '7', 'upload-complete': '?0' }, 'hello ');
    const first = await ask('PATCH', path, { ...partial, 'upload-offset': '0', 'upload-complete': '?0' }, 'hello ');
    const head = await ask('HEAD', path, {});
    const last = await ask('PATCH', path, { ...partial, 'upload-offset': '6', 'upload-complete': '?1' }, 'world');
    const file = await ask('GET', last.headers.get('location'), {});
    const problem = await wrong.json();
    return {
      began: shown(began),
      wrong: [shown(wrong)['upload-offset'], problem['expected-offset']],
      first: shown(first),
      head: shown(head),
      last: shown(last),
      text: await file.text(),
    };
  });
  assert.deepEqual([told.began.status, told.began['upload-complete'], told.began['upload-offset']], [201, '?0', '0']);
  assert.match(told.began.location, /^\/uploads\/[0-9A-Z]{26}$/);
  assert.match(told.began['upload-limit'], /^max-size=\d+, max-age=\d+$/);
  assert.deepEqual(told.wrong, ['0', 0]);
  assert.deepEqual([told.first.status, told.first['upload-offset']], [204, '6']);
  assert.deepEqual([told.head.status, told.head['upload-offset'], told.head['upload-complete']], [204, '6', '?0']);
  assert.deepEqual([told.last.status, told.last['upload-complete']], [201, '?1']);
  assert.equal(told.last['repr-digest'], 'sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:');
  assert.equal(told.text, 'hello world');
});

test('a page of a site that is not allowed learns nothing', own, async () => {
  const told = await inPageOf(stranger, async ({ edge, token }) => {
    const attempt = (path, init) => fetch(edge + path, init).then(({ status }) => status, (error) => error.name);
    const headers = { authorization: `Bearer ${token}` };
    return [
      await attempt('/files', { headers }),
      await attempt('/uploads', { method: 'POST', headers: { ...headers, 'upload-complete': '?0' } }),
      await attempt('/files', { method: 'POST', body: 'hello' }),
    ];
  });
  assert.deepEqual(told, ['TypeError', 'TypeError', 'TypeError']);
});
