// Serving what is stale: RFC 5861, and RFC 9111 4.2.4.
//
// http-cache-tests as published takes an answer that is no answer of the origin's for one from the
// cache, so that four of its tests pass with no gateway which serves stale answers at all. Its tests
// since then ask these 12 questions, which are written from the RFCs.
import { twice } from './ask.mjs';

const cc = (value) => ['Cache-Control', value];

/** Stale when it is asked for again, and nothing says what to do then. */
const short = [cc('max-age=2')];
/** The origin takes the request and hangs up. */
const hangsUp = { disconnect: true, expected_type: 'cached' };
const unavailable = {
  response_status: [503, 'Service Unavailable'],
  expected_status: 200,
  expected_type: 'cached',
};
const fresh = { after: ['freshness-max-age'] };
const served = { after: ['serve-stale-close'] };

/** An answer of the cache's own: whatever it says, it is none that the origin once gave. */
function mustNot(directive) {
  return twice(`serve-stale-not-${directive}`, 'required', `\`${directive}\` forbids it`, [
    cc(`max-age=2, ${directive}`),
  ], {
    disconnect: true,
    any_status: true,
    check_body: false,
    expected_response_headers_missing: ['Server-Request-Count'],
  }, served);
}

export default {
  id: 'serve-stale',
  name: 'Serving stale answers (RFC 5861, RFC 9111)',
  tests: [
    twice('serve-stale-close', 'check', 'When the origin hangs up?', short, hangsUp, fresh),
    twice('serve-stale-503', 'check', 'When the origin says 503?', short, unavailable, fresh),
    twice('serve-stale-if-error-close', 'check', '`stale-if-error`, and it hangs up?', [
      cc('max-age=2, stale-if-error=60'),
    ], hangsUp, fresh),
    twice('serve-stale-if-error-503', 'check', '`stale-if-error`, and it says 503?', [
      cc('max-age=2, stale-if-error=60'),
    ], unavailable, fresh),
    twice('serve-stale-while-revalidate', 'optimal', '`stale-while-revalidate` allows it', [
      cc('max-age=1, stale-while-revalidate=3600'),
      ['ETag', '"first"'],
    ], { expected_type: 'cached' }, fresh),
    {
      id: 'serve-stale-while-revalidate-window',
      kind: 'required',
      name: 'Not after the time that `stale-while-revalidate` names',
      depends_on: ['serve-stale-while-revalidate'],
      requests: [
        {
          response_headers: [
            cc('max-age=1, stale-while-revalidate=4'),
            ['ETag', '"first"'],
          ],
          setup: true,
          pause_after: true,
        },
        // Asked behind the client's back, the origin hangs up: what is stored stays what it was.
        { ...hangsUp, setup: true, pause_after: true },
        { expected_response_headers: [['Client-Request-Count', '3']] },
      ],
    },
    ...['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=2'].map(mustNot),
    {
      id: 'serve-stale-warning-stored',
      kind: 'check',
      name: 'With a `Warning`, if it was stale when it came?',
      depends_on: ['serve-stale-close'],
      requests: [
        {
          response_headers: [
            ['Date', 0],
            ['Expires', -5000],
            ['Last-Modified', -100_000],
          ],
        },
        { ...hangsUp, expected_response_headers: ['Warning'], setup_tests: ['expected_type'] },
      ],
    },
    twice('serve-stale-warning', 'check', 'With a `Warning`, if it has become stale?', short, {
      ...hangsUp,
      expected_response_headers: ['Warning'],
      setup_tests: ['expected_type'],
    }, served),
  ],
};
