/** Programs that the tests start and stop, and where they are. */

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Lines of a program's output that a failure shows. */
const TAIL_LINES = 40;
/** Characters of output that are kept of each program; the oldest go first. */
const MAX_OUTPUT_CHARS = 1_000_000;

const e2e = fileURLToPath(new URL("..", import.meta.url));

/** The folder of the tests, and what lies beside it. */
export const paths = {
  e2e,
  web: resolve(e2e, ".."),
  repository: resolve(e2e, "../../.."),
  /** What the tests make for themselves and keep for the next run: sources of fake devices, clips. */
  made: resolve(e2e, "../../../target/e2e-media"),
  server: process.env.DARKTOWER_BIN ?? resolve(e2e, "../../../target/debug/darktower"),
  client: process.env.DARKTOWER_CLIENT_BIN ?? resolve(e2e, "../../../target/debug/darktower-client"),
  /** The clips of `cargo xtask media`. */
  clips: process.env.DARKTOWER_MEDIA_DIR ?? resolve(e2e, "../../../target/media"),
};

/** The file of a program in PATH; throws if there is none. */
export function findInPath(name: string): string {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next folder may have it.
    }
  }
  throw new Error(`${name} is not installed (it is not in PATH)`);
}

/** The environment without settings of the server: it refuses variables that it does not know. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DARKTOWER_")));
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A program that runs. */
export class Program {
  readonly name: string;
  readonly #child: ChildProcess;
  #output = "";
  #listeners = new Set<() => void>();
  /** Resolves when the program has ended, however. */
  readonly ended: Promise<Ended>;
  #end: Ended | undefined;

  constructor(name: string, file: string, args: readonly string[], environment: Record<string, string> = {}) {
    this.name = name;
    this.#child = spawn(file, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...cleanEnvironment(), ...environment },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8");
      stream?.on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-MAX_OUTPUT_CHARS);
        for (const listener of this.#listeners) listener();
      });
    }
    this.ended = new Promise((ended, failed) => {
      this.#child.on("error", (error) =>
        failed(new Error(`${name} cannot be started: ${error.message}`, { cause: error })),
      );
      // "close", not "exit": all output has been read then.
      this.#child.on("close", (code, signal) => {
        this.#end = { code, signal };
        ended(this.#end);
        for (const listener of this.#listeners) listener();
      });
    });
    // Whoever waits for it hears of a failed start; nobody need wait.
    this.ended.catch(() => {});
  }

  /** What it has printed, on both outputs. */
  get output(): string {
    return this.#output;
  }

  /** The end of its output, for messages. */
  get tail(): string {
    return this.#output.trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
  }

  /** Resolves with the match when its output has `pattern`; rejects if it ends before, or when the time is up. */
  async printed(pattern: RegExp, limitMs: number): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        act();
      };
      const look = () => {
        const match = pattern.exec(this.#output);
        if (match) finish(() => resolve(match));
        else if (this.#end) {
          const failure = this.#failure(`ended (${shown(this.#end)}) before it printed ${pattern}`);
          finish(() => reject(failure));
        }
      };
      const timer = setTimeout(
        () => finish(() => reject(this.#failure(`did not print ${pattern} within ${limitMs} ms`))),
        limitMs,
      );
      this.#listeners.add(look);
      this.ended.catch((error) => finish(() => reject(error)));
      look();
    });
  }

  /** Waits for its own end; rejects unless it ended with status 0 in time. */
  async finished(limitMs: number): Promise<void> {
    const end = await within(this.ended, limitMs, () => this.#failure(`did not end within ${limitMs} ms`));
    if (end.code !== 0) throw this.#failure(`failed (${shown(end)})`);
  }

  /** Asks it to stop and waits for that; rejects unless it ended cleanly. */
  async stop(limitMs = 10_000): Promise<void> {
    if (this.#end) throw this.#failure(`had ended by itself (${shown(this.#end)})`);
    this.#child.kill("SIGINT");
    try {
      await this.finished(limitMs);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  /** Ends it at once, whatever it does; nothing if it has ended. */
  kill(): void {
    if (!this.#end) this.#child.kill("SIGKILL");
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  #failure(what: string): Error {
    return new Error(`${this.name} ${what}; the end of its output:\n${this.tail}`);
  }
}

function shown(end: Ended): string {
  return end.signal ?? `status ${end.code}`;
}

/** `promise`, or the error of `late` when the time is up. */
export async function within<T>(promise: Promise<T>, limitMs: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), limitMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
