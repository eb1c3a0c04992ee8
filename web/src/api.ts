// The server's public interface, as far as the page uses it. Every failure is thrown as a Problem.
import { Problem } from './problem';
import { bearer, refused } from './session';

export type Visibility = 'private' | 'link' | 'public';

export interface FileDocument {
  id: string;
  name: string;
  type: string;
  size: number;
  visibility: Visibility;
  /** RFC 3339. */
  created: string;
  expires: string | null;
  url: string;
}

export interface FilePage {
  files: FileDocument[];
  /** What to send for the next page, or null on the last one. */
  cursor: string | null;
}

export interface SignedLink {
  /** Relative to the server. */
  url: string;
  expires: string;
}

const PAGE_FILES = 50;

export async function listFiles(prefix: string, cursor: string | null, signal: AbortSignal): Promise<FilePage> {
  const query = new URLSearchParams({ limit: String(PAGE_FILES) });
  if (prefix) query.set('prefix', prefix);
  if (cursor) query.set('cursor', cursor);
  return json(await call(`/files?${query}`, { signal }));
}

export async function changeFile(
  id: string,
  change: Partial<Pick<FileDocument, 'name' | 'visibility'>>,
): Promise<FileDocument> {
  return json(await call(`/files/${encodeURIComponent(id)}`, { method: 'PATCH', ...jsonBody(change) }));
}

/** `keepalive` lets the request outlive the page. Removing what is gone already is success. */
export async function deleteFile(id: string, options: { keepalive?: boolean } = {}): Promise<void> {
  await unlessGone(call(`/files/${encodeURIComponent(id)}`, { method: 'DELETE', ...options }));
}

export async function signLink(id: string, options: { expiresInS: number; download: boolean }): Promise<SignedLink> {
  const body = jsonBody({ expires_in: options.expiresInS, download: options.download });
  return json(await call(`/files/${encodeURIComponent(id)}/links`, { method: 'POST', ...body }));
}

/** How much of an unfinished upload the server has, or null when it no longer knows it. */
export async function uploadOffset(uploadUrl: string): Promise<number | null> {
  try {
    const response = await call(uploadUrl, { method: 'HEAD', headers: { 'tus-resumable': '1.0.0' } });
    const offset = Number.parseInt(response.headers.get('upload-offset') ?? '', 10);
    return Number.isFinite(offset) ? offset : null;
  } catch (thrown) {
    if (isGone(thrown)) return null;
    throw thrown;
  }
}

/** Ends an unfinished upload and frees what it holds. */
export async function deleteUpload(uploadUrl: string): Promise<void> {
  await unlessGone(call(uploadUrl, { method: 'DELETE', headers: { 'tus-resumable': '1.0.0' } }));
}

async function call(url: string, init: RequestInit): Promise<Response> {
  const token = await bearer();
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers });
  if (response.ok) return response;
  const problem = await Problem.from(response);
  if (problem.status === 401) void refused(token, problem);
  throw problem;
}

function jsonBody(value: unknown): RequestInit {
  return { body: JSON.stringify(value), headers: { 'content-type': 'application/json' } };
}

async function json<T>(response: Response): Promise<T> {
  return (await response.json()) as T;
}

async function unlessGone(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (thrown) {
    if (!isGone(thrown)) throw thrown;
  }
}

function isGone(thrown: unknown): boolean {
  return thrown instanceof Problem && (thrown.status === 404 || thrown.status === 410);
}
