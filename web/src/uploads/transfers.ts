// The uploads of one signed-in person: Uppy and its tus plugin do the sending, this file says what goes
// on in terms the page shows, and keeps what a reload needs.
import { getSafeFileId } from '@uppy/core/utils';
import type { HttpRequest } from 'tus-js-client';
import { announce } from '../announce';
import { deleteUpload, uploadOffset, type Visibility } from '../api';
import { percent } from '../format';
import { notify } from '../notices';
import type { Problem } from '../problem';
import { bearer, refused } from '../session';
import { Store } from '../store';
import { UploadLocks } from './locks';
import { isSameFile, type Reopen, UploadMemory, type UploadRecord } from './memory';
import type { Picked } from './pick';
import { RateMeter, secondsLeft } from './rate';
import { createSender, describeFile, problemOf, type Sender, type SentFile } from './sender';

export type TransferState =
  /** In line behind others. */
  | 'waiting'
  | 'uploading'
  | 'paused'
  /** Begun before a reload; goes on when its content is at hand again. */
  | 'interrupted'
  | 'failed'
  | 'done';

export interface Transfer {
  id: string;
  name: string;
  type: string;
  size: number;
  state: TransferState;
  sent: number;
  bytesPerS: number | null;
  secondsLeft: number | null;
  /** Nothing moved for a while: the connection is gone, or the server is busy. */
  stalled: boolean;
  /** Why it failed, in words. */
  problem: string | null;
  reopen: Reopen;
}

const PROGRESS_EVERY_MS = 150;
const STALLED_AFTER_MS = 5000;
const DONE_SHOWN_MS = 3500;
/** What holds of a transfer of which nothing is moving. */
const STANDING = { bytesPerS: null, secondsLeft: null, stalled: false } as const;
/** Progress is spoken at each quarter, and no more often than this. */
const SPOKEN_EVERY_MS = 8000;

interface Entry {
  transfer: Transfer;
  record: UploadRecord;
  meter: RateMeter;
  spoken: { quarter: number; atMs: number };
  /** What it failed of. Some failures are worth a retry once something else has changed. */
  failure: Problem | null;
  stallTimer: number;
}

export class Transfers {
  /** What the page shows, in the order the uploads were added. */
  readonly list = new Store<readonly Transfer[]>([]);

  readonly #identity: string;
  readonly #finished: (fileId: string) => void;
  readonly #entries = new Map<string, Entry>();
  readonly #memory = new UploadMemory();
  readonly #locks = new UploadLocks();
  readonly #uppy: Sender;
  #progressTimer = 0;
  #tokenSent = '';

