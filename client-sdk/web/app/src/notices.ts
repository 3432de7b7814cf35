/** Short messages at the edge of the meeting that go away by themselves. Pure. */

export type NoticeTone = "neutral" | "good" | "warning";

export interface Notice {
  readonly id: number;
  readonly text: string;
  readonly tone: NoticeTone;
  /** When it goes away. */
  readonly untilMs: number;
  /** People of one kind of notice (who joined, who left) are put together. */
  readonly group?: { readonly kind: string; readonly names: readonly string[] };
  readonly action?: { readonly label: string; readonly run: () => void };
}

export interface NewNotice {
  readonly text: string;
  readonly tone?: NoticeTone;
  readonly lastsMs?: number;
  readonly action?: Notice["action"];
}

const LASTS_MS = 5000;
/** More at once would be a wall. The oldest go first. */
const MOST = 3;

function add(notices: readonly Notice[], notice: Notice): readonly Notice[] {
  return [...notices, notice].slice(-MOST);
}

function nextId(notices: readonly Notice[], nowMs: number): number {
  return Math.max(nowMs, ...notices.map((notice) => notice.id + 1));
}

/** With one more. The same text again lengthens the stay of the one that is there. */
export function noticed(notices: readonly Notice[], notice: NewNotice, nowMs: number): readonly Notice[] {
  const fresh: Notice = {
    id: nextId(notices, nowMs),
    text: notice.text,
    tone: notice.tone ?? "neutral",
    untilMs: nowMs + (notice.lastsMs ?? LASTS_MS),
    ...(notice.action ? { action: notice.action } : {}),
  };
  return add(
    notices.filter((other) => other.text !== notice.text),
    fresh,
  );
}

/** Somebody more of a kind: one notice names them all. */
export function noticedPerson(
  notices: readonly Notice[],
  kind: string,
  name: string,
  say: (names: readonly string[]) => string,
  nowMs: number,
): readonly Notice[] {
  const before = notices.find((notice) => notice.group?.kind === kind);
  const names = [...(before?.group?.names ?? []), name];
  const notice: Notice = {
    id: before?.id ?? nextId(notices, nowMs),
    text: say(names),
    tone: "neutral",
    untilMs: nowMs + LASTS_MS,
    group: { kind, names },
  };
  if (before) return notices.map((other) => (other === before ? notice : other));
  return add(notices, notice);
}

export function dismissed(notices: readonly Notice[], id: number): readonly Notice[] {
  return notices.filter((notice) => notice.id !== id);
}

/** Without those whose time is over; the same list if there are none. */
export function expired(notices: readonly Notice[], nowMs: number): readonly Notice[] {
  const left = notices.filter((notice) => notice.untilMs > nowMs);
  return left.length === notices.length ? notices : left;
}
