// Targeted cache control, RFC 9213: CDN-Cache-Control before Cache-Control and Expires.
//
// http-cache-tests has tests of it since it was last published, which ask the same 24 questions;
// these are written from the RFC.
import { askedAgain, twice, unchecked, usedAgain } from './ask.mjs';

const DAY = 86_400;

const cdn = (value) => unchecked('CDN-Cache-Control', value);
const cc = (value) => ['Cache-Control', value];
const expires = (seconds) => ['Expires', seconds];
const now = ['Date', 0];

/** Where nothing else says for how long, the targeted field does. */
const none = { after: ['freshness-none'] };
/** What is worth asking only where the field is obeyed at all. */
const obeyed = { after: ['targeted-fresh'] };
/** The cache may keep it for a day, everybody else for a second. */
const longer = [cc('max-age=1'), ['CDN-Cache-Control', `max-age=${DAY}`], now];

export default {
  id: 'targeted',
  name: 'Targeted cache control (RFC 9213)',
  tests: [
    usedAgain('targeted-fresh', 'optimal', 'Its `max-age` is a freshness lifetime', [
      cdn(`max-age=${DAY}`),
    ], none),
    usedAgain('targeted-fresh-2-31', 'optimal', 'Also one of 2^31', [
      cdn('max-age=2147483648'),
    ], none),
    usedAgain('targeted-fresh-beyond', 'optimal', 'Also one that no 32 bits hold', [
      cdn('max-age=99999999999'),
    ], none),
    usedAgain('targeted-extension', 'optimal', 'What is not known in it changes nothing', [
      cdn(`unheard-of, max-age=${DAY}`),
    ], obeyed),
    usedAgain('targeted-past-expires', 'optimal', 'It goes before an `Expires` in the past', [
      cdn(`max-age=${DAY}`),
      expires(-DAY),
      now,
    ], obeyed),
    usedAgain('targeted-invalid-expires', 'optimal', 'It goes before an `Expires` that is no date', [
      cdn(`max-age=${DAY}`),
      unchecked('Expires', '0'),
      now,
    ], obeyed),
    usedAgain('targeted-longer', 'optimal', 'It goes before a shorter `Cache-Control`', [
      cc('max-age=1'),
      cdn(`max-age=${DAY}`),
    ], obeyed),
    askedAgain('targeted-older', 'required', 'What is older than it allows is stale', [
      cdn(`max-age=${DAY}`),
      ['Age', String(2 * DAY)],
      now,
    ], obeyed),
    askedAgain('targeted-zero', 'required', '`max-age=0` is stale at once', [
      cdn('max-age=0'),
    ], obeyed),
    askedAgain('targeted-zero-expires', 'required', 'Also with an `Expires` in the future', [
      cdn('max-age=0'),
      expires(DAY),
      now,
    ], obeyed),
    askedAgain('targeted-shorter', 'required', 'It goes before a longer `Cache-Control`', [
      cc(`max-age=${DAY}`),
      cdn('max-age=1'),
    ], obeyed),
    askedAgain('targeted-private', 'required', '`private` in it forbids to use it for others', [
      cdn(`max-age=${DAY}, private`),
      cc(`max-age=${DAY}`),
      expires(DAY),
      now,
    ]),
    askedAgain('targeted-no-cache', 'required', '`no-cache` in it asks the origin each time', [
      cdn(`max-age=${DAY}, no-cache`),
      cc(`max-age=${DAY}`),
      expires(DAY),
      now,
    ]),
    askedAgain('targeted-no-store', 'required', '`no-store` in it forbids to store', [
      cdn(`max-age=${DAY}, no-store`),
      cc(`max-age=${DAY}`),
      expires(DAY),
      now,
    ], none),
    usedAgain('targeted-despite-no-store', 'required', 'It goes before `Cache-Control: no-store`', [
      cc('no-store'),
      cdn(`max-age=${DAY}`),
    ], none),
    askedAgain('targeted-malformed', 'required', 'One that is no structured field is not there', [
      cc('no-store'),
      cdn(`max-age=${DAY}, &&&&&`),
    ], obeyed),
    askedAgain('targeted-string', 'required', 'One whose `max-age` is a string is not obeyed', [
      cc('no-store'),
      cdn(`max-age="${DAY}"`),
    ], obeyed),
    askedAgain('targeted-space-before', 'check', 'Is one with a space before `=` ignored?', [
      cc('max-age=1'),
      cdn(`max-age =${DAY}`),
    ], obeyed),
    askedAgain('targeted-space-after', 'check', 'Is one with a space after `=` ignored?', [
      cc('max-age=1'),
      cdn(`max-age= ${DAY}`),
    ], obeyed),
    usedAgain('targeted-case', 'check', 'Is `MAX-age` the same as `max-age`?', [
      cdn(`MAX-age=${DAY}`),
    ], obeyed),
    {
      id: 'targeted-forwarded',
      kind: 'check',
      name: 'Is the field passed on?',
      requests: [
        {
          response_headers: [cc(`max-age=${DAY}`), cdn('unheard-of'), expires(DAY), now],
          expected_response_headers: [['CDN-Cache-Control', 'unheard-of']],
        },
      ],
    },
    twice('targeted-age', 'check', 'Does `Age` tell of a longer targeted lifetime?', longer, {
      expected_response_headers: ['Age'],
    }, obeyed),
    twice('targeted-date', 'check', 'Does `Date` stay as it is then?', longer, {
      expected_response_headers: [now],
    }, obeyed),
    twice('targeted-expires', 'check', 'Does `Expires` stay as it is then?', [
      ...longer,
      expires(1),
    ], { expected_response_headers: [expires(1)] }, obeyed),
  ],
};
