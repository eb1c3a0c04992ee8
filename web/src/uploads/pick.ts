// Files as people hand them over: dropped (folders too), pasted, or chosen. Where the browser gives a
// handle along with the file it is kept, because a handle can open the file again after a reload.

export interface Picked {
  file: File;
  handle: FileSystemFileHandle | null;
  /** The folder path for what came from a dropped folder: tells equal names apart. */
  folder: string;
}

/** One drop brings at most this many files; a mistakenly dropped home folder stops here. */
const FILES_MAX = 2000;

declare global {
  interface Window {
    showOpenFilePicker?(options: { multiple: boolean }): Promise<FileSystemFileHandle[]>;
  }
  interface DataTransferItem {
    getAsFileSystemHandle?(): Promise<FileSystemHandle | null>;
  }
}

/** Asks for files with the browser's own dialog. Nothing is picked when it is dismissed. */
export async function choose(multiple: boolean): Promise<Picked[]> {
  if (!window.showOpenFilePicker) return chooseByInput(multiple);
  try {
    const handles = await window.showOpenFilePicker({ multiple });
    return await Promise.all(handles.map((handle) => opened(handle, '')));
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === 'AbortError') return [];
    return chooseByInput(multiple);
  }
}

export function isFileDrag(transfer: DataTransfer | null): boolean {
  return transfer?.types.includes('Files') ?? false;
}

/** Everything in a drop. Must be called in the event itself: the browser empties the transfer after it. */
export function dropped(transfer: DataTransfer): Promise<Picked[]> {
  const items = [...transfer.items].filter(({ kind }) => kind === 'file');
  return collect(items.map(fromItem));
}

/** Files in a paste, with a name that tells one screenshot from the next. */
export function pasted(transfer: DataTransfer, now: Date): Picked[] {
  return [...transfer.files].map((file) => ({ file: named(file, now), handle: null, folder: '' }));
}

type Source = () => AsyncGenerator<Picked>;

function fromItem(item: DataTransferItem): Source {
  const file = item.getAsFile();
  const entry = item.webkitGetAsEntry();
  const handle = item.getAsFileSystemHandle?.().catch(() => null) ?? Promise.resolve(null);
  return async function* () {
    const found = await handle;
    if (found) yield* fromHandle(found, '');
    else if (entry?.isDirectory) yield* fromEntry(entry, '');
    else if (file) yield { file, handle: null, folder: '' };
  };
}

async function collect(sources: Source[]): Promise<Picked[]> {
  const all: Picked[] = [];
  for (const source of sources) {
    for await (const picked of source()) {
      all.push(picked);
      if (all.length >= FILES_MAX) return all;
    }
  }
  return all;
}

async function* fromHandle(handle: FileSystemHandle, folder: string): AsyncGenerator<Picked> {
  if (handle.kind === 'file') {
    yield await opened(handle as FileSystemFileHandle, folder);
    return;
  }
  for await (const child of (handle as FileSystemDirectoryHandle).values()) {
    yield* fromHandle(child, `${folder}${handle.name}/`);
  }
}

async function* fromEntry(entry: FileSystemEntry, folder: string): AsyncGenerator<Picked> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    yield { file, handle: null, folder };
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A reader gives its entries in batches, and an empty one at the end.
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const child of batch) yield* fromEntry(child, `${folder}${entry.name}/`);
  }
}

async function opened(handle: FileSystemFileHandle, folder: string): Promise<Picked> {
  return { file: await handle.getFile(), handle, folder };
}

function chooseByInput(multiple: boolean): Promise<Picked[]> {
  const input = document.createElement('input');
  input.type = 'file';
  input.multiple = multiple;
  return new Promise((resolve) => {
    input.addEventListener('cancel', () => resolve([]), { once: true });
    input.addEventListener(
      'change',
      () => resolve([...(input.files ?? [])].map((file) => ({ file, handle: null, folder: '' }))),
      { once: true },
    );
    input.click();
  });
}

function named(file: File, now: Date): File {
  if (file.name && file.name !== 'image.png') return file;
  const stamp = now.toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.');
  const suffix = file.type.split('/')[1]?.replace(/\W.*/, '') || 'bin';
  return new File([file], `Pasted ${stamp}.${suffix}`, { type: file.type, lastModified: file.lastModified });
}
