// A proxy that compresses what it may, as `next start` with rewrites and many Express sites are: the same middleware.
// node compressing_proxy.cjs <port> <port of the API>
const http = require("node:http");
const path = require("node:path");
const { createRequire } = require("node:module");

const web = createRequire(path.join(__dirname, "..", "..", "web", "package.json"));
const compress = web("compression")();
const [port, apiPort] = process.argv.slice(2).map(Number);

http
  .createServer((request, response) => {
    compress(request, response, () => {
      const { method, url, headers } = request;
      const asked = http.request({ host: "127.0.0.1", port: apiPort, method, path: url, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      asked.on("error", () => response.destroy());
      response.on("close", () => asked.destroy());
      request.pipe(asked);
    });
  })
  .listen(port, "127.0.0.1");
