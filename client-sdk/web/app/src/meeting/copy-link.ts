import type { Session } from "../session.js";
import { text } from "../text.js";

/** Puts the link of the meeting on the clipboard, and says so. */
export async function copyLink(session: Session): Promise<void> {
  try {
    await navigator.clipboard.writeText(`${location.origin}/m/${session.link.slug}`);
    session.notice({ text: text.meeting.copied, tone: "good", lastsMs: 2500 });
  } catch {
    session.notice({ text: text.meeting.copyFailed, tone: "warning" });
  }
}
