/** A `darktower serve` of the tests' own, and its API. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Program, paths } from "./programs.js";

/** The server is up in a fraction of a second; a busy machine gets more. */
const READY_LIMIT_MS = 30_000;
/** Between two looks for the ready file. */
const READY_PACE_MS = 20;

interface Ready {
  readonly http_url: string;
  readonly https_url: string;
  readonly quic_addrs: readonly string[];
}

/** What a join token comes with (docs/api.md). */
export interface Grant {
  readonly meeting_id: string;
  readonly participant_id: string;
  readonly join_token: string;
  readonly meeting_controller_url: string;
  readonly certificate_hashes: { readonly algorithm: string; readonly value: string }[];
  readonly name: string;
  readonly role: string;
}

export interface MeetingOptions {
  readonly display_name?: string;
  readonly access_policy?: "invited" | "members" | "link" | "open";
  readonly meeting_type?: string;
  readonly max_participants?: number;
  readonly settings?: { readonly waiting_room?: "off" | "until_host" | "admission" };
}

/** A meeting as the API made it. */
export interface CreatedMeeting {
  readonly meeting_id: string;
  readonly slug: string;
  readonly meeting_url: string;
}

/** An API answer that is no success. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly body: string,
    what: string,
  ) {
    super(`${what}: ${status} ${body}`);
  }
}

export class Server {
  readonly #program: Program;
  readonly #folder: string;
  readonly #ready: Ready;

  private constructor(program: Program, folder: string, ready: Ready) {
    this.#program = program;
    this.#folder = folder;
    this.#ready = ready;
  }

  /** Starts one on free ports of loopback. `publicQuicUrl` is what it tells clients to connect to, if not itself. */
  static async start(
    options: { publicQuicUrl?: string; environment?: Record<string, string> } = {},
  ): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), "darktower-e2e-"));
    const readyFile = join(folder, "ready.json");
    const args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    args.push("--data-dir", join(folder, "data"), "--ready-file", readyFile);
    if (options.publicQuicUrl) args.push("--public-quic-url", options.publicQuicUrl);
    const program = new Program("darktower", paths.server, args, options.environment);
    try {
      const ready = await waitUntilReady(program, readyFile);
      return new Server(program, folder, ready);
    } catch (error) {
      program.kill();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Origin of API and pages, plain HTTP. */
  get url(): string {
    return this.#ready.http_url;
  }

  /** Port of QUIC (UDP) on 127.0.0.1. */
  get quicPort(): number {
    const port = Number(this.#ready.quic_addrs[0]?.split(":").at(-1));
    if (!Number.isInteger(port)) throw new Error(`no QUIC port in ${JSON.stringify(this.#ready)}`);
    return port;
  }

  get log(): string {
    return this.#program.output;
  }

  /** Stops it; rejects if it did not end cleanly, or had ended before. */
  async stop(): Promise<void> {
    try {
      await this.#program.stop(20_000);
    } finally {
      this.#program.kill();
      await rm(this.#folder, { recursive: true, force: true });
    }
  }

  /** One request to the API; `undefined` for an answer without a body. Rejects with `ApiError`. */
  async api<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined
        ? {}
        : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new ApiError(response.status, text, `${method} ${path}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** A meeting that everybody with its link gets into. */
  createMeeting(options: MeetingOptions = {}): Promise<CreatedMeeting> {
    return this.api("POST", "/meetings", { display_name: "Browser test", access_policy: "open", ...options });
  }

  /** A participant's join token. */
  grant(meeting: CreatedMeeting, name: string, role: "host" | "participant" = "participant"): Promise<Grant> {
    return this.api("POST", `/meetings/${meeting.meeting_id}/participants`, { name, role });
  }
}

async function waitUntilReady(program: Program, readyFile: string): Promise<Ready> {
  const deadline = performance.now() + READY_LIMIT_MS;
  while (performance.now() < deadline) {
    // It is written under another name and renamed: what is there is whole.
    const text = await readFile(readyFile, "utf8").catch(() => undefined);
    if (text) return JSON.parse(text) as Ready;
    if (!program.running) throw new Error(`darktower ended before it was ready:\n${program.tail}`);
    await delay(READY_PACE_MS);
  }
  throw new Error(`darktower was not ready within ${READY_LIMIT_MS} ms:\n${program.tail}`);
}
