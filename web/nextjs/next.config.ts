import type { NextConfig } from "next";

/**
 * No other site may show this one in a frame. What scripts may run is left open, because the widget's script is OpenAI's,
 * and which ones it loads is theirs to change.
 */
const POLICY = "frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'";
const HEADERS = [
  { key: "Content-Security-Policy", value: POLICY },
  { key: "X-Content-Type-Options", value: "nosniff" },
  { key: "Referrer-Policy", value: "same-origin" },
];

const config: NextConfig = {
  poweredByHeader: false,
  // An attachment comes with a stricter policy of its own, the API's.
  headers: async () => [{ source: "/((?!api/attachments/).*)", headers: HEADERS }],
  // `npm run types` looks at the types of all packages, with the repository's own compiler.
  typescript: { ignoreBuildErrors: true },
  // The packages of this repository lie above this folder.
  outputFileTracingRoot: new URL("..", import.meta.url).pathname,
  turbopack: { root: new URL("..", import.meta.url).pathname },
};

export default config;
