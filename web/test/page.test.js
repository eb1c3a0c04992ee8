// The page in a real browser, against the product itself. Set OUTPORT_BIN to the program; CHROMIUM to the
// browser where it is not /usr/bin/chromium. Screenshots go to test-results/.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import {
  ask,
  choose,
  Files,
  fileRow,
  launchBrowser,
  openPage,
  screenshot,
  sha256,
  startProduct,
  throttleUploads,
  transferRow,
  violations,
  waitForPercent,
  watchUploads,
} from './support.js';

const MB = 1_000_000;
const SLOW_BYTES_PER_S = 8 * MB;

/** For tests that break a request off and look for what of it arrived. */
const wholeBodies = {
  skip:
    process.env.OUTPORT_PLATFORM === 'fastly' &&
    'the local runtime waits for all of a body before the edge sees the request',
};

let product;
let browser;
const files = new Files();

before(async () => {
  [product, browser] = await Promise.all([startProduct(), launchBrowser()]);
});

after(async () => {
  await browser?.close();
  await product?.stop();
  files.remove();
});

test('an upload that was paused goes on after a reload, from the server’s offset', wholeBodies, async () => {
  const film = files.make('film.mp4', 48 * MB);
  const note = files.make('note.txt', 200_000);
  const { context, page, complaints } = await openPage(browser, product);
  assert.equal(new URL(page.url()).hash, '', 'the token is gone from the address bar');

  const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
  await choose(page, [film, note]);
  await waitForPercent(page, film, 15);
  await transferRow(page, film).getByRole('button', { name: 'Pause' }).click();
  await transferRow(page, film).getByText('Paused').waitFor();
  await fileRow(page, note).waitFor();
  await screenshot(page, 'paused');

  await page.reload();
  await transferRow(page, film).getByText('Interrupted').waitFor();
  await screenshot(page, 'reloaded');
  await fullSpeed();
  const requests = watchUploads(page);
  await transferRow(page, film).getByRole('button', { name: 'Resume' }).click();
  await fileRow(page, film).waitFor();
  await fileRow(page, note).waitFor();

  assert.deepEqual(requests.filter(({ method }) => method === 'POST'), [], 'no second upload is begun');
  const resumed = requests.find(({ method }) => method === 'PATCH');
  const asked = requests.find(({ method }) => method === 'HEAD');
  assert.equal(resumed.offset, asked.answered, 'it goes on from where the server is');
  assert.ok(resumed.offset > 0.1 * film.bytes, `which is ${resumed.offset}, not 0`);

  assert.equal(await downloadedByLink(page, film), film.sha256);
  assert.equal(await downloadedByLink(page, note), note.sha256);
  assert.deepEqual(complaints, []);
  await context.close();
});

/** Copies the file's link on the page, follows it from elsewhere, and tells the SHA-256 of what comes. */
async function downloadedByLink(page, file) {
  const button = fileRow(page, file).getByRole('button', { name: 'Copy link' });
  await button.click();
  await page.locator('.notice').filter({ hasText: `Link to “${file.name}” copied` }).waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const response = await fetch(link);
  assert.equal(response.status, 200, link);
  return sha256(Buffer.from(await response.arrayBuffer()));
}

test('a file too large to be kept is picked again to go on', wholeBodies, async () => {
  const large = files.make('large.bin', 72 * MB);
  const other = files.make('other.bin', 1000);
  const { context, page } = await openPage(browser, product);
  const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
  await choose(page, [large]);
  await waitForPercent(page, large, 10);
  await page.reload();

  const again = transferRow(page, large).getByRole('button', { name: 'Pick the file again' });
  await choose(page, [other], again);
  await transferRow(page, large).getByText('is not the file this upload began with').waitFor();
  await fullSpeed();
  const requests = watchUploads(page);
  await choose(page, [large], again);
  await fileRow(page, large).waitFor();
  assert.ok(requests.find(({ method }) => method === 'PATCH').offset > 0);
  assert.equal(await downloadedByLink(page, large), large.sha256);
  await context.close();
});

