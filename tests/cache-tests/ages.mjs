// What an Age is that is no number, or several: RFC 9111 5.1.
//
// http-cache-tests as published takes each such answer for stale, but one list for its first member.
// The RFC, and the suite since then, have what is no age ignored and of a list the first member used.
import { askedAgain, unchecked, usedAgain } from './ask.mjs';

const after = { after: ['freshness-max-age-age'] };
const answer = (...ages) => [
  ['Date', 0],
  ['Cache-Control', 'max-age=3600'],
  ...ages.map((age) => unchecked('Age', age)),
];

export default {
  id: 'ages',
  name: 'Ages (RFC 9111 5.1)',
  tests: [
    usedAgain('age-word', 'required', 'A word is no age', answer('abc'), after),
    usedAgain('age-negative', 'required', 'A negative number is no age', answer('-7200'), after),
    usedAgain('age-decimal', 'required', 'A decimal is no age', answer('7200.0'), after),
    askedAgain('age-31-bits', 'required', 'The largest of 31 bits is old', answer('2147483647'), after),
    askedAgain('age-32-bits', 'required', 'So is one more', answer('2147483648'), after),
    askedAgain('age-over', 'required', 'So is what is larger yet', answer('99999999999'), after),
    askedAgain('age-list-old', 'required', 'Of `old, 0`, the first counts', answer('7200, 0'), after),
    usedAgain('age-list-new', 'required', 'Of `0, old`, the first counts', answer('0, 7200'), after),
    askedAgain('age-lines-old', 'required', 'Of two lines, the first: old', answer('7200', '0'), after),
    usedAgain('age-lines-new', 'required', 'Of two lines, the first: new', answer('0', '7200'), after),
    usedAgain('age-list-same', 'required', 'The same twice in a line', answer('0, 0'), after),
    usedAgain('age-lines-same', 'required', 'The same in two lines', answer('60', '60'), after),
    askedAgain('age-parameter', 'check', 'Is an old age with a parameter old?', answer('7200;a=b'), after),
  ],
};
