// How much one request may carry, as the server says it.

/** `max-append-size` of `Upload-Limit` (draft-ietf-httpbis-resumable-upload), or null where it sets none. */
export function appendBytesMax(uploadLimit: string | null): number | null {
  const said = /(?:^|,)\s*max-append-size=(\d{1,15})\s*(?:$|[,;])/.exec(uploadLimit ?? '');
  const bytes = Number(said?.[1] ?? 0);
  return bytes > 0 ? bytes : null;
}
