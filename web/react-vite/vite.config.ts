import { defineConfig } from "vite";

/** Where `make run` listens. */
const API = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  // One origin for the page and the API, as behind a proxy: no CORS, and the streams come through as they are.
  server: {
    proxy: Object.fromEntries(["/chatkit", "/runs", "/threads", "/attachments", "/dev"].map((path) => [path, API])),
  },
});
