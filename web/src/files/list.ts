// The caller's files as the server lists them, page by page, and what can be done with each.
import { announce } from '../announce';
import { changeFile, deleteFile, type FileDocument, type FilePage, listFiles, type Visibility } from '../api';
import { notify } from '../notices';
import { Problem } from '../problem';
import { Store } from '../store';

export interface FileListState {
  files: readonly FileDocument[];
  cursor: string | null;
  /** Only names that begin with this are listed. */
  prefix: string;
  /** `first` is the first look at a prefix, when there is nothing to show yet. */
  loading: 'first' | 'more' | null;
  problem: Problem | null;
  /** Ids that arrived while the page was open, to be pointed out. */
  fresh: ReadonlySet<string>;
}

/** A removal can be undone while its notice stands, this long when nobody touches it; then it is sent. */
const UNDO_MS = 7000;

export class FileList {
  readonly state = new Store<FileListState>({
    files: [],
    cursor: null,
    prefix: '',
    loading: 'first',
    problem: null,
    fresh: new Set(),
  });

  #request = new AbortController();
  /** Files taken off the page whose removal is not sent yet. */
  readonly #removals = new Set<string>();

  constructor() {
    // A removal somebody saw happen must not be lost because the tab closed.
    addEventListener('pagehide', this.#flushRemovals);
  }

  close(): void {
    removeEventListener('pagehide', this.#flushRemovals);
    this.#flushRemovals();
    this.#request.abort();
  }

  async search(prefix: string): Promise<void> {
    this.#change({ prefix, loading: 'first', problem: null });
    const page = await this.#fetch(prefix, null);
    if (!page) return;
    this.#change({ files: this.#withoutRemoved(page.files), cursor: page.cursor, loading: null });
    if (prefix) announce(counted(page));
  }

  async more(): Promise<void> {
    const { prefix, cursor } = this.state.get();
    if (!cursor) return;
    this.#change({ loading: 'more', problem: null });
    const page = await this.#fetch(prefix, cursor);
    if (!page) return;
    const { files } = this.state.get();
    this.#change({ files: [...files, ...this.#withoutRemoved(page.files)], cursor: page.cursor, loading: null });
    announce(`${page.files.length} more files.`);
  }

  /** Looks for what is new at the top and keeps the pages further down. */
  async refresh(freshId: string | null = null): Promise<void> {
    const before = this.state.get();
    const page = await this.#fetch(before.prefix, null);
    if (!page) return;
    const newest = this.#withoutRemoved(page.files);
    const kept = page.cursor ? olderThan(newest, before.files) : [];
    this.#change({
      files: [...newest, ...kept],
      cursor: kept.length > 0 ? before.cursor : page.cursor,
      loading: null,
      problem: null,
      fresh: freshId ? new Set([...before.fresh, freshId]) : before.fresh,
    });
  }

  async setVisibility(file: FileDocument, visibility: Visibility): Promise<void> {
    this.#replace({ ...file, visibility });
    try {
      this.#replace(await changeFile(file.id, { visibility }));
      announce(`${file.name} is now visible to ${VISIBLE_TO[visibility]}.`);
    } catch (thrown) {
      this.#replace(file);
      notify(`The visibility of “${file.name}” was not changed. ${Problem.of(thrown).words()}`, { failed: true });
    }
  }

  /** Gives a file another name, or says why not. */
  async rename(file: FileDocument, name: string): Promise<Problem | null> {
    try {
      this.#replace(await changeFile(file.id, { name }));
      announce(`Renamed to ${name}.`);
      return null;
    } catch (thrown) {
      return Problem.of(thrown);
    }
  }

  /** Takes a file off the page and removes it for good once there was time to undo that. */
  remove(file: FileDocument): void {
    const { files } = this.state.get();
    const index = files.findIndex(({ id }) => id === file.id);
    if (index < 0) return;
    this.#change({ files: files.toSpliced(index, 1) });
    this.#removals.add(file.id);
    notify(`“${file.name}” deleted.`, {
      shownMs: UNDO_MS,
      action: { label: 'Undo', run: () => this.#undoRemoval(file, index) },
      closed: () => void this.#sendRemoval(file),
    });
  }

  #undoRemoval(file: FileDocument, index: number): void {
    if (!this.#removals.delete(file.id)) return;
    this.#change({ files: this.state.get().files.toSpliced(index, 0, file) });
    announce(`${file.name} is back.`);
  }

  async #sendRemoval(file: FileDocument): Promise<void> {
    if (!this.#removals.has(file.id)) return;
    try {
      await deleteFile(file.id);
      this.#removals.delete(file.id);
    } catch (thrown) {
      this.#removals.delete(file.id);
      notify(`“${file.name}” was not deleted. ${Problem.of(thrown).words()}`, { failed: true });
      await this.refresh();
    }
  }

  readonly #flushRemovals = (): void => {
    for (const id of this.#removals) void deleteFile(id, { keepalive: true }).catch(() => undefined);
    this.#removals.clear();
  };

  /** One page, or null when it failed or a newer request took its place. */
  async #fetch(prefix: string, cursor: string | null): Promise<FilePage | null> {
    this.#request.abort();
    const request = new AbortController();
    this.#request = request;
    try {
      return await listFiles(prefix, cursor, request.signal);
    } catch (thrown) {
      if (request.signal.aborted) return null;
      this.#change({ loading: null, problem: Problem.of(thrown) });
      return null;
    }
  }

  #withoutRemoved(files: FileDocument[]): FileDocument[] {
    return files.filter(({ id }) => !this.#removals.has(id));
  }

  #replace(file: FileDocument): void {
    this.state.update((state) => ({ ...state, files: state.files.map((one) => (one.id === file.id ? file : one)) }));
  }

  #change(change: Partial<FileListState>): void {
    this.state.update((state) => ({ ...state, ...change }));
  }
}

const VISIBLE_TO: Record<Visibility, string> = {
  private: 'you only',
  link: 'anyone with a link',
  public: 'everyone',
};

/** What was listed before and lies beyond the end of `newest`. */
function olderThan(newest: readonly FileDocument[], before: readonly FileDocument[]): FileDocument[] {
  const known = new Set(newest.map(({ id }) => id));
  const last = newest.at(-1);
  return before.filter(({ id, created }) => !known.has(id) && last !== undefined && created <= last.created);
}

function counted({ files, cursor }: FilePage): string {
  if (files.length === 1 && !cursor) return '1 file found.';
  return `${cursor ? 'More than ' : ''}${files.length} files found.`;
}
