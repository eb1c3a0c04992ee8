// Puts tests to the cache that is in front of the suite's own server, and writes what came of each.
//
//   node run.mjs --base URL --out FILE [--suite SUBSTRING]... [--id TEST]
//
// The tests are those of http-cache-tests, run and judged by that package's code, and ours beside
// this file, in its form. What a test that is asked for depends on is run with it. With --id, the
// test's requests and answers are printed.
import { writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs';
import { determineTestResult } from 'http-cache-tests/lib/display.mjs';
import published from 'http-cache-tests/tests/index.mjs';
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs';
import fetch, { Response } from 'node-fetch';
import ages from './ages.mjs';
import stale from './stale.mjs';
import targeted from './targeted.mjs';

/** How long an answer may take, so that a cache which hangs fails a test and not the run. */
const ANSWER_MS_MAX = 20_000;

/**
 * How many tests run at once. They go by seconds: a runtime that has more to do than it can in one
 * seems to forget what it may keep for two.
 */
const AT_ONCE = 50;

/** How often a request is sent that a platform's front has not taken, and with what pause. */
const TRIES_MAX = 5;
const TRY_AGAIN_MS = 200;

/** What the suite's sign for a result means. */
const VERDICTS = new Map([
  ['✅', 'passed'],
  ['⛔️', 'failed'],
  ['⚠️', 'failed'],
  ['Y', 'yes'],
  ['N', 'no'],
  ['🔹', 'setup'],
  ['⚪️', 'dependency'],
  ['↻', 'retried'],
  ['⁉️', 'broken'],
  ['-', 'untested'],
]);

const { values: asked } = parseArgs({
  options: {
    base: { type: 'string' },
    out: { type: 'string' },
    suite: { type: 'string', multiple: true },
    id: { type: 'string' },
  },
});

const suites = [
  ...[...published, surrogate].map((suite) => ({ ...suite, ours: false })),
  ...[targeted, stale, ages].map((suite) => ({ ...suite, ours: true })),
];
// Those for browsers alone are not for what stands in front of a server.
const tests = new Map(
  suites
    .flatMap((suite) => suite.tests.map((test) => ({ suite, test })))
    .filter(({ test }) => !test.browser_only)
    .map((entry) => [entry.test.id, entry]),
);
const wanted = [...tests.values()].filter(isAsked);
if (wanted.length === 0) {
  console.error('no such test');
  process.exit(1);
}
const run = new Map();
wanted.forEach(({ test }) => addWithDependencies(test));
if (asked.id) tests.get(asked.id).test.dump = true;

await runTests([{ tests: [...run.values()] }], fetchInTime, false, asked.base, AT_ONCE);
const results = getResults();
const report = wanted.map(({ suite, test }) => ({
  suite: suite.id,
  ours: suite.ours,
  id: test.id,
  kind: test.kind ?? 'required',
  name: test.name.trim(),
  verdict: verdict(test),
  message: message(test),
}));
writeFileSync(asked.out, JSON.stringify(report, null, 1));

function isAsked({ suite, test }) {
  if (asked.id) return test.id === asked.id;
  return !asked.suite || asked.suite.some((part) => suite.id.includes(part));
}

function addWithDependencies(test) {
  if (run.has(test.id)) return;
  run.set(test.id, test);
  for (const id of test.depends_on ?? []) addWithDependencies(tests.get(id).test);
}

function verdict(test) {
  const [, , sign] = determineTestResult(suites, test.id, results);
  return VERDICTS.get(sign) ?? sign;
}

/** Why a test has not passed. One whose dependencies have not says nothing by itself. */
function message(test) {
  const isMissing = (id) => !['passed', 'yes'].includes(verdict(tests.get(id).test));
  const missing = (test.depends_on ?? []).find(isMissing);
  if (missing) return `on ${missing}`;
  return results[test.id] === true ? '' : results[test.id].join(': ');
}

/**
 * The suite's client takes this for fetch. It accepts no coding: what a platform's own front
 * compresses has lost its length.
 */
async function fetchInTime(url, init, tries = TRIES_MAX) {
  const asked = fetch(url, { ...init, timeout: ANSWER_MS_MAX, compress: false });
  const response = await asked.catch((error) => {
    if (isTest(url) || tries === 1) throw error;
  });
  if (tries > 1 && (!response || wasNotTaken(response))) {
    await pause(TRY_AGAIN_MS);
    return fetchInTime(url, init, tries - 1);
  }
  if (!takesAnyStatus(init)) return response;
  // The suite has no word for "whatever the status".
  return new Response(response.body, { status: 200, headers: response.headers });
}

/** Whether a request is a test's, and not about one. */
function isTest(url) {
  return new URL(url).pathname.startsWith('/test/');
}

/**
 * Whether a platform's own front says that it lost the connection to what runs behind it, and that
 * the request may be sent again. Neither Outport nor the origin says `Retry-After: 0`.
 */
function wasNotTaken(response) {
  return response.status === 503 && response.headers.get('Retry-After') === '0';
}

function takesAnyStatus(init) {
  const fields = new Map(Array.isArray(init?.headers) ? init.headers : []);
  const test = tests.get(fields.get('Test-ID'))?.test;
  return test?.requests[Number(fields.get('Req-Num')) - 1]?.any_status === true;
}
