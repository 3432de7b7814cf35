/** Who is heard right now, for the ring around a tile. Pure. */

/** Louder than this (dBov below full scale, smaller is louder) is speech. */
const SPEECH_DBOV = 46;
/** The ring stays for this long: it is not to flicker between syllables. */
const HOLD_MS = 450;

export class Speaking {
  readonly #lastHeardMs = new Map<string, number>();
  #current: ReadonlySet<string> = new Set();

  /** What is heard now. The same object as before if nobody begins or ends. */
  update(levels: ReadonlyMap<string, number>, nowMs: number): ReadonlySet<string> {
    for (const [id, level] of levels) {
      if (level <= SPEECH_DBOV) this.#lastHeardMs.set(id, nowMs);
    }
    const next = new Set<string>();
    for (const [id, atMs] of this.#lastHeardMs) {
      if (nowMs - atMs <= HOLD_MS) next.add(id);
      else this.#lastHeardMs.delete(id);
    }
    const same = next.size === this.#current.size && [...next].every((id) => this.#current.has(id));
    if (!same) this.#current = next;
    return this.#current;
  }
}
