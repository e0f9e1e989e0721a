import type { NextConfig } from "next";

/**
 * The policy that no other site may show this one in a frame. It does not restrict scripts, because the widget's script
 * is OpenAI's, and so is the choice of those that it loads.
 */
const POLICY = "frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'";
const HEADERS = [
  { key: "Content-Security-Policy", value: POLICY },
  { key: "X-Content-Type-Options", value: "nosniff" },
  { key: "Referrer-Policy", value: "same-origin" },
];

const config: NextConfig = {
  poweredByHeader: false,
  // An attachment has the API's stricter policy.
  headers: async () => [{ source: "/((?!api/attachments/).*)", headers: HEADERS }],
  // `npm run types` checks the types of all packages, with the repository's own compiler.
  typescript: { ignoreBuildErrors: true },
  // The packages of this repository are in the folder above.
  outputFileTracingRoot: new URL("..", import.meta.url).pathname,
  turbopack: { root: new URL("..", import.meta.url).pathname },
};

export default config;
