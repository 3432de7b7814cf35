/**
 * The web server of the tests' pages: the meeting server's pages and API as they are, headers included, and beside them,
 * below `/e2e/`, the built SDK for pages of the tests that use it alone.
 *
 * The meeting server's own pages come through here because the recorder of sound is a worklet, which must be a file of
 * the page's origin: the content security policy allows no other, and Playwright does not see requests for worklets.
 */

import { once } from "node:events";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
  request as startRequest,
} from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { TAP_PATH, TAP_SOURCE } from "../checks/probe.js";
import { paths } from "./programs.js";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".map": "application/json",
  ".css": "text/css; charset=utf-8",
};

/** Where each part of `/e2e/` is. */
const FOLDERS: Record<string, string> = {
  sdk: join(paths.web, "sdk/dist"),
  pages: join(paths.e2e, "pages"),
};

export interface StaticHostOptions {
  /** The meeting server. */
  readonly serverUrl: string;
  /** COOP and COEP below `/e2e/`: with them a page may share memory with its workers. */
  readonly isolated: boolean;
}

export class StaticHost {
  readonly #server: HttpServer;
  /** Pages that are not files, by path. */
  readonly #documents = new Map<string, string>();

  private constructor(server: HttpServer) {
    this.#server = server;
  }

  static async start(options: StaticHostOptions): Promise<StaticHost> {
    const server = createServer();
    const host = new StaticHost(server);
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      host.#answer(options, request, response).catch((error: unknown) => {
        response.statusCode = 500;
        response.end(String(error));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return host;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the host does not listen");
    return `http://127.0.0.1:${address.port}`;
  }

  /** Serves `html` at `path`. */
  add(path: string, html: string): void {
    this.#documents.set(path, html);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  async #answer(
    options: StaticHostOptions,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.url);
    if (!pathname.startsWith("/e2e/")) {
      await forward(options.serverUrl, request, response);
      return;
    }
    response.setHeader("Cache-Control", "no-store");
    if (options.isolated) {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    if (pathname === TAP_PATH) {
      send(response, ".js", TAP_SOURCE);
      return;
    }
    const document = this.#documents.get(pathname);
    if (document !== undefined) {
      send(response, ".html", document);
      return;
    }
    const [, , part = "", ...rest] = normalize(pathname).split("/");
    const folder = FOLDERS[part];
    const file = folder && join(folder, ...rest);
    const isFile =
      file &&
      (await stat(file)
        .then((found) => found.isFile())
        .catch(() => false));
    if (!file || !isFile) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    await pipeline(createReadStream(file), response);
  }
}

function send(response: ServerResponse, extension: string, text: string): void {
  response.setHeader("Content-Type", TYPES[extension] ?? "text/plain");
  response.end(text);
}

/** Passes a request on to the meeting server, and its answer back. */
async function forward(serverUrl: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, search } = new URL(request.url ?? "/", serverUrl);
  const outgoing = startRequest(new URL(pathname + search, serverUrl), {
    method: request.method,
    headers: { ...request.headers, host: new URL(serverUrl).host },
  });
  await pipeline(request, outgoing);
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  response.writeHead(answer.statusCode ?? 502, answer.headers);
  await pipeline(answer, response);
}
