import type { NextConfig } from "next";

const config: NextConfig = {
  poweredByHeader: false,
  // `npm run types` looks at the types of all packages, with the repository's own compiler.
  typescript: { ignoreBuildErrors: true },
  // The packages of this repository lie above this folder.
  outputFileTracingRoot: new URL("..", import.meta.url).pathname,
  turbopack: { root: new URL("..", import.meta.url).pathname },
};

export default config;
