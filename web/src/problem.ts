// Problem documents (RFC 9457) as errors, and what they mean in words a person can act on.

const TYPE_PREFIX = 'urn:outport:problem:';

/** What went wrong with a request. Every failure the page shows is one of these. */
export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    /** The last part of the document's type; `unreachable` when no answer came, `unknown` when it told nothing. */
    readonly slug: string,
    /** The HTTP status, or 0 when no answer came. */
    readonly status: number,
    /** What is specific to this occurrence, as the server put it; may be empty. */
    readonly detail: string,
    /** When a new try makes sense, if the server said so. */
    readonly retryAfterS: number | null = null,
  ) {
    super(`${status} ${slug}: ${detail}`);
  }

  /** The server could not be asked at all. */
  static unreachable(): Problem {
    return new Problem('unreachable', 0, '');
  }

  /** Reads an answer's body as a problem document; a body that is none still gives its status. */
  static parse(status: number, body: string, retryAfter: string | null): Problem {
    const document = parseObject(body);
    const type = text(document['type']);
    const slug = type.startsWith(TYPE_PREFIX) ? type.slice(TYPE_PREFIX.length) : 'unknown';
    return new Problem(slug, status, text(document['detail']) || text(document['title']), seconds(retryAfter));
  }

  static async from(response: Response): Promise<Problem> {
    const body = await response.text().catch(() => '');
    return Problem.parse(response.status, body, response.headers.get('retry-after'));
  }

  /** Whatever was thrown, as a problem. `fetch` throws a TypeError when there is no connection. */
  static of(thrown: unknown): Problem {
    if (thrown instanceof Problem) return thrown;
    if (thrown instanceof TypeError) return Problem.unreachable();
    return new Problem('unknown', 0, thrown instanceof Error ? thrown.message : String(thrown));
  }

  /** One or two sentences: what happened, and what can be done. */
  words(): string {
    const known = WORDS[this.slug]?.(this);
    if (known) return known;
    if (this.detail) return sentence(this.detail);
    if (this.status >= 500) return 'The server could not do this. Try again in a moment.';
    return this.status ? `The server answered ${this.status} without saying why.` : 'Something went wrong.';
  }
}

/** Only what can be said better than the server's own `detail`. */
const WORDS: Record<string, (problem: Problem) => string> = {
  unreachable: () => 'The server cannot be reached. Check the connection and try again.',
  'token-missing': () => 'You are not signed in.',
  'token-malformed': () => 'This is not a token. Copy the whole of it and try again.',
  'token-expired': () => 'Your token has expired. Sign in with a new one.',
  'token-untrusted': () => 'This token is not accepted here. It may be from another server.',
  'scope-missing': ({ detail }) => `Your token does not allow this.${detail ? ` ${sentence(detail)}` : ''}`,
  'not-found': () => 'This is no longer there.',
  conflict: () => 'It was changed elsewhere at the same time. Try again.',
  'rate-limited': ({ retryAfterS }) =>
    retryAfterS ? `Too many requests. Try again in ${retryAfterS} s.` : 'Too many requests. Try again in a moment.',
  'origin-unreachable': () => 'The storage behind this server cannot be reached right now. Try again in a moment.',
  'origin-timeout': () => 'The storage behind this server took too long to answer. Try again in a moment.',
  overloaded: () => 'The server has too much to do right now. Try again in a moment.',
  'too-many-uploads': () => 'Too many of your uploads are unfinished. Complete or remove one first.',
  'storage-full': () => 'There is no space left on the server. Nothing that was stored is lost.',
};

function parseObject(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function seconds(retryAfter: string | null): number | null {
  const value = Number.parseInt(retryAfter ?? '', 10);
  return Number.isFinite(value) && value > 0 ? value : null;
}

function sentence(words: string): string {
  const start = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
