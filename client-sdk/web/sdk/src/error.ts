/** Errors of the SDK. */

/** Why something did not work; for programs. `message` is for people. */
export type ErrorKind =
  /** The server said no; `code` is its `ErrorCode` by name, for example `FORBIDDEN`. */
  | "refused"
  /** The server cannot be reached, or did not answer in time. */
  | "unreachable"
  /** The connection was lost before the answer came: it may or may not have been done. */
  | "interrupted"
  /** The session has ended; `code` says how (docs/protocol.md 7). */
  | "closed"
  /** The peer broke the protocol. */
  | "protocol"
  /** The browser lacks something that is needed; `code` names it. */
  | "unsupported"
  /** The user, or the system, does not let the page use a device; `code` is the name of the browser's error. */
  | "device"
  /** The caller asked for something impossible. */
  | "invalid";

/** What every function of the SDK fails with. */
export class MeetingError extends Error {
  readonly kind: ErrorKind;
  /** A name within its kind; empty if there is none. */
  readonly code: string;
  /** What the server says for programs, for example `field` → `stream_id`. */
  readonly details: Readonly<Record<string, string>>;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { code?: string; details?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MeetingError";
    this.kind = kind;
    this.code = options.code ?? "";
    this.details = options.details ?? {};
  }
}

/** A `MeetingError` as data, to cross threads. */
export interface ErrorData {
  readonly kind: ErrorKind;
  readonly message: string;
  readonly code: string;
  readonly details: Record<string, string>;
}

export function errorToData(error: unknown): ErrorData {
  if (error instanceof MeetingError) {
    return { kind: error.kind, message: error.message, code: error.code, details: { ...error.details } };
  }
  // What the caller gave cannot be put into a message, for example.
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "invalid", message, code: "", details: {} };
}

export function errorFromData(data: ErrorData): MeetingError {
  return new MeetingError(data.kind, data.message, { code: data.code, details: data.details });
}
