/** The way from a meeting's link to a grant, for pages that have nobody to ask for one. Backends use the HTTP API themselves. */

import { MeetingError } from "./error.js";
import type { JoinGrant } from "./options.js";

export interface LinkOptions {
  /** The name that others see; guests need one of 2 to 50 characters. */
  readonly name: string;
  /** Of a user's account (docs/api.md). Absent: as whoever has the link may. */
  readonly accessToken?: string;
  readonly signal?: AbortSignal;
}

/** What the link's answer says that this caller is to do. */
type Way = "account" | "guest" | "sign_in" | "none";

/**
 * A grant for the meeting behind a link, such as `https://meet.example.org/m/h7k2mpqrst`.
 *
 * Rejects with `refused` and the API's error code (`MEETING_NOT_FOUND`, `MEETING_ENDED`, `UNAUTHORIZED` if only people with
 * an account may join, `CAPACITY_EXCEEDED` …), `unreachable`, `protocol` if what answers is no Dark Tower, or the signal's reason.
 */
export async function grantForLink(link: string | URL, options: LinkOptions): Promise<JoinGrant> {
  const url = new URL(link, globalThis.location?.href);
  const slug = /^\/m\/([^/]+)\/?$/.exec(url.pathname)?.[1];
  if (!slug) throw new MeetingError("invalid", `${url.href} is not the link of a meeting`);
  const api = new URL("/api/v1/", url);
  const meeting = await ask<{ meeting_id: string; join: Way }>(new URL(`slugs/${slug}`, api), "GET", options);
  const path = { account: "join", guest: "guest-join", sign_in: undefined, none: undefined }[meeting.join];
  if (!path) {
    const over = meeting.join === "none";
    throw new MeetingError(
      "refused",
      over ? "the meeting is over" : "this meeting is for people with an account",
      {
        code: over ? "MEETING_ENDED" : "UNAUTHORIZED",
      },
    );
  }
  return ask<JoinGrant>(new URL(`meetings/${meeting.meeting_id}/${path}`, api), "POST", options);
}

async function ask<T>(url: URL, method: "GET" | "POST", options: LinkOptions): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers: {
        ...(method === "POST" ? { "content-type": "application/json" } : {}),
        ...(options.accessToken ? { authorization: `Bearer ${options.accessToken}` } : {}),
      },
      ...(method === "POST" ? { body: JSON.stringify({ name: options.name }) } : {}),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw new MeetingError("unreachable", `${url.origin} cannot be reached`, { cause });
  }
  const body: unknown = await response.json().catch(() => undefined);
  options.signal?.throwIfAborted();
  if (!response.ok) {
    const error = (body as { error?: { code?: string; message?: string } } | null | undefined)?.error;
    throw new MeetingError("refused", error?.message ?? `${url.origin} answered ${response.status}`, {
      code: error?.code ?? "",
    });
  }
  if (typeof body !== "object" || body === null) {
    throw new MeetingError("protocol", `${url.origin} answered with something that is no answer of the API`);
  }
  return body as T;
}
