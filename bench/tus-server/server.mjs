// @tus/server with its own store on the disk, for `outport-bench files`. Prints where it serves.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [directory] = process.argv.slice(2);
const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const { version } = read("./node_modules/@tus/server/package.json");
const tus = new Server({ path: "/files", datastore: new FileStore({ directory }) });
const server = createServer(tus.handle.bind(tus));
server.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}/files`;
  console.log(`ready ${JSON.stringify({ url, version })}`);
});
