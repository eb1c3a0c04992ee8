// Short notices at the edge of the page: what was done, what failed, and a way back where there is one.
import { announce } from './announce';
import { Store } from './store';

export interface Notice {
  id: number;
  kind: 'done' | 'failed';
  text: string;
  action: { label: string; run: () => void } | null;
  shownMs: number;
  /** Called once when the notice goes, whatever made it go. */
  closed: () => void;
}

const SHOWN_MS = 6000;
const SHOWN_FAILED_MS = 12_000;
const NOTICES_MAX = 4;

export const notices = new Store<readonly Notice[]>([]);

let lastId = 0;
const timers = new Map<number, number>();

/** Shows a notice. It goes by itself, but not while a pointer or the focus is on it (`hold`, `release`). */
export function notify(
  text: string,
  options: { failed?: boolean; shownMs?: number } & Partial<Pick<Notice, 'action' | 'closed'>> = {},
): void {
  lastId += 1;
  const notice: Notice = {
    id: lastId,
    kind: options.failed ? 'failed' : 'done',
    text,
    action: options.action ?? null,
    shownMs: options.shownMs ?? (options.failed ? SHOWN_FAILED_MS : SHOWN_MS),
    closed: options.closed ?? (() => undefined),
  };
  const [oldest] = notices.get();
  if (oldest && notices.get().length >= NOTICES_MAX) dismiss(oldest.id);
  notices.update((all) => [...all, notice]);
  announce(notice.action ? `${text} ${notice.action.label} is available.` : text);
  release(notice.id);
}

export function dismiss(id: number): void {
  hold(id);
  const notice = notices.get().find((one) => one.id === id);
  notices.update((all) => all.filter((one) => one !== notice));
  notice?.closed();
}

export function hold(id: number): void {
  clearTimeout(timers.get(id));
  timers.delete(id);
}

export function release(id: number): void {
  hold(id);
  const notice = notices.get().find((one) => one.id === id);
  if (notice) timers.set(id, window.setTimeout(() => dismiss(id), notice.shownMs));
}