test('where the browser gives a handle to the file, a large one goes on at one click', wholeBodies, async () => {
  const { context, page } = await openPage(browser, product, { filePicker: 'handles' });
  const name = 'by-handle.bin';
  await context.addInitScript((fileName) => {
    window.showOpenFilePicker = async () => {
      const folder = await navigator.storage.getDirectory();
      return [await folder.getFileHandle(fileName)];
    };
  }, name);
  await page.evaluate(async (fileName) => {
    const folder = await navigator.storage.getDirectory();
    const writing = await (await folder.getFileHandle(fileName, { create: true })).createWritable();
    await writing.write(new Uint8Array(72_000_000));
    await writing.close();
  }, name);
  await page.reload();
  const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
  await page.getByRole('button', { name: 'Choose files' }).click();
  await waitForPercent(page, { name }, 10);
  await page.reload();
  await fullSpeed();
  const requests = watchUploads(page);
  await transferRow(page, { name }).getByRole('button', { name: 'Resume' }).click();
  await fileRow(page, { name }).waitFor();
  assert.ok(requests.find(({ method }) => method === 'PATCH').offset > 0);
  await context.close();
});

test('the keyboard is enough: upload, copy a link, rename, delete', async () => {
  const letter = files.make('letter.txt', 5000);
  const { context, page, complaints } = await openPage(browser, product);
  await page.getByRole('heading', { name: 'Your files' }).waitFor();
  await tabTo(page, 'Choose files');
  const [dialog] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')]);
  await dialog.setFiles(letter.path);
  await fileRow(page, letter).waitFor();
  await page.getByTestId('live').getByText('Uploaded letter.txt').waitFor({ state: 'attached' });

  await tabTo(page, 'Copy link: letter.txt');
  await page.keyboard.press('Enter');
  await page.locator('.notice').filter({ hasText: 'copied' }).waitFor();

  await tabTo(page, 'Rename: letter.txt');
  await page.keyboard.press('Enter');
  await page.keyboard.type('epistle');
  await page.keyboard.press('Enter');
  await fileRow(page, { name: 'epistle.txt' }).waitFor();

  await tabTo(page, 'Delete: epistle.txt');
  await page.keyboard.press('Enter');
  await fileRow(page, { name: 'epistle.txt' }).waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Your files');
  assert.deepEqual(complaints, []);
  await context.close();
});

const TABS_MAX = 80;

/** Presses Tab until the control of this name has the focus, and sees that the focus shows. */
async function tabTo(page, name) {
  for (let presses = 0; presses < TABS_MAX; presses += 1) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      const style = element && getComputedStyle(element);
      return {
        name: element?.getAttribute('aria-label') ?? element?.textContent?.trim(),
        shows: style?.outlineStyle !== 'none' && Number.parseFloat(style?.outlineWidth ?? '0') >= 2,
      };
    });
    if (focus.name !== name) continue;
    assert.ok(focus.shows, `the focus on “${name}” shows`);
    return;
  }
  assert.fail(`Tab does not reach “${name}”`);
}

test('files can be dropped anywhere, and pasted', async () => {
  const { context, page } = await openPage(browser, product);
  await page.getByRole('heading', { name: 'Drop files anywhere' }).waitFor();
  const send = (type, name) =>
    page.evaluate(
      ([event, fileName]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(['x'.repeat(3000)], fileName, { type: 'text/plain', lastModified: 1 }));
        const init = { bubbles: true, cancelable: true };
        const sent =
          event === 'paste'
            ? new ClipboardEvent(event, { ...init, clipboardData: transfer })
            : new DragEvent(event, { ...init, dataTransfer: transfer });
        document.body.dispatchEvent(sent);
      },
      [type, name],
    );
  await send('dragenter', 'dropped.txt');
  await page.getByRole('heading', { name: 'Let go to upload' }).waitFor();
  await screenshot(page, 'dragging');
  await send('drop', 'dropped.txt');
  await fileRow(page, { name: 'dropped.txt' }).waitFor();
  await page.getByRole('heading', { name: 'Drop files anywhere' }).waitFor();
  await send('paste', 'pasted.txt');
  await fileRow(page, { name: 'pasted.txt' }).waitFor();
  await context.close();
});

