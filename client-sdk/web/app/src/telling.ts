/** What the user is told: notices that go away by themselves, words for screen readers, and why a request was refused. */

import { MeetingError } from "@darktower/client";
import { signal } from "@preact/signals";
import { dismissed, expired, type NewNotice, type Notice, noticed, noticedPerson } from "./notices.js";
import { text } from "./text.js";

export class Telling {
  readonly notices = signal<readonly Notice[]>([]);
  /** What screen readers are told next. */
  readonly announcement = signal("");
  #timer: ReturnType<typeof setTimeout> | undefined;

  notice(notice: NewNotice): void {
    this.notices.value = noticed(this.notices.peek(), notice, Date.now());
    this.announcement.value = notice.text;
    this.#expire();
  }

  /** Somebody more of a kind: one notice names them all. */
  person(kind: string, name: string, say: (names: readonly string[]) => string): void {
    this.notices.value = noticedPerson(this.notices.peek(), kind, name, say, Date.now());
    this.announcement.value = this.notices.peek().find((n) => n.group?.kind === kind)?.text ?? "";
    this.#expire();
  }

  dismiss(id: number): void {
    this.notices.value = dismissed(this.notices.peek(), id);
  }

  /**
   * Carries a request out, and tells the user if it is refused. True if it was not. `full`: what to say when that is
   * because a limit is reached.
   */
  async attempt(request: Promise<unknown>, full?: string): Promise<boolean> {
    try {
      await request;
      return true;
    } catch (error) {
      this.failed(error, full);
      return false;
    }
  }

  /** Tells why something did not work; nothing if that is because the meeting is over. */
  failed(error: unknown, full?: string): void {
    if (isOver(error)) return;
    this.notice({ text: explain(error, full), tone: "warning" });
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #expire(): void {
    clearTimeout(this.#timer);
    const next = Math.min(...this.notices.peek().map((notice) => notice.untilMs));
    if (!Number.isFinite(next)) return;
    this.#timer = setTimeout(
      () => {
        this.notices.value = expired(this.notices.peek(), Date.now());
        this.#expire();
      },
      Math.max(50, next - Date.now()),
    );
  }
}

export function isOver(error: unknown): boolean {
  return error instanceof MeetingError && error.kind === "closed";
}

function explain(error: unknown, full: string | undefined): string {
  if (!(error instanceof MeetingError)) return text.notices.failed;
  if (error.code === "CAPACITY_EXCEEDED" && full !== undefined) return full;
  if (error.code === "RATE_LIMITED") return text.chat.tooFast;
  if (error.kind === "refused") return text.notices.refused(error.message);
  // What the browser or the system lacks, the SDK says in words.
  if (error.kind === "unsupported" || error.kind === "device") return error.message || text.notices.failed;
  return text.notices.failed;
}
