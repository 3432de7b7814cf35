// What `npm pack` makes is what others install: it is packed, unpacked, and used by a page with strict types and nothing else.
// JavaScript, so that Node's types stay out of the browser's compilation.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const sdk = fileURLToPath(new URL("..", import.meta.url));

const PAGE = `
import { allocate, grantForLink, Meeting, MeetingError, openCamera, type Participant } from "@darktower/client";

const meeting = await Meeting.join(await grantForLink("https://meet.example.org/m/abc", { name: "Ada" }));
const names: string[] = meeting.state.participants.map((participant: Participant) => participant.name);
meeting.on("streamPublished", async ({ stream }) => {
  const subscription = await meeting.subscribe(stream.streamId);
  if (subscription.element) document.body.append(subscription.element, names.join(", "));
});
meeting.on("closed", ({ code }) => console.log(code satisfies string));
allocate([], 0);
try {
  await meeting.publish(await openCamera());
} catch (error) {
  if (error instanceof MeetingError && error.kind === "device") console.log(error.message);
}
`;

test("the package has all that it needs, for programs and for types", { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "darktower-client-"));
  try {
    const run = (program, args, cwd = folder) =>
      execFileSync(program, args, { cwd, encoding: "utf8", stdio: "pipe" });
    run("npm", ["pack", "--silent", "--pack-destination", folder], sdk);
    const [tarball] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
    run("tar", ["-xzf", tarball]);
    const files = run("tar", ["-tzf", tarball]).split("\n");
    for (const name of [
      "README.md",
      "package.json",
      "dist/index.js",
      "dist/index.d.ts",
      "dist/worker.js",
      "dist/worklet.js",
    ]) {
      expect(files, name).toContain(`package/${name}`);
    }
    writeFileSync(join(folder, "page.ts"), PAGE);
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: "es2022",
      module: "esnext",
      moduleResolution: "bundler",
      lib: ["es2023", "dom", "dom.iterable"],
      types: [],
      paths: { "@darktower/client": ["./package/dist/index.d.ts"] },
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["page.ts"] }));
    run(process.execPath, [join(sdk, "../node_modules/typescript/bin/tsc"), "-p", folder]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
