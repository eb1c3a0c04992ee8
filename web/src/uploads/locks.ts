// Which uploads a tab has in hand, so that a second tab does not offer to resume them.

const PREFIX = 'outport-upload:';

/** Without the Web Locks API (a page that is not served securely) every tab sees every upload. */
export class UploadLocks {
  readonly #releases = new Map<string, () => void>();

  /** Holds the lock until it is released or the tab goes away. */
  take(key: string): void {
    if (this.#releases.has(key)) return;
    const held = new Promise<void>((resolve) => this.#releases.set(key, resolve));
    void navigator.locks?.request(PREFIX + key, { ifAvailable: true }, () => held);
  }

  release(key: string): void {
    this.#releases.get(key)?.();
    this.#releases.delete(key);
  }

  releaseAll(): void {
    for (const key of [...this.#releases.keys()]) this.release(key);
  }

  /** The keys that some tab holds, this one included. */
  async held(): Promise<Set<string>> {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    return new Set(held.flatMap(({ name }) => (name?.startsWith(PREFIX) ? [name.slice(PREFIX.length)] : [])));
  }
}
