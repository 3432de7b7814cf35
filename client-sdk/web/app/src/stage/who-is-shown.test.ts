import { describe, expect, it } from "vitest";
import { Speaking } from "./speaking.js";
import {
  arrange,
  cameraKey,
  orderPeople,
  type Person,
  screenKey,
  type Wishes,
  withSpeaker,
} from "./who-is-shown.js";

function people(...ids: string[]): Person[] {
  return ids.map((participantId) => ({ participantId, self: participantId === "me", screens: [] }));
}

const WISHES: Wishes = { mode: "grid", pins: [], spotlight: [], speakerId: undefined };
const keys = (tiles: readonly { key: string }[]) => tiles.map((tile) => tile.key);

describe("order", () => {
  it("keeps places, puts newcomers last and oneself first", () => {
    const first = orderPeople([], people("ada", "me", "bob"), [], 25);
    expect(first).toEqual(["me", "ada", "bob"]);
    expect(orderPeople(first, people("me", "cleo", "bob", "ada"), [], 25)).toEqual([
      "me",
      "ada",
      "bob",
      "cleo",
    ]);
    expect(orderPeople(first, people("me", "bob"), [], 25)).toEqual(["me", "bob"]);
  });

  it("brings a speaker to the first page in the place of who was silent longest", () => {
    const all = people("me", "a", "b", "c", "d", "e");
    const order = orderPeople([], all, [], 4);
    const spoken = orderPeople(order, all, ["e", "a", "c"], 4);
    expect(spoken).toEqual(["me", "a", "e", "c", "d", "b"]);
    // Nothing moves when somebody of the first page speaks.
    expect(orderPeople(spoken, all, ["a", "e", "c"], 4)).toEqual(spoken);
  });

  it("never lets more speakers compete than there are places", () => {
    const all = people("me", "a", "b", "c", "d");
    const order = orderPeople([], all, ["d", "c", "b", "a"], 3);
    expect(order.slice(0, 3).sort()).toEqual(["c", "d", "me"]);
    expect(orderPeople(order, all, ["d", "c", "b", "a"], 3)).toEqual(order);
  });
});

describe("arrange", () => {
  it("shows all alike, and two as a conversation", () => {
    expect(arrange(people("me", "a", "b"), WISHES).mode).toBe("grid");
    expect(arrange(people("me"), WISHES)).toMatchObject({ mode: "grid", main: [] });
    const pair = arrange(people("me", "a"), WISHES);
    expect(pair.mode).toBe("pair");
    expect(keys(pair.main)).toEqual([cameraKey("a")]);
    expect(keys(pair.others)).toEqual([cameraKey("me")]);
  });

  it("shows the speaker large, never oneself while others are there", () => {
    const speaker = (speakerId: string | undefined) =>
      keys(arrange(people("me", "a", "b"), { ...WISHES, mode: "speaker", speakerId }).main);
    expect(speaker("b")).toEqual([cameraKey("b")]);
    expect(speaker("me")).toEqual([cameraKey("a")]);
    expect(speaker(undefined)).toEqual([cameraKey("a")]);
    expect(keys(arrange(people("me"), { ...WISHES, mode: "speaker" }).main)).toEqual([cameraKey("me")]);
  });

  it("prefers pins to screens to the spotlight to the speaker", () => {
    const all = people("me", "a", "b", "c").map((person) =>
      person.participantId === "b" ? { ...person, screens: ["s1"] } : person,
    );
    const wishes: Wishes = { mode: "speaker", pins: [cameraKey("c")], spotlight: ["a"], speakerId: "b" };
    expect(keys(arrange(all, wishes).main)).toEqual([cameraKey("c")]);
    expect(keys(arrange(all, { ...wishes, pins: [] }).main)).toEqual([screenKey("s1")]);
    expect(keys(arrange(people("me", "a", "b"), { ...wishes, pins: [] }).main)).toEqual([cameraKey("a")]);
    // Pins of who has left count for nothing.
    expect(keys(arrange(all, { ...wishes, pins: [cameraKey("gone")] }).main)).toEqual([screenKey("s1")]);
  });

  it("does not show one's own screen", () => {
    const me: Person = { participantId: "me", self: true, screens: ["mine"] };
    expect(arrange([me, ...people("a")], WISHES).mode).toBe("pair");
  });

  it("shows each tile once", () => {
    const all = people("me", "a", "b", "c", "d", "e", "f");
    const { main, others } = arrange(all, { ...WISHES, spotlight: ["a", "b", "c", "d", "e", "f"] });
    expect(main).toHaveLength(4);
    expect(new Set([...keys(main), ...keys(others)]).size).toBe(7);
  });
});

describe("speakers", () => {
  it("remembers the latest first", () => {
    expect(withSpeaker(["a", "b"], "b")).toEqual(["b", "a"]);
    expect(withSpeaker(["a", "b"], "c", 2)).toEqual(["c", "a"]);
  });

  it("holds the ring between syllables and tells only of changes", () => {
    const speaking = new Speaking();
    const first = speaking.update(new Map([["a", 30]]), 0);
    expect([...first]).toEqual(["a"]);
    expect(speaking.update(new Map([["a", 90]]), 300)).toBe(first);
    expect([...speaking.update(new Map([["b", 127]]), 600)]).toEqual([]);
  });
});
