// Uploads a file by tus-js-client, breaks the upload off several times on the way, goes on each
// time where the server says, and prints the upload's address.
//
//   node upload.mjs ENDPOINT TOKEN FILE INTERRUPTIONS [CHUNK_BYTES]
import { createReadStream, statSync } from 'node:fs';
import { basename } from 'node:path';
import { Upload } from 'tus-js-client';

const [endpoint, token, file, interruptions, chunk] = process.argv.slice(2);
const size = statSync(file).size;
/** Where the upload is broken off: evenly over the file. */
const breaks = Array.from({ length: Number(interruptions) }, (_, i) =>
  Math.floor((size * (i + 1)) / (Number(interruptions) + 1)),
);

let url;
while (url === undefined || breaks.length > 0) {
  url = await run(url, breaks.shift());
}
console.log(await run(url));

/** Uploads until `breakAt` bytes are sent, or to the end. Returns the upload's address. */
function run(uploadUrl, breakAt) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(createReadStream(file), {
      endpoint,
      uploadUrl,
      uploadSize: size,
      chunkSize: chunk ? Number(chunk) : Infinity,
      headers: { Authorization: `Bearer ${token}` },
      metadata: { filename: basename(file), filetype: 'application/octet-stream' },
      onError: reject,
      onSuccess: () => resolve(upload.url),
      onProgress: (sent) => {
        if (breakAt !== undefined && sent >= breakAt) {
          breakAt = undefined;
          console.error(`broken off after ${sent} of ${size} bytes`);
          upload.abort().then(() => resolve(upload.url), reject);
        }
      },
    });
    upload.start();
  });
}
