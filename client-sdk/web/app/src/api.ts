/** The REST API as far as the app needs it (docs/api.md), and the account that is signed in. */

import type { JoinGrant } from "@darktower/client";
import { kept } from "./storage.js";

export interface Caller {
  readonly signed_in: boolean;
  readonly may_create_meetings: boolean;
  readonly development: boolean;
}

/** What `GET /api/v1/slugs/{slug}` tells of a meeting. */
export interface MeetingLink {
  readonly meeting_id: string;
  readonly slug: string;
  readonly meeting_url: string;
  readonly display_name: string;
  readonly meeting_type: "video" | "audio" | "webinar" | "livestream";
  readonly status: "draft" | "scheduled" | "active" | "ended" | "cancelled" | "failed";
  readonly active: boolean;
  readonly guests_allowed: boolean;
  readonly scheduled_start: string | null;
  readonly waiting_room: "off" | "until_host" | "admission";
  /** What this caller is to do to join. */
  readonly join: "account" | "guest" | "sign_in" | "none";
}

/** Whether most people only watch, and some are on a stage. */
export function hasAudience(link: MeetingLink): boolean {
  return link.meeting_type === "webinar" || link.meeting_type === "livestream";
}

/** A refusal of the server, or no answer at all (`status` 0, code `UNREACHABLE`). */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** The field of the request that is to blame, if one is. */
  readonly field: string | undefined;
  /** When to try again at the earliest, if the server says so. */
  readonly retryAfterS: number | undefined;

  constructor(status: number, code: string, message: string, field?: string, retryAfterS?: number) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.field = field;
    this.retryAfterS = retryAfterS;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** The error that an answer stands for. Servers in between answer with other bodies than ours. */
export function errorOf(status: number, body: unknown, retryAfter: string | null): ApiError {
  const error = isRecord(body) && isRecord(body.error) ? body.error : {};
  const details = isRecord(error.details) ? error.details : {};
  const seconds = Number(retryAfter);
  return new ApiError(
    status,
    typeof error.code === "string" ? error.code : `HTTP_${status}`,
    typeof error.message === "string" ? error.message : "",
    typeof details.field === "string" ? details.field : undefined,
    retryAfter !== null && Number.isFinite(seconds) ? seconds : undefined,
  );
}

const ACCESS = "darktower.access_token";
const REFRESH = "darktower.refresh_token";

interface TokenPair {
  readonly access_token: string;
  readonly refresh_token: string;
}

function keep(tokens: TokenPair): void {
  kept.set(ACCESS, tokens.access_token);
  kept.set(REFRESH, tokens.refresh_token);
}

function forget(): void {
  kept.remove(ACCESS);
  kept.remove(REFRESH);
}

async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  const token = kept.get(ACCESS);
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  const init: RequestInit = { method, headers, cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, init);
  } catch (cause) {
    throw new ApiError(0, "UNREACHABLE", cause instanceof Error ? cause.message : "");
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw errorOf(response.status, answer, response.headers.get("Retry-After"));
  return answer as T;
}

/** A refresh token works once: pages of one browser take turns, and a page uses what another one has got. */
async function refresh(staleAccess: string | null): Promise<boolean> {
  return navigator.locks.request("darktower.refresh", async () => {
    const current = kept.get(ACCESS);
    if (current !== null && current !== staleAccess) return true;
    const token = kept.get(REFRESH);
    if (token === null) return false;
    try {
      keep(await request<TokenPair>("POST", "/auth/refresh", { refresh_token: token }));
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status !== 0 && error.status !== 429) forget();
      return false;
    }
  });
}

/** Asks again with a new access token where the old one has ended. */
async function signed<T>(ask: () => Promise<T>, stale: (answer: T) => boolean): Promise<T> {
  const token = kept.get(ACCESS);
  const hasAccount = kept.get(REFRESH) !== null;
  try {
    const answer = await ask();
    if (hasAccount && stale(answer) && (await refresh(token))) return ask();
    return answer;
  } catch (error) {
    const expired = error instanceof ApiError && error.status === 401;
    if (expired && hasAccount && (await refresh(token))) return ask();
    throw error;
  }
}

const never = () => false;

/** Who asks, and what they may do. */
export function caller(): Promise<Caller> {
  return signed(
    () => request<Caller>("GET", "/caller"),
    (answer) => !answer.signed_in,
  );
}

/** The meeting of a link. */
export function meetingOf(slug: string): Promise<MeetingLink> {
  return signed(
    () => request<MeetingLink>("GET", `/slugs/${encodeURIComponent(slug)}`),
    (answer) => answer.join !== "account",
  );
}

/** Makes an instant meeting. */
export function createMeeting(displayName: string, waitingRoom: boolean): Promise<{ slug: string }> {
  const settings = waitingRoom ? { settings: { waiting_room: "admission" } } : {};
  return signed(
    () => request<{ slug: string }>("POST", "/meetings", { display_name: displayName, ...settings }),
    never,
  );
}

/** A join token for the account, or for a guest. */
export function join(meetingId: string, name: string, asGuest: boolean): Promise<JoinGrant> {
  const how = asGuest ? "guest-join" : "join";
  return signed(
    () => request<JoinGrant>("POST", `/meetings/${encodeURIComponent(meetingId)}/${how}`, { name }),
    never,
  );
}

export async function signIn(email: string, password: string): Promise<void> {
  keep(await request<TokenPair>("POST", "/auth/login", { email, password }));
}

export async function signOut(): Promise<void> {
  const token = kept.get(REFRESH);
  try {
    if (token !== null) await request<unknown>("POST", "/auth/logout", { refresh_token: token });
  } finally {
    forget();
  }
}

/** The name of the account, to fill in; undefined without one. */
export async function accountName(): Promise<string | undefined> {
  if (kept.get(REFRESH) === null) return undefined;
  try {
    const me = await signed(() => request<{ user?: { name: string } }>("GET", "/auth/me"), never);
    return me.user?.name;
  } catch {
    // A name to fill in is a convenience: without one the field stays empty.
    return undefined;
  }
}
