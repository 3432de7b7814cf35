import { fileURLToPath } from "node:url";
import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";
import { brotli } from "./brotli";

/**
 * The server sends the pages with a strict Content-Security-Policy: everything is a file of its own with a hashed
 * name, nothing is inlined (data: URLs are no scripts there).
 */
export default defineConfig({
  plugins: [preact(), brotli()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
  test: {
    include: ["src/**/*.test.ts"],
    alias: { "@darktower/client": fileURLToPath(new URL("../sdk/src/index.ts", import.meta.url)) },
  },
});
