// Uppy and its tus plugin, set up for this server: what is sent with each request, what is worth a retry,
// and what an error means.
import Uppy, { type Body, type Meta, type UppyFile } from '@uppy/core';
import Tus from '@uppy/tus';
import type { DetailedError, HttpRequest, HttpResponse } from 'tus-js-client';
import type { Visibility } from '../api';
import { Problem } from '../problem';
import { appendBytesMax } from './limit';
import type { Picked } from './pick';

export type FileMeta = Meta & { visibility: Visibility; relativePath: string | null };
export type Sender = Uppy<FileMeta, Body>;
export type SentFile = UppyFile<FileMeta, Body>;

const ENDPOINT = '/uploads';
/** Files sent at the same time. More would only share the same line. */
const PARALLEL_MAX = 4;
/** One PATCH's body, unless the server takes less: a lost connection costs no more than this. */
const CHUNK_BYTES = 64 * 1024 * 1024;
const RETRY_DELAYS_MS = [500, 1000, 3000, 5000, 10_000, 20_000];

/** Sends each file as soon as it is added. `authorize` puts the token on each request. */
export function createSender(authorize: (request: HttpRequest) => Promise<void>): Sender {
  const sender: Sender = new Uppy({ autoProceed: true, logger: { debug() {}, warn() {}, error() {} } });
  void heedLimit(sender);
  return sender.use(Tus<FileMeta, Body>, {
    endpoint: ENDPOINT,
    limit: PARALLEL_MAX,
    chunkSize: CHUNK_BYTES,
    retryDelays: RETRY_DELAYS_MS,
    // The page's own memory knows whose upload it is; tus-js-client's would mix identities.
    storeFingerprintForResuming: false,
    allowedMetaFields: ['name', 'type', 'visibility'],
    onBeforeRequest: authorize,
    onAfterResponse: keepUploadUnlessGone,
    onShouldRetry: (error, _attempt, _options, byDefault) => shouldRetry(error) ?? byDefault(error),
  });
}

/** Sends no more at once than the platform in front of the server lets pass. */
async function heedLimit(sender: Sender): Promise<void> {
  const response = await fetch(ENDPOINT, { method: 'OPTIONS' }).catch(() => null);
  const most = appendBytesMax(response?.headers.get('upload-limit') ?? null);
  if (most !== null && most < CHUNK_BYTES) sender.getPlugin('Tus')?.setOptions({ chunkSize: most });
}

/** A picked file as Uppy takes it. */
export function describeFile({ file, folder }: Picked, visibility: Visibility) {
  const relativePath = folder ? folder + file.name : null;
  return {
    name: file.name,
    type: file.type,
    size: file.size,
    data: file,
    source: 'page',
    isRemote: false as const,
    meta: { name: file.name, visibility, relativePath },
  };
}

/** Why an upload failed. */
export function problemOf(error: { message: string }, response: unknown): Problem {
  const { originalResponse, causingError } = error as Partial<DetailedError>;
  if (causingError instanceof Problem) return causingError;
  if (originalResponse) return problemIn(originalResponse);
  const xhr = (response as { body?: { xhr?: XMLHttpRequest } } | undefined)?.body?.xhr;
  if (xhr?.status) return Problem.parse(xhr.status, xhr.responseText, xhr.getResponseHeader('retry-after'));
  return Problem.unreachable();
}

function problemIn(response: HttpResponse): Problem {
  return Problem.parse(response.getStatus(), response.getBody(), response.getHeader('retry-after') ?? null);
}

/**
 * tus-js-client begins anew from byte 0 after any HEAD that is not a success. Only an upload that is gone
 * deserves that: for a refused token, a rate limit or an origin that is down, what was sent still counts.
 */
function keepUploadUnlessGone(request: HttpRequest, response: HttpResponse): void {
  const status = response.getStatus();
  const gone = status === 404 || status === 410;
  if (request.getMethod() !== 'HEAD' || status < 400 || gone || status === 423) return;
  throw problemIn(response);
}

/** Null leaves the decision to Uppy. */
function shouldRetry(error: DetailedError): boolean | null {
  const status = error.originalResponse?.getStatus() ?? (error.causingError as Partial<Problem> | null)?.status;
  if (status === 429) return true;
  if (status === 507) return false;
  if (status !== undefined && status >= 400 && status < 500 && status !== 409 && status !== 423) return false;
  return null;
}
