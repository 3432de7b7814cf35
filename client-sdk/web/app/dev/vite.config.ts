/** The app with made-up people and a made-up server: for work on its looks. `npm run gallery -w app`. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import preact from "@preact/preset-vite";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function answer(request: IncomingMessage, url: URL): [number, unknown] {
  const refusal = (status: number, code: string): [number, unknown] => [
    status,
    { error: { code, message: code } },
  ];
  const page = new URL(request.headers.referer ?? "/", "http://gallery");
  const path = url.pathname.replace("/api/v1", "");
  if (path === "/caller") {
    const account = !page.searchParams.has("account");
    return [200, { signed_in: false, may_create_meetings: account, development: true }];
  }
  if (path === "/meetings")
    return [201, { meeting_id: "m", slug: "demo", meeting_url: "http://localhost/m/demo" }];
  if (path === "/auth/login") return refusal(401, "UNAUTHORIZED");
  if (path.startsWith("/slugs/")) {
    const slug = path.slice("/slugs/".length);
    if (slug === "missing") return refusal(404, "MEETING_NOT_FOUND");
    const joins: Record<string, string> = {
      account: "sign_in",
      over: "none",
      guest: "guest",
      webinar: "guest",
    };
    return [
      200,
      {
        meeting_id: "m",
        slug,
        meeting_url: `http://localhost/m/${slug}`,
        display_name: "Team Standup",
        meeting_type: slug === "webinar" ? "webinar" : "video",
        status: slug === "over" ? "ended" : slug === "later" ? "scheduled" : "active",
        active: slug !== "later",
        guests_allowed: true,
        scheduled_start: slug === "later" ? "2026-12-01T09:00:00Z" : null,
        meeting_controller_url: "https://127.0.0.1:4433/v1/signal",
        waiting_room: slug === "waiting" ? "admission" : "off",
        join: joins[slug] ?? "account",
      },
    ];
  }
  const refused = page.searchParams.get("api");
  if (refused) return refusal(409, refused);
  return [
    201,
    {
      participant_id: "me",
      join_token: "t",
      meeting_id: "m",
      meeting_controller_url: "",
      certificate_hashes: [],
    },
  ];
}

/** Answers what the app asks of the REST API. */
function madeUpServer(): Plugin {
  return {
    name: "made-up-server",
    configureServer(server) {
      server.middlewares.use((request: IncomingMessage, response: ServerResponse, next) => {
        const url = new URL(request.url ?? "/", "http://gallery");
        if (url.pathname === "/gallery") {
          request.url = "/dev/gallery.html";
          return next();
        }
        if (!url.pathname.startsWith("/api/")) return next();
        const [status, body] = answer(request, url);
        response.writeHead(status, { "Content-Type": "application/json" });
        response.end(JSON.stringify(body));
      });
    },
  };
}

export default defineConfig({
  root: here(".."),
  plugins: [preact(), madeUpServer()],
  resolve: { alias: { "@darktower/client": here("client.ts") } },
  server: { port: 5199 },
});
