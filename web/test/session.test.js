// Sessions in a real browser: it takes the cookies on this machine, no script sees them, and another site's
// page does nothing with them. Set OUTPORT_BIN to the program; CHROMIUM to the browser where it is not
// /usr/bin/chromium.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launchBrowser, startProgram } from './support.js';

/** Whose tokens begin sessions is a setting of the edge, and an edge that is there has others. */
const own = { skip: process.env.OUTPORT_EDGE && 'the edge under test was not set up for sessions' };

let product;
let browser;
let other;

before(async () => {
  if (own.skip) return;
  const settings = '[session]\nissuers = ["outport"]\n[cors]\norigins = ["*"]\n';
  [product, browser] = await Promise.all([startProgram(settings), launchBrowser()]);
  other = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  await browser?.close();
  await product?.stop();
  other?.close();
});

/** Begins a session in the page of the edge itself. */
async function signIn(context) {
  const page = await context.newPage();
  await page.goto(product.edge);
  const begun = await page.evaluate(async (token) => {
    const headers = { authorization: `Bearer ${token}` };
    const { status } = await fetch('/session', { method: 'POST', headers });
    return { status, seen: document.cookie };
  }, product.token);
  assert.deepEqual(begun, { status: 201, seen: '' });
  return page;
}

test('a page works, refreshes and signs out by cookies that it does not see', own, async () => {
  const context = await browser.newContext();
  const page = await signIn(context);
  const cookies = await context.cookies();
  assert.deepEqual(
    cookies.map(({ name, httpOnly, secure, sameSite, path }) => [name, httpOnly, secure, sameSite, path]).sort(),
    [
      ['__Host-outport', true, true, 'Lax', '/'],
      ['__Host-outport-refresh', true, true, 'Strict', '/'],
    ],
  );
  const told = await page.evaluate(async () => {
    const ask = (path, method = 'GET', body) => fetch(path, { method, body });
    const stored = await ask('/files?name=a.txt', 'POST', 'hello');
    const file = stored.headers.get('location');
    const read = await (await ask(file)).text();
    const refreshed = await ask('/session', 'POST');
    const who = await (await ask('/session')).json();
    const ended = await ask('/session', 'DELETE');
    const after = await ask('/session');
    return [stored.status, read, refreshed.status, who.subject, ended.status, after.status];
  });
  assert.deepEqual(told, [201, 'hello', 200, 'demo', 204, 401]);
  assert.deepEqual(await context.cookies(), []);
  await context.close();
});

test('a page of another site does nothing with them', own, async () => {
  const context = await browser.newContext();
  const signedIn = await signIn(context);
  const file = await signedIn.evaluate(async () => {
    const stored = await fetch('/files?name=a.txt', { method: 'POST', body: 'hello' });
    return stored.headers.get('location');
  });
  const page = await context.newPage();
  // Another port is another origin of the same site, to which a browser sends cookies along.
  await page.goto(`http://127.0.0.1:${other.address().port}`);
  const told = await page.evaluate(
    async ({ edge, file }) => {
      const ask = async (path, method, mode) => {
        const asked = fetch(edge + path, { method, mode, credentials: 'include', body: method === 'GET' ? undefined : 'x' });
        return asked.then(({ status, type }) => (type === 'opaque' ? type : status), (error) => error.name);
      };
      return [
        await ask('/files?name=b.txt', 'POST', 'no-cors'),
        await ask('/session', 'POST', 'no-cors'),
        await ask(file, 'GET', 'cors'),
        await ask('/session', 'GET', 'cors'),
      ];
    },
    { edge: product.edge, file },
  );
  assert.deepEqual(told, ['opaque', 'opaque', 'TypeError', 'TypeError'], 'it learns nothing');
  const left = await signedIn.evaluate(async () => (await (await fetch('/files?limit=10&prefix=b')).json()).files.length);
  assert.equal(left, 0, 'and it has stored nothing');
  const still = await signedIn.evaluate(async () => (await fetch('/session')).status);
  assert.equal(still, 200, 'the session goes on');
  await context.close();
});
