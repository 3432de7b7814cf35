// Bundles the SDK: the module for pages, the worker and the audio worklet, each in one file, because the last two are
// loaded by their addresses. Declarations come from the TypeScript compiler.

import { build } from "esbuild";

await build({
  entryPoints: {
    index: "src/index.ts",
    worker: "src/worker/index.ts",
    worklet: "src/worklet/index.ts",
  },
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  legalComments: "none",
  logLevel: "warning",
});
