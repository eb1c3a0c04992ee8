// How our tests are written: what the origin answers first, and what is expected of the same
// request three seconds later.

/** A test that asks whether an answer with these fields is used again. */
export function usedAgain(id, kind, question, fields, more = {}) {
  return twice(id, kind, question, fields, { expected_type: 'cached' }, more);
}

/** A test that asks whether the origin is asked again after an answer with these fields. */
export function askedAgain(id, kind, question, fields, more = {}) {
  return twice(id, kind, question, fields, { expected_type: 'not_cached' }, more);
}

/** A test of two requests. */
export function twice(id, kind, question, fields, second, { after } = {}) {
  return {
    id,
    kind,
    name: question,
    depends_on: after,
    requests: [{ response_headers: fields, setup: true, pause_after: true }, second],
  };
}

/** A field that a cache may change or leave out on the way to the client. */
export function unchecked(name, value) {
  return [name, value, false];
}
