// Uploads a stream by tus-js-client, which learns its length when it has ended, and prints the
// upload's address.
//
//   node deferred.mjs ENDPOINT TOKEN FILE CHUNK_BYTES
import { createReadStream } from 'node:fs';
import { PassThrough } from 'node:stream';
import { Upload } from 'tus-js-client';

const [endpoint, token, file, chunk] = process.argv.slice(2);
// Behind this, nobody can ask the file for its size.
const stream = createReadStream(file).pipe(new PassThrough());
const upload = new Upload(stream, {
  endpoint,
  uploadLengthDeferred: true,
  chunkSize: Number(chunk),
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: 'stream.bin', filetype: 'application/octet-stream' },
  onError: (error) => {
    console.error(error);
    process.exitCode = 1;
  },
  onSuccess: () => console.log(upload.url),
});
upload.start();
