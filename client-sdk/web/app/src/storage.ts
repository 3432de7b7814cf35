/** What this browser keeps for the app. Where storage is blocked or full, it is kept for as long as the page is there. */

/** What of `localStorage` is needed. */
export type Store = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export class Kept {
  /** Taking hold of the storage throws where it is blocked. */
  readonly #store: () => Store;
  /** What could not be stored; null: what could not be removed. */
  readonly #here = new Map<string, string | null>();

  constructor(store: () => Store) {
    this.#store = store;
  }

  get(key: string): string | null {
    const here = this.#here.get(key);
    if (here !== undefined) return here;
    try {
      return this.#store().getItem(key);
    } catch {
      return null;
    }
  }

  set(key: string, value: string): void {
    try {
      this.#store().setItem(key, value);
      this.#here.delete(key);
    } catch {
      this.#here.set(key, value);
    }
  }

  remove(key: string): void {
    try {
      this.#store().removeItem(key);
      this.#here.delete(key);
    } catch {
      this.#here.set(key, null);
    }
  }
}

export const kept = new Kept(() => localStorage);