test('visibility, search, delete and undo reach the server', async () => {
  const apple = files.make('apple.txt', 1000);
  const pear = files.make('pear.txt', 1000);
  const { context, page } = await openPage(browser, product);
  await choose(page, [apple, pear]);
  await fileRow(page, apple).waitFor();
  await fileRow(page, pear).waitFor();

  const id = await fileRow(page, apple).getAttribute('data-id');
  assert.equal((await fetch(new URL(`/files/${id}`, product.edge))).status, 404, 'private at first');
  await fileRow(page, apple).getByLabel('Who can see apple.txt').selectOption('public');
  await page.getByTestId('live').getByText('visible to everyone').waitFor({ state: 'attached' });
  assert.equal((await listed('apple'))[0].visibility, 'public');
  assert.equal((await fetch(new URL(`/files/${id}`, product.edge))).status, 200, 'public at once');
  await fileRow(page, apple).getByLabel('Who can see apple.txt').selectOption('private');
  await page.getByTestId('live').getByText('visible to you only').waitFor({ state: 'attached' });
  assert.equal((await fetch(new URL(`/files/${id}`, product.edge))).status, 404, 'and private again');

  await page.getByRole('searchbox').fill('pea');
  await fileRow(page, apple).waitFor({ state: 'detached' });
  await page.getByRole('searchbox').fill('');
  await fileRow(page, apple).waitFor();

  await fileRow(page, pear).getByRole('button', { name: 'Delete' }).click();
  await page.locator('.notice').getByRole('button', { name: 'Undo' }).click();
  await fileRow(page, pear).waitFor();
  assert.equal((await listed('pear')).length, 1);

  await fileRow(page, pear).getByRole('button', { name: 'Delete' }).click();
  await page.locator('.notice').getByRole('button', { name: 'Close this notice' }).click();
  await eventually(async () => (await listed('pear')).length === 0);
  await context.close();
});

async function listed(prefix) {
  const response = await ask(product, `/files?prefix=${prefix}`);
  assert.equal(response.status, 200);
  return (await response.json()).files;
}

const EVENTUALLY_MS = 10_000;

