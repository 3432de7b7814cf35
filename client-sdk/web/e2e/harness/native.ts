/** Native clients: `darktower-client` in its own process, over raw QUIC. */

import { basename } from "node:path";
import { Program, paths } from "./programs.js";
import type { CreatedMeeting, Server } from "./server.js";

const JOIN_LIMIT_MS = 20_000;

/** Every native client of one test, to end those that are left. */
export class NativeClients {
  readonly #server: Server;
  readonly #running = new Set<Program>();

  constructor(server: Server) {
    this.#server = server;
  }

  /** Publishes clips, once or over and over, and resolves when they are on their way. */
  async publish(
    meeting: CreatedMeeting,
    files: readonly string[],
    options: { name: string; loop?: boolean; screen?: boolean },
  ): Promise<Program> {
    const args = ["publish", ...files, "--name", options.name];
    if (options.loop ?? true) args.push("--loop");
    if (options.screen) args.push("--screen");
    const program = this.#start(`publish ${files.map((file) => basename(file)).join(" ")}`, args, meeting);
    await program.printed(/to stop {5}Ctrl-C/, JOIN_LIMIT_MS);
    return program;
  }

  /** Bots that publish the demo's clips and watch each other. */
  async bots(meeting: CreatedMeeting, count: number): Promise<Program> {
    const args = ["bots", "--clips", paths.clips, "--count", String(count)];
    const program = this.#start(`bots --count ${count}`, args, meeting);
    await program.printed(/^stop +Ctrl-C/m, JOIN_LIMIT_MS);
    return program;
  }

  /** Writes every stream to files in `folder`, until it is stopped. */
  async record(meeting: CreatedMeeting, folder: string, name = "Recorder"): Promise<Program> {
    const program = this.#start("record", ["record", "--out", folder, "--name", name], meeting);
    await program.printed(/until Ctrl-C/, JOIN_LIMIT_MS);
    return program;
  }

  /** One control of a host, carried out; returns what it printed. */
  async host(meeting: CreatedMeeting, ...control: readonly string[]): Promise<string> {
    const program = this.#start(`host ${control.join(" ")}`, ["host", ...control], meeting);
    await program.finished(JOIN_LIMIT_MS);
    this.#running.delete(program);
    return program.output;
  }

  /** Stops one; rejects if it failed. */
  async stop(program: Program): Promise<void> {
    this.#running.delete(program);
    await program.stop();
  }

  /** Stops all that still run. A client whose meeting was ended has ended with an error, rightly. */
  async stopAll(): Promise<void> {
    const running = [...this.#running].filter((program) => program.running);
    this.#running.clear();
    await Promise.all(running.map((program) => program.stop()));
  }

  #start(name: string, args: readonly string[], meeting: CreatedMeeting): Program {
    const where = ["--server", this.#server.url, "--meeting", meeting.slug];
    const program = new Program(`darktower-client ${name}`, paths.client, [...args, ...where]);
    this.#running.add(program);
    return program;
  }
}
