// Numbers, times and names as people read them.

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** A size in decimal units with three figures, as file managers show it. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return count === 1 ? '1 byte' : `${count} bytes`;
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function percent(part: number, whole: number): number {
  if (whole <= 0) return part >= whole ? 100 : 0;
  // Rounded down: 100 % is said only when all of it is there.
  return Math.min(100, Math.floor((part / whole) * 100));
}

/** A time to go. Coarse where it can't be exact. */
export function duration(totalSeconds: number): string {
  const s = Math.max(1, Math.round(totalSeconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** How long ago, or the day once that is more telling. */
export function ago(time: Date, now: Date): string {
  const s = (now.getTime() - time.getTime()) / 1000;
  if (s < 45) return 'just now';
  if (s < 45 * 60) return RELATIVE.format(-Math.round(s / 60), 'minute');
  if (s < 22 * 3600) return RELATIVE.format(-Math.round(s / 3600), 'hour');
  if (s < 6.5 * 86400) return RELATIVE.format(-Math.round(s / 86400), 'day');
  return DAY.format(time);
}

export function exactTime(time: Date): string {
  return EXACT.format(time);
}

export function shortTime(time: Date): string {
  return SHORT.format(time);
}

export type Kind = 'image' | 'video' | 'audio' | 'text' | 'code' | 'archive' | 'other';

const CODE = /^(rs|ts|tsx|js|mjs|py|go|c|h|cpp|java|rb|sh|html|css|json|toml|yaml|yml|xml|sql|wasm)$/;
const ARCHIVE = /^(zip|gz|tgz|xz|zst|br|bz2|7z|rar|tar|iso|dmg|jar)$/;
const TEXT = /^(pdf|txt|md|doc|docx|odt|rtf|tex|csv|xls|xlsx|ods|ppt|pptx|odp|epub)$/;

/** What sort of file it is, for its badge's colour only. */
export function kindOf(name: string, type: string): Kind {
  const suffix = extension(name).toLowerCase();
  if (CODE.test(suffix)) return 'code';
  if (ARCHIVE.test(suffix)) return 'archive';
  if (TEXT.test(suffix)) return 'text';
  const [family] = type.split('/');
  if (family === 'image' || family === 'video' || family === 'audio' || family === 'text') return family;
  return 'other';
}

const BADGE_CHARS_MAX = 4;

/** The name's suffix when it is short enough for a badge, else nothing. */
export function extension(name: string): string {
  const suffix = /[^.]\.([A-Za-z0-9]+)$/.exec(name)?.[1] ?? '';
  return suffix.length <= BADGE_CHARS_MAX ? suffix : '';
}
