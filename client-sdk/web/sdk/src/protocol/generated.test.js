/**
 * The committed messages in `gen/` are what `proto/` generates.
 *
 * In JavaScript, because the types of Node must stay out of the compilation of what runs in browsers.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const GENERATED = "src/protocol/gen";
const sdk = fileURLToPath(new URL("../../", import.meta.url));
const bin = fileURLToPath(new URL("../../../node_modules/.bin", import.meta.url));

/** The text of every file below `folder`, by its path in it. */
function filesIn(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const paths = files.map((file) => join(file.parentPath, file.name)).sort();
  return new Map(paths.map((path) => [path.slice(folder.length), readFileSync(path, "utf8")]));
}

test("generated messages are up to date (npm run generate -w sdk)", { timeout: 60_000 }, () => {
  const out = mkdtempSync(join(tmpdir(), "darktower-generated-"));
  try {
    // buf finds protoc-gen-es on the path.
    const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` };
    execFileSync(join(bin, "buf"), ["generate", "-o", out], { cwd: sdk, env, stdio: "pipe" });
    const fresh = filesIn(join(out, GENERATED));
    expect(fresh.size).toBe(3);
    expect(filesIn(join(sdk, GENERATED))).toEqual(fresh);
  } finally {
    rmSync(out, { recursive: true });
  }
});
