// Unfinished uploads, kept in IndexedDB so that they go on after the tab was reloaded or closed.
//
// A record says what was being uploaded and where to; beside it is kept the best way back to the file's
// content that the browser offers: a handle to the file on disk, or a copy when the file is small. Without
// either, the person is asked to pick the file once more.
import type { Visibility } from '../api';

export interface UploadRecord {
  /** The identity and the file's own id; unique. */
  key: string;
  identity: string;
  id: string;
  name: string;
  type: string;
  size: number;
  lastModified: number;
  folder: string;
  visibility: Visibility;
  /** Where the server keeps it, once it said so. */
  uploadUrl: string | null;
  createdMs: number;
  /** How the file can be opened again. */
  reopen: Reopen;
}

export type Reopen = 'copy' | 'handle' | 'pick';

/** Copies stay below this in all; a browser may refuse sooner, which is the same as having no room. */
const COPIES_MAX_BYTES = 256 * 1024 * 1024;
const COPY_MAX_BYTES = 64 * 1024 * 1024;
/** Records older than this are forgotten; servers don't keep unfinished uploads much longer either. */
const AGE_MAX_MS = 14 * 86_400_000;

const DATABASE = 'outport';
const VERSION = 1;
const RECORDS = 'uploads';
const CONTENTS = 'contents';

/** Remembers nothing where the browser has no storage for us: uploads work, but do not outlive the tab. */
export class UploadMemory {
  readonly #database: Promise<IDBDatabase | null> = open().catch(() => null);
  /** The sizes of the copies kept, by key; read once. */
  #copies: Promise<Map<string, number>> | null = null;

  /** Keeps a record with the best way back to its content, and says which one that is. */
  async keep(record: UploadRecord, file: File, handle: FileSystemFileHandle | null): Promise<void> {
    const database = await this.#database;
    if (!database) return;
    if (handle && (await put(database, { ...record, reopen: 'handle' }, handle))) return;
    if (await this.#hasRoom(file.size)) {
      if (await put(database, { ...record, reopen: 'copy' }, file)) {
        (await this.#copySizes()).set(record.key, file.size);
        return;
      }
    }
    await put(database, { ...record, reopen: 'pick' }, null);
  }

  async setUploadUrl(key: string, uploadUrl: string): Promise<void> {
    const database = await this.#database;
    if (!database) return;
    const records = database.transaction(RECORDS, 'readwrite').objectStore(RECORDS);
    const record = await done<UploadRecord | undefined>(records.get(key));
    if (record) await done(records.put({ ...record, uploadUrl }));
  }

  /** One identity's records, oldest first; forgets those past their age. */
  async list(identity: string, nowMs: number): Promise<UploadRecord[]> {
    const all = await this.#all();
    const old = all.filter(({ createdMs }) => nowMs - createdMs > AGE_MAX_MS);
    await Promise.all(old.map(({ key }) => this.forget(key)));
    return all
      .filter((record) => record.identity === identity && !old.includes(record))
      .sort((a, b) => a.createdMs - b.createdMs);
  }

  /** The kept file, or null when it can't be opened or is no longer the one whose upload began. */
  async content(record: UploadRecord): Promise<Picked | null> {
    const database = await this.#database;
    if (!database) return null;
    const kept = await done<File | FileSystemFileHandle | undefined>(
      database.transaction(CONTENTS).objectStore(CONTENTS).get(record.key),
    );
    const picked = await reopen(kept);
    return picked && isSameFile(record, picked.file) ? picked : null;
  }

  async forget(key: string): Promise<void> {
    const database = await this.#database;
    if (!database) return;
    const transaction = database.transaction([RECORDS, CONTENTS], 'readwrite');
    transaction.objectStore(RECORDS).delete(key);
    transaction.objectStore(CONTENTS).delete(key);
    await committed(transaction).catch(() => undefined);
    (await this.#copySizes()).delete(key);
  }

  async #all(): Promise<UploadRecord[]> {
    const database = await this.#database;
    if (!database) return [];
    return done<UploadRecord[]>(database.transaction(RECORDS).objectStore(RECORDS).getAll());
  }

  async #hasRoom(bytes: number): Promise<boolean> {
    if (bytes > COPY_MAX_BYTES) return false;
    const sizes = await this.#copySizes();
    return [...sizes.values()].reduce((sum, size) => sum + size, bytes) <= COPIES_MAX_BYTES;
  }

  #copySizes(): Promise<Map<string, number>> {
    this.#copies ??= this.#all().then((records) => {
      const copies = records.filter(({ reopen }) => reopen === 'copy');
      return new Map(copies.map(({ key, size }) => [key, size]));
    });
    return this.#copies;
  }
}

export interface Picked {
  file: File;
  handle: FileSystemFileHandle | null;
}

/** Name, size and time: what a browser tells of a file without reading it whole. */
export function isSameFile(record: UploadRecord, file: File): boolean {
  return file.name === record.name && file.size === record.size && file.lastModified === record.lastModified;
}

interface AskableHandle extends FileSystemFileHandle {
  queryPermission?(descriptor: { mode: 'read' }): Promise<PermissionState>;
  requestPermission?(descriptor: { mode: 'read' }): Promise<PermissionState>;
}

/** A handle may need the person's leave again; this runs in a click, so the browser can ask. */
async function reopen(kept: File | FileSystemFileHandle | undefined): Promise<Picked | null> {
  if (!kept) return null;
  if (kept instanceof File) return { file: kept, handle: null };
  try {
    const handle: AskableHandle = kept;
    const state = await handle.queryPermission?.({ mode: 'read' });
    if (state === 'prompt') await handle.requestPermission?.({ mode: 'read' });
    return { file: await handle.getFile(), handle };
  } catch {
    return null;
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(RECORDS, { keyPath: 'key' });
    request.result.createObjectStore(CONTENTS);
  };
  return done(request);
}

/** Whether both were stored; storage that is full or can't hold this kind of value says no. */
async function put(
  database: IDBDatabase,
  record: UploadRecord,
  content: File | FileSystemFileHandle | null,
): Promise<boolean> {
  try {
    const transaction = database.transaction([RECORDS, CONTENTS], 'readwrite');
    transaction.objectStore(RECORDS).put(record);
    if (content) transaction.objectStore(CONTENTS).put(content, record.key);
    await committed(transaction);
    return true;
  } catch {
    return false;
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}
