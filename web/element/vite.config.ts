import { defineConfig } from "vite";

/**
 * One file for a script tag and for sites that bundle, and beside it the folder `relaykit-chat/` with what few
 * conversations need. The element loads a file of that folder, relative to its own address, when it is needed.
 */
export default defineConfig({
  build: {
    target: "es2022",
    // Those that have light-dark(): it would be taken apart for others.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    outDir: "dist",
    emptyOutDir: true,
    rolldownOptions: { output: { minify: true, chunkFileNames: "relaykit-chat/[name].js" } },
    lib: { entry: "src/index.ts", formats: ["es"], fileName: () => "relaykit-chat.js" },
  },
});
