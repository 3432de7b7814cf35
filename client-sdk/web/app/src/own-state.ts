/**
 * What this participant has told the others of itself, and what others make of it: a host may mute, while an own change
 * is on its way as well. Pure.
 */

import type { Participant, ParticipantState } from "@darktower/client";

/** What others may change too. */
export type Own = ParticipantState & { readonly name: string };

export function ownOf({ name, state }: Participant): Own {
  return { ...state, name };
}

export class OwnState {
  /** As it was told last, or as others have made it. */
  #told: Own;
  /** Changes on their way, by what they change. */
  readonly #pending = new Map<keyof Own, number>();

  constructor(own: Own) {
    this.#told = own;
  }

  /** Whether it says anything that the others have not been told. */
  isNews(change: Partial<Own>): boolean {
    return keysOf(change).some((key) => this.#told[key] !== change[key]);
  }

  /** A change is about to be asked for. */
  begin(change: Partial<Own>): void {
    this.#told = { ...this.#told, ...change };
    for (const key of keysOf(change)) this.#pending.set(key, (this.#pending.get(key) ?? 0) + 1);
  }

  /** The change was made (`done`), or refused. Returns what others have changed meanwhile. */
  settle(change: Partial<Own>, done: boolean, now: Own): Partial<Own> {
    for (const key of keysOf(change)) {
      const left = (this.#pending.get(key) ?? 1) - 1;
      if (left > 0) this.#pending.set(key, left);
      else this.#pending.delete(key);
      if (!done && left === 0) this.#told = { ...this.#told, [key]: now[key] };
    }
    return this.heard(now);
  }

  /** The server tells how it is. Returns what others have changed: of what is on its way, nobody can tell yet. */
  heard(now: Own): Partial<Own> {
    const changed = keysOf(now).filter((key) => !this.#pending.has(key) && now[key] !== this.#told[key]);
    const change: Partial<Own> = Object.fromEntries(changed.map((key) => [key, now[key]]));
    this.#told = { ...this.#told, ...change };
    return change;
  }
}

function keysOf(change: Partial<Own>): (keyof Own)[] {
  return Object.keys(change) as (keyof Own)[];
}
