import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, minify, type Rolldown } from "vite";
import { expect, it } from "vitest";

const MAX_GZIPPED_BYTES = 10_240;

it("is a few KB on the wire, with everything that it exports", async () => {
  const entry = fileURLToPath(new URL("../src/index.ts", import.meta.url));
  const built = (await build({
    logLevel: "silent",
    configFile: false,
    build: { write: false, minify: false, target: "es2022", lib: { entry, formats: ["es"] } },
  })) as Rolldown.RolldownOutput[];
  const whole = built.flatMap(({ output }) => output.map((each) => (each.type === "chunk" ? each.code : ""))).join("");
  const { code } = await minify("client.js", whole, { module: true });
  const bytes = gzipSync(code).length;
  console.log(`@relaykit/client: ${code.length} bytes, ${bytes} gzipped`);
  expect(bytes).toBeLessThan(MAX_GZIPPED_BYTES);
});
