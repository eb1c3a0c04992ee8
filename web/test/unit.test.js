// The page's plain functions, without a browser.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

const vite = await createServer({
  root: fileURLToPath(new URL('..', import.meta.url)),
  server: { middlewareMode: true, ws: false },
  optimizeDeps: { noDiscovery: true },
  logLevel: 'error',
});
after(() => vite.close());

const format = await vite.ssrLoadModule('/src/format.ts');
const { Problem } = await vite.ssrLoadModule('/src/problem.ts');
const { appendBytesMax } = await vite.ssrLoadModule('/src/uploads/limit.ts');
const { RateMeter, secondsLeft } = await vite.ssrLoadModule('/src/uploads/rate.ts');

test('sizes have three figures', () => {
  const cases = [
    [0, '0 bytes'],
    [1, '1 byte'],
    [999, '999 bytes'],
    [1000, '1.00 kB'],
    [9994, '9.99 kB'],
    [9996, '10.0 kB'],
    [99_960, '100 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [5_750_000, '5.75 MB'],
    [2 ** 53, '9.01 PB'],
  ];
  for (const [count, text] of cases) assert.equal(format.bytes(count), text);
});

test('the server says how much one request may carry', () => {
  const cases = [
    ['max-append-size=100000000', 100_000_000],
    ['max-size=5, max-append-size=7', 7],
    ['max-append-size=7, max-age=3', 7],
    ['max-size=5', null],
    ['max-append-size=0', null],
    ['x-max-append-size=7', null],
    ['', null],
    [null, null],
  ];
  for (const [said, bytes] of cases) assert.equal(appendBytesMax(said), bytes, String(said));
});

test('100 % is said only of what is whole', () => {
  assert.equal(format.percent(999_999, 1_000_000), 99);
  assert.equal(format.percent(1_000_000, 1_000_000), 100);
  assert.equal(format.percent(0, 0), 100);
});

test('times to go are coarse', () => {
  for (const [s, text] of [[0.2, '1 s'], [59, '59 s'], [90, '2 min'], [3700, '1 h 2 min'], [200_000, '2 days']]) {
    assert.equal(format.duration(s), text);
  }
});

test('badges come from short suffixes only', () => {
  for (const [name, suffix] of [['a.tar.gz', 'gz'], ['.profile', ''], ['notes', ''], ['a.numbers', ''], ['x.', '']]) {
    assert.equal(format.extension(name), suffix, name);
  }
  assert.equal(format.kindOf('clip', 'video/mp4'), 'video');
  assert.equal(format.kindOf('main.rs', 'application/octet-stream'), 'code');
});

test('a rate is measured over the last seconds, and not across a step back', () => {
  const meter = new RateMeter();
  meter.add(0, 0);
  assert.equal(meter.bytesPerS(), null, 'one look is no speed');
  meter.add(2_000_000, 2000);
  assert.equal(meter.bytesPerS(), 1_000_000);
  meter.add(2_000_000, 60_000);
  assert.equal(meter.bytesPerS(), null, 'what lies long back does not count');
  meter.add(1_000_000, 61_000);
  assert.equal(meter.bytesPerS(), null, 'the server had less than was sent');
  assert.equal(secondsLeft(5_000_000, 1_000_000), 5);
  assert.equal(secondsLeft(5, null), null);
});

test('problem documents become words', () => {
  const words = (status, slug, detail) =>
    Problem.parse(status, JSON.stringify({ type: `urn:outport:problem:${slug}`, detail }), null).words();
  assert.match(words(507, 'storage-full', 'full'), /no space left/);
  assert.equal(words(400, 'invalid-name', 'the name is empty'), 'The name is empty.');
  assert.match(Problem.parse(502, '<html>', null).words(), /could not do this/);
  assert.match(Problem.parse(429, '{"type":"urn:outport:problem:rate-limited"}', '7').words(), /in 7 s/);
  assert.match(Problem.of(new TypeError('Failed to fetch')).words(), /cannot be reached/);
});
