// Who is signed in. A token comes from the address bar's fragment, from this tab's earlier visit, from
// the server's demo session, or from a person who pastes it; in that order.
import { read, write } from './kept';
import { Problem } from './problem';
import { Store } from './store';

export interface Session {
  token: string;
  tenant: string;
  subject: string;
  /** Milliseconds since 1970, or null when the token doesn't say. */
  expiresMs: number | null;
  /** Whether the server gave it unasked, and so will give the next one. */
  demo: boolean;
}

export type SessionState =
  | { kind: 'starting' }
  | { kind: 'signed-out'; problem: Problem | null }
  | { kind: 'signed-in'; session: Session };

const KEY = 'outport.session';
const storage = () => sessionStorage;
/** A demo token is renewed this long before it ends, so that no request starts with a dying one. */
const RENEW_BEFORE_MS = 60_000;

export const sessionState = new Store<SessionState>({ kind: 'starting' });

/** Finds a token, or leaves the state signed out. Also called when the fragment changes. */
export async function start(): Promise<void> {
  const session = fromFragment() ?? fromStorage();
  if (session) return signIn(session);
  try {
    signIn(await demoSession());
  } catch (thrown) {
    const problem = Problem.of(thrown);
    // No demo session here is how most servers are; nothing to report.
    signedOut(problem.status === 404 ? null : problem);
  }
}

export function signInWith(token: string): void {
  signIn(fromToken(token.trim()));
}

export async function signInAsDemo(): Promise<void> {
  signIn(await demoSession());
}

export function signOut(): void {
  signedOut(null);
}

/** The token to send now, renewed when it can be. */
export async function bearer(): Promise<string> {
  const session = current();
  if (!session) throw new Problem('token-missing', 401, '');
  if (!session.demo || !endsSoon(session)) return session.token;
  const renewed = await renew(session);
  return (renewed ?? session).token;
}

/** Called when the server refused the token it was sent. Gets or asks for another, unless one came meanwhile. */
export async function refused(token: string, problem: Problem): Promise<void> {
  const session = current();
  if (session?.token !== token) return;
  if (session.demo && (await renew(session))) return;
  if (current()?.token === token) signedOut(problem);
}

export function current(): Session | null {
  const state = sessionState.get();
  return state.kind === 'signed-in' ? state.session : null;
}

/** Whose uploads and files these are: what must not be mixed on a shared computer. */
export function identityOf(session: Session): string {
  return `${session.tenant}/${session.subject}`;
}

let renewal: Promise<Session | null> | null = null;
/** A token that the server had nothing newer for; asking again would not change that. */
let unrenewable = '';

/** One renewal at a time, whoever asks. Null when there is no newer token. */
function renew(old: Session): Promise<Session | null> {
  if (old.token === unrenewable) return Promise.resolve(null);
  renewal ??= renewed(old).finally(() => (renewal = null));
  return renewal;
}

async function renewed(old: Session): Promise<Session | null> {
  const session = await demoSession().catch(() => null);
  if (!session || session.token === old.token) {
    unrenewable = old.token;
    return null;
  }
  signIn(session);
  return session;
}

function signIn(session: Session): void {
  write(storage, KEY, JSON.stringify(session));
  sessionState.set({ kind: 'signed-in', session });
}

function signedOut(problem: Problem | null): void {
  write(storage, KEY, null);
  sessionState.set({ kind: 'signed-out', problem });
}

function endsSoon(session: Session): boolean {
  return session.expiresMs !== null && session.expiresMs - Date.now() < RENEW_BEFORE_MS;
}

async function demoSession(): Promise<Session> {
  const response = await fetch('/session', { method: 'POST' });
  if (!response.ok) throw await Problem.from(response);
  const { token } = (await response.json()) as { token: string };
  return { ...fromToken(token), demo: true };
}

/** Takes `#token=…` and removes it from the address bar, so that it is neither seen, shared nor kept. */
function fromFragment(): Session | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  return fromToken(token);
}

function fromStorage(): Session | null {
  try {
    const session = JSON.parse(read(storage, KEY) ?? 'null') as Session | null;
    return session && typeof session.token === 'string' ? session : null;
  } catch {
    return null;
  }
}

/** What a token says of itself, for display; whether it is true is the server's to decide. */
function fromToken(token: string): Session {
  const claims = claimsOf(token);
  return {
    token,
    tenant: text(claims['tenant']),
    subject: text(claims['sub']),
    expiresMs: typeof claims['exp'] === 'number' ? claims['exp'] * 1000 : null,
    demo: false,
  };
}

function claimsOf(token: string): Record<string, unknown> {
  try {
    const payload = token.split('.')[1] ?? '';
    const binary = atob(payload.replace(/-/g, '+').replace(/_/g, '/'));
    const json = new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
    return (JSON.parse(json) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
