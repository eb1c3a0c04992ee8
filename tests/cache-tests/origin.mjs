// The suite's own server, as an origin that others may rely on.
//
//   npm_config_protocol=http npm_config_port=PORT npm_config_pidfile=FILE node origin.mjs
//
// As published it sends more than the `Content-Length` that some tests have it say, and the rest is
// taken for the next answer on that connection; it closes what was idle for five seconds, which may
// be the moment of the next request; and by that alone it ends an answer that has no other end. Each
// fails whichever test comes next.
import http from 'node:http';

const { createServer } = http;

http.createServer = (answer) => {
  const server = createServer((request, response) => {
    const { end } = response;
    response.end = (body) => end.call(response, cut(body, response.getHeader('Content-Length')));
    response.on('finish', () => {
      if (response.hasHeader('Transfer-Encoding')) request.socket.end();
    });
    answer(request, response);
  });
  server.keepAliveTimeout = 0;
  return server;
};

/** What a length allows of a body. */
function cut(body, length) {
  if (body === undefined || length === undefined) return body;
  return Buffer.from(body).subarray(0, Number(length));
}

await import('http-cache-tests/server/server.mjs');
