// Uploads a file by tus-js-client in several uploads at once, which the server makes one file of,
// and prints the address of that.
//
//   node parallel.mjs ENDPOINT TOKEN FILE UPLOADS
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { Upload } from 'tus-js-client';

const [endpoint, token, file, uploads] = process.argv.slice(2);
const upload = new Upload(createReadStream(file), {
  endpoint,
  parallelUploads: Number(uploads),
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: basename(file), filetype: 'application/octet-stream' },
  onError: (error) => {
    console.error(error);
    process.exitCode = 1;
  },
  onSuccess: () => console.log(upload.url),
});
upload.start();