  /** `finished` is called with the new file's id after each completed upload. */
  constructor(identity: string, finished: (fileId: string) => void) {
    this.#identity = identity;
    this.#finished = finished;
    this.#uppy = createSender((request) => this.#authorize(request));
    this.#listen();
    addEventListener('online', this.#retryUnreachable);
  }

  /** Starts uploading. A file whose upload was interrupted goes on where the server has it. */
  async add(picked: readonly Picked[], visibility: Visibility): Promise<void> {
    const added: string[] = [];
    for (const one of picked) {
      if (await this.#addOne(one, visibility)) added.push(one.file.name);
    }
    if (added.length === 1) announce(`Uploading ${added[0]}.`);
    else if (added.length > 1) announce(`Uploading ${added.length} files.`);
  }

  /** Shows what an earlier visit left unfinished. */
  async restore(): Promise<void> {
    const records = await this.#memory.list(this.#identity, Date.now());
    const elsewhere = await this.#locks.held();
    for (const record of records) {
      if (this.#entries.has(record.id) || elsewhere.has(record.key)) continue;
      await this.#showInterrupted(record);
    }
  }

  pause(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry || !isRunning(entry.transfer)) return;
    this.#uppy.pauseResume(id);
    entry.meter.reset();
    this.#change(entry, { state: 'paused', ...STANDING });
    announce(`Paused ${entry.transfer.name} at ${percent(entry.transfer.sent, entry.transfer.size)} percent.`);
  }

  /** Goes on with a paused, failed or interrupted upload. */
  async resume(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (!entry) return;
    if (entry.transfer.state === 'paused') return this.#unpause(entry);
    if (entry.transfer.state === 'failed') return this.#retry(entry);
    if (entry.transfer.state === 'interrupted') return this.#reopen(entry);
  }

  /** Goes on with an interrupted upload whose file was picked again. */
  async resumeWith(id: string, picked: Picked): Promise<void> {
    const entry = this.#entries.get(id);
    if (!entry || entry.transfer.state !== 'interrupted') return;
    if (isSameFile(entry.record, picked.file)) return this.#startAgain(entry, picked);
    const problem = `“${picked.file.name}” is not the file this upload began with, or it has changed since.`;
    this.#change(entry, { problem });
    announce(problem);
  }

  /** Ends an upload for good and lets the server forget it. */
  async cancel(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (!entry || entry.transfer.state === 'done') return;
    const sending = entry.transfer.state !== 'interrupted' && entry.transfer.state !== 'failed';
    this.#drop(entry);
    announce(`Cancelled ${entry.transfer.name}.`);
    await this.#memory.forget(entry.record.key);
    // Uppy ends at the server what it has in hand; the rest is ours to end.
    if (!sending && entry.record.uploadUrl) await deleteUpload(entry.record.uploadUrl).catch(() => undefined);
  }

  pauseAll(): void {
    for (const { id } of this.list.get().filter(isRunning)) this.pause(id);
  }

  async resumeAll(): Promise<void> {
    const stopped = this.list.get().filter(({ state, reopen }) => isStopped(state) && reopen !== 'pick');
    await Promise.all(stopped.map(({ id }) => this.resume(id)));
  }

  /** After a new sign-in as the same person: what the old token could not finish. */
  retryRefused(): void {
    this.#retryFailed(({ status }) => status === 401);
  }

  /** Stops everything where it is. What is unfinished stays remembered for this identity. */
  close(): void {
    this.#uppy.pauseAll();
    removeEventListener('online', this.#retryUnreachable);
    this.#locks.releaseAll();
    clearTimeout(this.#progressTimer);
    this.#entries.clear();
    this.list.set([]);
  }

  #listen(): void {
    this.#uppy.on('upload-progress', (file, progress) => file && this.#onProgress(file, progress.bytesUploaded));
    this.#uppy.on('upload-success', (file, response) => file && this.#onSuccess(file, response.uploadURL ?? ''));
    this.#uppy.on('upload-error', (file, error, response) => file && this.#onError(file, problemOf(error, response)));
  }

  async #authorize(request: HttpRequest): Promise<void> {
    this.#tokenSent = await bearer();
    request.setHeader('Authorization', `Bearer ${this.#tokenSent}`);
  }

  async #addOne(picked: Picked, visibility: Visibility): Promise<boolean> {
    const id = getSafeFileId(describeFile(picked, visibility), this.#uppy.getID());
    const known = this.#entries.get(id);
    if (known?.transfer.state === 'done') this.#drop(known);
    else if (known) return this.#addKnown(known, picked);
    const entry = this.#enter(this.#newRecord(id, picked, visibility), 'waiting');
    await this.#send(entry, picked);
    return true;
  }

  /** The file is on the page already: go on with it, rather than twice. */
  async #addKnown(entry: Entry, picked: Picked): Promise<boolean> {
    if (entry.transfer.state === 'interrupted') {
      await this.resumeWith(entry.transfer.id, picked);
      return true;
    }
    if (isStopped(entry.transfer.state)) await this.resume(entry.transfer.id);
    else notify(`“${entry.transfer.name}” is being uploaded already.`);
    return false;
  }

  #newRecord(id: string, { file, folder }: Picked, visibility: Visibility): UploadRecord {
    return {
      key: `${this.#identity}/${id}`,
      identity: this.#identity,
      id,
      name: file.name,
      type: file.type,
      size: file.size,
      lastModified: file.lastModified,
      folder,
      visibility,
      uploadUrl: null,
      createdMs: Date.now(),
      reopen: 'pick',
    };
  }

