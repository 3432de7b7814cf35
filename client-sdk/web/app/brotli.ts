import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import type { Plugin } from "vite";

const compress = promisify(brotliCompress);

/** Files shorter than this fit into one or two packets anyway. */
const COMPRESS_ABOVE_BYTES = 1024;

/**
 * Puts a Brotli copy beside each text of the build, `NAME.br`: packed once here as small as can be, not by the server for
 * each visitor. The server sends the copy to browsers that take it.
 */
export function brotli(): Plugin {
  return {
    name: "darktower-brotli",
    apply: "build",
    async writeBundle(options, bundle) {
      const folder = options.dir;
      if (folder === undefined) return;
      const texts = Object.keys(bundle).filter((name) => /\.(js|css|svg|json)$/.test(name));
      await Promise.all(
        texts.map(async (name) => {
          const path = join(folder, name);
          const bytes = await readFile(path);
          if (bytes.length < COMPRESS_ABOVE_BYTES) return;
          const params = {
            [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
            [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
          };
          await writeFile(`${path}.br`, await compress(bytes, { params }));
        }),
      );
    },
  };
}