async function eventually(holds) {
  const until = Date.now() + EVENTUALLY_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < until, `it did not come true in ${EVENTUALLY_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('a cancelled upload is gone from the page and the server', async () => {
  const doomed = files.make('doomed.bin', 30 * MB);
  const { context, page } = await openPage(browser, product);
  const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
  const requests = watchUploads(page);
  await choose(page, [doomed]);
  await waitForPercent(page, doomed, 10);
  await transferRow(page, doomed).getByRole('button', { name: 'Cancel' }).click();
  await transferRow(page, doomed).waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Your files');
  await fullSpeed();
  const { pathname } = requests.find(({ method }) => method === 'PATCH');
  await eventually(async () => {
    const answer = await ask(product, pathname, { method: 'HEAD', headers: { 'tus-resumable': '1.0.0' } });
    return answer.status === 404;
  });
  await page.reload();
  await page.getByRole('heading', { name: 'Your files' }).waitFor();
  assert.equal(await transferRow(page, doomed).count(), 0);
  await context.close();
});

test('a failure is told in words, and a retry goes on', async () => {
  const stuck = files.make('stuck.txt', 2000);
  const { context, page } = await openPage(browser, product);
  const full = {
    status: 507,
    contentType: 'application/problem+json',
    body: JSON.stringify({ type: 'urn:outport:problem:storage-full', title: 'Full', status: 507, detail: 'full' }),
  };
  await page.route('**/uploads/*', (route) => (route.request().method() === 'PATCH' ? route.fulfill(full) : route.continue()));
  await choose(page, [stuck]);
  await transferRow(page, stuck).getByText('There is no space left on the server.').waitFor();
  await screenshot(page, 'failed');
  assert.deepEqual(await violations(page), []);
  await page.unroute('**/uploads/*');
  await transferRow(page, stuck).getByRole('button', { name: 'Retry' }).click();
  await fileRow(page, stuck).waitFor();
  assert.equal(await downloadedByLink(page, stuck), stuck.sha256);
  await context.close();
});

test('an origin that is down for a moment does not make an upload begin anew', wholeBodies, async () => {
  const patient = files.make('patient.bin', 24 * MB);
  const { context, page } = await openPage(browser, product);
  const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
  await choose(page, [patient]);
  await waitForPercent(page, patient, 20);
  await transferRow(page, patient).getByRole('button', { name: 'Pause' }).click();
  await fullSpeed();
  let refusals = 2;
  const requests = watchUploads(page);
  await page.route('**/uploads/*', (route) => {
    if (route.request().method() !== 'HEAD' || refusals === 0) return route.continue();
    refusals -= 1;
    return route.fulfill({ status: 502, contentType: 'application/problem+json', body: '{}' });
  });
  await transferRow(page, patient).getByRole('button', { name: 'Resume' }).click();
  await fileRow(page, patient).waitFor();
  assert.equal(refusals, 0);
  assert.deepEqual(requests.filter(({ method }) => method === 'POST'), []);
  assert.ok(requests.find(({ method }) => method === 'PATCH').offset > 0);
  await context.close();
});

test('a file opens in a tab of its own, and downloads under its name', async () => {
  const memo = files.make('memo.txt', 1000);
  const { context, page } = await openPage(browser, product);
  await choose(page, [memo]);
  const row = fileRow(page, memo);
  const [tab] = await Promise.all([context.waitForEvent('page'), row.getByRole('button', { name: 'memo.txt', exact: true }).click()]);
  await tab.waitForURL(/\/files\/.*memo\.txt/);
  assert.equal(await tab.evaluate(() => window.opener), null);
  await tab.close();
  const [download] = await Promise.all([page.waitForEvent('download'), row.getByRole('button', { name: 'Download' }).click()]);
  assert.equal(download.suggestedFilename(), 'memo.txt');
  assert.equal(sha256(await readFile(await download.path())), memo.sha256);
  await context.close();
});

test('where the clipboard is closed to pages, the link is shown to be copied by hand', async () => {
  const card = files.make('card.txt', 1000);
  const { context, page } = await openPage(browser, product, { permissions: [] });
  await choose(page, [card]);
  await fileRow(page, card).getByRole('button', { name: 'Copy link' }).click();
  const link = await page.getByRole('dialog').getByLabel('Link').inputValue();
  await screenshot(page, 'link-by-hand');
  assert.deepEqual(await violations(page), []);
  assert.equal((await fetch(link)).status, 200);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  await context.close();
});

test('a name that the server refuses is told in words', async () => {
  const plain = files.make('plain.txt', 1000);
  const { context, page } = await openPage(browser, product);
  await choose(page, [plain]);
  await fileRow(page, plain).getByRole('button', { name: 'Rename' }).click();
  await page.getByLabel('New name of plain.txt').fill('gpj.\u202Etxt');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').getByText('direction').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Rename: plain.txt');
  await context.close();
});

test('a long list comes page by page', async () => {
  const names = Array.from({ length: 57 }, (_, index) => `page-${String(index).padStart(2, '0')}.txt`);
  for (const name of names) {
    const stored = await ask(product, `/files?name=${name}`, { method: 'POST', body: name });
    assert.equal(stored.status, 201);
  }
  const { context, page } = await openPage(browser, product);
  await page.getByRole('searchbox').fill('page-');
  await page.getByTestId('live').getByText('More than 50 files found.').waitFor({ state: 'attached' });
  assert.equal(await page.locator('.file').count(), 50);
  await page.getByRole('button', { name: 'Show more' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.file').length === 57);
  const shown = await page.locator('.file .name').allTextContents();
  assert.deepEqual(shown, names.toReversed(), 'each once, newest first');
  assert.equal(await page.getByRole('button', { name: 'Show more' }).count(), 0);
  await context.close();
});

test('a bad token is told in words, and a good one helps', async () => {
  const { context, page } = await openPage(browser, product, { token: 'nonsense' });
  await page.getByRole('alert').getByText('token').waitFor();
  assert.equal(new URL(page.url()).hash, '');
  await screenshot(page, 'bad-token');
  assert.deepEqual(await violations(page), []);
  await page.getByLabel('Token').fill(product.token);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Your files' }).waitFor();
  await context.close();
});

test('without a token the demo’s is taken', async () => {
  const { context, page } = await openPage(browser, product, { token: null });
  await page.getByRole('heading', { name: 'Your files' }).waitFor();
  await context.close();
});

const LOOKS = [
  { name: 'desk-light', colorScheme: 'light', viewport: { width: 1180, height: 900 } },
  { name: 'desk-dark', colorScheme: 'dark', viewport: { width: 1180, height: 900 } },
  { name: 'phone-light', colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true },
  { name: 'phone-dark', colorScheme: 'dark', viewport: { width: 390, height: 844 }, hasTouch: true },
  { name: 'small-phone-light', colorScheme: 'light', viewport: { width: 320, height: 640 }, hasTouch: true },
];

for (const { name, ...look } of LOOKS) {
  test(`it looks right and axe finds nothing wrong: ${name}`, async () => {
    const photo = files.make(`A photograph with a rather long name, ${name}.jpg`, 12 * MB);
    const { context, page } = await openPage(browser, product, { ...look, reducedMotion: 'reduce' });
    await page.locator('.file').first().waitFor();
    const fullSpeed = await throttleUploads(page, SLOW_BYTES_PER_S);
    await choose(page, [photo]);
    await waitForPercent(page, photo, 10);
    await screenshot(page, name);
    assert.deepEqual(await violations(page), []);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(wide, false, 'nothing sticks out sideways');
    await fullSpeed();
    await fileRow(page, photo).waitFor();
    await context.close();
  });
}

test('the chosen theme holds against the system’s, and through a reload', async () => {
  const { context, page } = await openPage(browser, product, { colorScheme: 'light' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('radio', { name: 'Dark' }).check({ force: true });
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(), dark);
  await context.close();
});
