import { defineConfig } from "vite";

/** Where `make run` listens. */
const API = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  // One origin for the page and the API, as behind a proxy: no CORS, and the streams come through as they are.
  // `vite preview` listens as this does. No other machine may ask: local mode behind it signs anybody in as anyone.
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(["/chatkit", "/runs", "/threads", "/attachments", "/dev"].map((path) => [path, API])),
  },
});
