/** Keeps the screen from going dark while one is in a meeting. */

/** What of the page is needed. */
export interface Page extends EventTarget {
  readonly visibilityState: DocumentVisibilityState;
}

/** What of the browser is needed; absent where pages cannot keep the screen on. */
export type Locks = Pick<WakeLock, "request"> | undefined;

/** Until the function that is returned is called. Browsers release the lock of a page that is hidden: asked for anew. */
export function keepAwake(page: Page, locks: Locks): () => void {
  let over = false;
  let held: WakeLockSentinel | undefined;
  const release = (lock: WakeLockSentinel | undefined) => void lock?.release().catch(() => undefined);
  const ask = async () => {
    if (!locks || page.visibilityState !== "visible" || (held && !held.released)) return;
    try {
      const lock = await locks.request("screen");
      if (over || (held && !held.released)) release(lock);
      else held = lock;
    } catch {
      // The battery is low, or the system does not let pages do so: the meeting goes on.
    }
  };
  const seen = () => void ask();
  page.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    over = true;
    page.removeEventListener("visibilitychange", seen);
    release(held);
  };
}
