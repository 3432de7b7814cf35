/** Keyboard shortcuts of the meeting. Which key does what is pure; `listen` puts it to work. */

export type Shortcut =
  | "microphone"
  | "camera"
  | "share"
  | "hand"
  | "chat"
  | "people"
  | "layout"
  | "help"
  | "talk";

const KEYS: ReadonlyMap<string, Shortcut> = new Map([
  ["m", "microphone"],
  ["v", "camera"],
  ["s", "share"],
  ["h", "hand"],
  ["c", "chat"],
  ["p", "people"],
  ["l", "layout"],
  ["?", "help"],
  [" ", "talk"],
]);

/** What a key event says, as far as it matters. */
export interface Key {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
}

export function shortcutOf(event: Key): Shortcut | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return KEYS.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
}

/** Where keys are text, or belong to what is open above the meeting. */
function isTaken(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  return target.closest('input, textarea, select, [contenteditable], dialog, [role="menu"]') !== null;
}

/** Where Space presses something. */
function isPressable(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("button, a, summary, [role='tab']") !== null;
}

export interface Handler {
  /** A shortcut was pressed. */
  press(shortcut: Exclude<Shortcut, "talk">): void;
  /** Space is held, or let go again. */
  talk(held: boolean): void;
}

/** Listens until the function that is returned is called. `isOn`: whether keys do anything at the moment. */
export function listen(handler: Handler, isOn: () => boolean): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  // Whoever has clicked a button and then holds Space wants to talk; whoever has come to it with Tab wants to press it.
  let byPointer = true;
  let talking = false;
  const stopTalking = () => {
    if (!talking) return;
    talking = false;
    handler.talk(false);
  };
  const pointed = () => {
    byPointer = true;
  };
  addEventListener("pointerdown", pointed, { signal, capture: true });
  addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Tab") byPointer = false;
      if (!isOn() || event.defaultPrevented || isTaken(event.target)) return;
      const shortcut = shortcutOf(event);
      if (shortcut === undefined) return;
      if (shortcut === "talk") {
        if (isPressable(event.target) && !byPointer) return;
        event.preventDefault();
        if (event.repeat || talking) return;
        talking = true;
        handler.talk(true);
        return;
      }
      if (event.repeat) return;
      event.preventDefault();
      handler.press(shortcut);
    },
    { signal },
  );
  addEventListener(
    "keyup",
    (event) => {
      if (event.key !== " " || !talking) return;
      event.preventDefault();
      stopTalking();
    },
    { signal },
  );
  addEventListener("blur", stopTalking, { signal });
  return () => {
    stopTalking();
    controller.abort();
  };
}