  #enter(record: UploadRecord, state: TransferState): Entry {
    const { id, name, type, size, reopen } = record;
    const entry: Entry = {
      transfer: { ...{ id, name, type, size, state, reopen }, ...STANDING, sent: 0, problem: null },
      record,
      meter: new RateMeter(),
      spoken: { quarter: 0, atMs: 0 },
      failure: null,
      stallTimer: 0,
    };
    this.#entries.set(id, entry);
    this.#publish();
    return entry;
  }

  async #send(entry: Entry, picked: Picked): Promise<void> {
    this.#locks.take(entry.record.key);
    await this.#memory.keep(entry.record, picked.file, picked.handle);
    if (!this.#entries.has(entry.record.id)) return;
    this.#uppy.addFile(describeFile(picked, entry.record.visibility));
    if (entry.record.uploadUrl) {
      this.#uppy.setFileState(entry.record.id, { tus: { uploadUrl: entry.record.uploadUrl } });
    }
  }

  async #showInterrupted(record: UploadRecord): Promise<void> {
    const entry = this.#enter(record, 'interrupted');
    const offset = record.uploadUrl ? await uploadOffset(record.uploadUrl).catch(() => 0) : null;
    if (offset === record.size && offset !== null && record.uploadUrl) return this.#finishedElsewhere(entry);
    // Nothing at the server and no way to open the file: there is nothing left to go on with.
    if (offset === null && record.reopen === 'pick') return this.#forgotten(entry);
    if (offset === null) entry.record.uploadUrl = null;
    this.#change(entry, { sent: offset ?? 0 });
  }

  async #finishedElsewhere(entry: Entry): Promise<void> {
    this.#drop(entry);
    await this.#memory.forget(entry.record.key);
    this.#finished(idIn(entry.record.uploadUrl ?? ''));
  }

  async #forgotten(entry: Entry): Promise<void> {
    this.#drop(entry);
    await this.#memory.forget(entry.record.key);
  }

  #unpause(entry: Entry): void {
    this.#change(entry, { state: 'uploading' });
    this.#uppy.pauseResume(entry.transfer.id);
    announce(`Resumed ${entry.transfer.name}.`);
  }

  readonly #retryUnreachable = (): void => this.#retryFailed(({ slug }) => slug === 'unreachable');

  #retryFailed(worthIt: (failure: Problem) => boolean): void {
    for (const entry of this.#entries.values()) {
      if (entry.transfer.state === 'failed' && entry.failure && worthIt(entry.failure)) this.#retry(entry);
    }
  }

  #retry(entry: Entry): void {
    entry.failure = null;
    this.#change(entry, { state: 'waiting', problem: null });
    void this.#uppy.retryUpload(entry.transfer.id);
  }

  async #reopen(entry: Entry): Promise<void> {
    const kept = await this.#memory.content(entry.record).catch(() => null);
    if (kept) return this.#startAgain(entry, { ...kept, folder: entry.record.folder });
    const problem = 'The file can no longer be opened from here. Pick it again to go on.';
    this.#change(entry, { reopen: 'pick', problem });
    announce(problem);
  }

  async #startAgain(entry: Entry, picked: Picked): Promise<void> {
    this.#change(entry, { state: 'waiting', problem: null });
    await this.#send(entry, { ...picked, folder: entry.record.folder });
    announce(`Resumed ${entry.transfer.name}.`);
  }

  #onProgress(file: SentFile, sent: number): void {
    const entry = this.#entries.get(file.id);
    if (!entry || !isRunning(entry.transfer)) return;
    this.#noteUploadUrl(entry, file);
    entry.meter.add(sent, performance.now());
    const bytesPerS = entry.meter.bytesPerS();
    entry.transfer = {
      ...entry.transfer,
      state: 'uploading',
      sent,
      bytesPerS,
      secondsLeft: secondsLeft(entry.transfer.size - sent, bytesPerS),
      stalled: false,
    };
    clearTimeout(entry.stallTimer);
    entry.stallTimer = window.setTimeout(() => this.#onStall(entry), STALLED_AFTER_MS);
    speakProgress(entry);
    this.#publishSoon();
  }

  #onStall(entry: Entry): void {
    if (this.#entries.get(entry.transfer.id) !== entry || entry.transfer.state !== 'uploading') return;
    entry.meter.reset();
    this.#change(entry, { ...STANDING, stalled: true });
  }

  #noteUploadUrl(entry: Entry, file: SentFile): void {
    const uploadUrl = this.#uppy.getFile(file.id)?.tus?.uploadUrl;
    if (!uploadUrl || uploadUrl === entry.record.uploadUrl) return;
    entry.record.uploadUrl = uploadUrl;
    void this.#memory.setUploadUrl(entry.record.key, uploadUrl);
  }

  #onSuccess(file: SentFile, uploadUrl: string): void {
    const entry = this.#entries.get(file.id);
    if (!entry) return;
    this.#change(entry, { state: 'done', ...STANDING, sent: entry.transfer.size });
    announce(`Uploaded ${entry.transfer.name}.`);
    void this.#memory.forget(entry.record.key);
    this.#finished(idIn(uploadUrl));
    setTimeout(() => this.#entries.get(file.id) === entry && this.#drop(entry), DONE_SHOWN_MS);
  }

  #onError(file: SentFile, problem: Problem): void {
    const entry = this.#entries.get(file.id);
    if (!entry) return;
    entry.meter.reset();
    entry.failure = problem;
    this.#change(entry, { state: 'failed', ...STANDING, problem: problem.words() });
    announce(`Uploading ${entry.transfer.name} failed. ${problem.words()}`);
    if (problem.status === 401) void refused(this.#tokenSent, problem);
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.transfer.id);
    this.#locks.release(entry.record.key);
    if (this.#uppy.getFile(entry.transfer.id)) this.#uppy.removeFile(entry.transfer.id);
    this.#publish();
  }

  #change(entry: Entry, change: Partial<Transfer>): void {
    entry.transfer = { ...entry.transfer, ...change };
    this.#publish();
  }

  #publish(): void {
    clearTimeout(this.#progressTimer);
    this.#progressTimer = 0;
    this.list.set([...this.#entries.values()].map(({ transfer }) => transfer));
  }

  #publishSoon(): void {
    this.#progressTimer ||= window.setTimeout(() => this.#publish(), PROGRESS_EVERY_MS);
  }
}

export function isRunning({ state }: { state: TransferState }): boolean {
  return state === 'waiting' || state === 'uploading';
}

function isStopped(state: TransferState): boolean {
  return state === 'paused' || state === 'failed' || state === 'interrupted';
}

function idIn(uploadUrl: string): string {
  return new URL(uploadUrl, location.href).pathname.split('/').at(-1) ?? '';
}

function speakProgress(entry: Entry): void {
  const quarter = Math.floor((entry.transfer.sent / entry.transfer.size) * 4);
  const nowMs = performance.now();
  if (quarter <= entry.spoken.quarter || quarter >= 4 || nowMs - entry.spoken.atMs < SPOKEN_EVERY_MS) return;
  entry.spoken = { quarter, atMs: nowMs };
  announce(`${entry.transfer.name}: ${quarter * 25} percent.`);
}
