import { describe, expect, it } from "vitest";
import { Kept, type Store } from "./storage.js";

function blocked(): Store {
  throw new DOMException("no", "SecurityError");
}

describe("what is kept", () => {
  it("is in the storage of the browser", () => {
    const items = new Map<string, string>();
    const kept = new Kept(() => ({
      getItem: (key) => items.get(key) ?? null,
      setItem: (key, value) => void items.set(key, value),
      removeItem: (key) => void items.delete(key),
    }));
    kept.set("a", "1");
    expect(items.get("a")).toBe("1");
    // Another page of the app.
    items.set("a", "2");
    expect(kept.get("a")).toBe("2");
    kept.remove("a");
    expect(kept.get("a")).toBeNull();
  });

  it("is in this page where that is blocked", () => {
    const kept = new Kept(blocked);
    expect(kept.get("a")).toBeNull();
    kept.set("a", "1");
    expect(kept.get("a")).toBe("1");
    kept.remove("a");
    expect(kept.get("a")).toBeNull();
  });

  it("is what was set last although the storage is full, until it has room again", () => {
    let full = true;
    let stored: string | null = "old";
    const kept = new Kept(() => ({
      getItem: () => stored,
      setItem: (_key, value) => {
        if (full) throw new DOMException("no", "QuotaExceededError");
        stored = value;
      },
      removeItem: () => undefined,
    }));
    kept.set("a", "new");
    expect(kept.get("a")).toBe("new");
    full = false;
    kept.set("a", "newer");
    expect(stored).toBe("newer");
    expect(kept.get("a")).toBe("newer");
  });
});
