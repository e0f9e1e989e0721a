import { defineConfig } from "vite";

/**
 * One file with all that it needs, for a script tag and for sites that bundle, and beside it files that few
 * conversations need, `relaykit-chat-<name>.js`: it imports each by its address, relative to its own, once it is
 * needed.
 */
export default defineConfig({
  build: {
    target: "es2022",
    // Those that have light-dark(): it would be taken apart for others.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    outDir: "dist",
    emptyOutDir: true,
    rolldownOptions: { output: { minify: true, chunkFileNames: "relaykit-chat-[name].js" } },
    lib: { entry: "src/index.ts", formats: ["es"], fileName: () => "relaykit-chat.js" },
  },
});
