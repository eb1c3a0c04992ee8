// How fast an upload goes and how long it has to go.

/** Bytes sent count for this long; older speeds say little about the next second. */
const WINDOW_MS = 8000;
/** With less than this to look at, a speed would be a guess. */
const WINDOW_MIN_MS = 700;
const SAMPLES_MAX = 64;

interface Sample {
  atMs: number;
  bytes: number;
}

export class RateMeter {
  #samples: Sample[] = [];

  /** Says that `bytes` of the file were sent by `nowMs`. A step back starts the measurement anew. */
  add(bytes: number, nowMs: number): void {
    const last = this.#samples.at(-1);
    if (last && bytes < last.bytes) this.#samples = [];
    this.#samples.push({ atMs: nowMs, bytes });
    const since = nowMs - WINDOW_MS;
    this.#samples = this.#samples.filter(({ atMs }) => atMs >= since).slice(-SAMPLES_MAX);
  }

  /** After a pause nothing measured before it holds. */
  reset(): void {
    this.#samples = [];
  }

  /** Bytes per second over the window, or null while it can't be told. */
  bytesPerS(): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last) return null;
    const ms = last.atMs - first.atMs;
    return ms < WINDOW_MIN_MS ? null : ((last.bytes - first.bytes) / ms) * 1000;
  }
}

/** Seconds until `remaining` bytes are sent, or null when nothing moves. */
export function secondsLeft(remaining: number, bytesPerS: number | null): number | null {
  return bytesPerS && bytesPerS > 0 ? remaining / bytesPerS : null;
}
