/** How a meeting, or the attempt to join one, came to its end: which page says so. Pure. */

import { type Closed, MeetingError } from "@darktower/client";
import { ApiError } from "./api.js";

export type Ending =
  | "left"
  | "kicked"
  | "ended"
  | "full"
  | "locked"
  | "rejected"
  | "notBegun"
  | "noSuchMeeting"
  | "elsewhere"
  | "lost"
  | "unreachable"
  | "stopped"
  | "tooOften"
  | "signIn"
  | "unsupported"
  | "failed";

/** Of a session that was going on. */
export function endingOfSession(closed: Closed): Ending {
  switch (closed.code) {
    case "NO_ERROR":
      return "left";
    case "KICKED":
      return "kicked";
    case "MEETING_ENDED":
      return "ended";
    case "DUPLICATE":
      return "elsewhere";
    case "GOING_AWAY":
      return "stopped";
    case "RATE_LIMITED":
      return "tooOften";
    default:
      return "lost";
  }
}

/** Of an attempt to join. `waited`: somebody was to let one in (who is refused then was turned away). */
export function endingOfJoin(error: unknown, waited: boolean): Ending {
  if (error instanceof ApiError) return endingOfApi(error);
  if (!(error instanceof MeetingError)) return "failed";
  if (error.kind === "unreachable" || error.kind === "interrupted") return "unreachable";
  if (error.kind === "unsupported") return isOutdated(error) ? "failed" : "unsupported";
  const close = error.details.close_code ?? "";
  if (close === "KICKED") return "kicked";
  if (close === "MEETING_ENDED") return "ended";
  if (close === "GOING_AWAY") return "stopped";
  if (error.kind === "closed") return endingOfSession({ code: error.code, message: error.message });
  switch (error.code) {
    case "FORBIDDEN":
      return waited ? "rejected" : "locked";
    case "NOT_FOUND":
      return "ended";
    case "CONFLICT":
      return close === "DUPLICATE" ? "elsewhere" : "notBegun";
    case "CAPACITY_EXCEEDED":
      return "full";
    case "RATE_LIMITED":
      return "tooOften";
    case "UNAUTHORIZED":
      return "signIn";
    default:
      return "failed";
  }
}

/**
 * Whether a part of the app could not be loaded: after an upgrade of the server, that of a page that was opened before
 * is not there any more. The page as it is now has one that is.
 */
export function isOutdated(error: unknown): boolean {
  if (!(error instanceof MeetingError)) return false;
  if (error.kind === "unsupported") return error.code === "AudioWorklet";
  return error.kind === "protocol" && error.message.startsWith("worker.js could not be loaded");
}

function endingOfApi(error: ApiError): Ending {
  if (error.status === 0 || error.status >= 502) return "unreachable";
  switch (error.code) {
    case "MEETING_NOT_FOUND":
    case "NOT_FOUND":
      return "noSuchMeeting";
    case "MEETING_ENDED":
      return "ended";
    case "CONFLICT":
      return "notBegun";
    case "CAPACITY_EXCEEDED":
      return "full";
    case "RATE_LIMITED":
      return "tooOften";
    case "GUESTS_NOT_ALLOWED":
    case "UNAUTHORIZED":
    case "FORBIDDEN":
      return "signIn";
    default:
      return "failed";
  }
}
