import { afterEach, describe, expect, it, vi } from "vitest";
import { listen, shortcutOf } from "./keyboard.js";

const key = (key: string, held: Partial<Record<"ctrlKey" | "metaKey" | "altKey", boolean>> = {}) => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  ...held,
});

describe("shortcuts", () => {
  it("are single letters, in either case", () => {
    expect(shortcutOf(key("m"))).toBe("microphone");
    expect(shortcutOf(key("V"))).toBe("camera");
    expect(shortcutOf(key("?"))).toBe("help");
    expect(shortcutOf(key(" "))).toBe("talk");
    expect(shortcutOf(key("x"))).toBeUndefined();
    expect(shortcutOf(key("Enter"))).toBeUndefined();
  });

  it("leave the browser's own alone", () => {
    expect(shortcutOf(key("c", { ctrlKey: true }))).toBeUndefined();
    expect(shortcutOf(key("l", { metaKey: true }))).toBeUndefined();
    expect(shortcutOf(key("s", { altKey: true }))).toBeUndefined();
  });
});

describe("listening", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it("does nothing while shortcuts are off, but lets go of what was held", () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("Element", class {});
    const send = (type: string, what: string) =>
      page.dispatchEvent(Object.assign(new Event(type, { cancelable: true }), key(what), { repeat: false }));
    let on = true;
    const log: string[] = [];
    const end = listen(
      { press: (shortcut) => log.push(shortcut), talk: (held) => log.push(`talk ${held}`) },
      () => on,
    );
    send("keydown", "m");
    send("keydown", " ");
    on = false;
    send("keyup", " ");
    send("keydown", "m");
    send("keydown", " ");
    on = true;
    send("keydown", "v");
    end();
    send("keydown", "h");
    expect(log).toEqual(["microphone", "talk true", "talk false", "camera"]);
  });
});
