import { describe, expect, it } from "vitest";
import { dismissed, expired, noticed, noticedPerson } from "./notices.js";

const joined = (names: readonly string[]) => `${names.join(", ")} joined`;

describe("notices", () => {
  it("go away when their time is over", () => {
    const notices = noticed(noticed([], { text: "a" }, 0), { text: "b", lastsMs: 9000 }, 0);
    expect(expired(notices, 4999)).toBe(notices);
    expect(expired(notices, 5000).map((n) => n.text)).toEqual(["b"]);
    expect(dismissed(notices, notices[0]?.id ?? -1).map((n) => n.text)).toEqual(["b"]);
  });

  it("are three at most, the latest ones, each text once", () => {
    let notices = noticed([], { text: "a" }, 0);
    for (const text of ["b", "c", "b", "d"]) notices = noticed(notices, { text }, 0);
    expect(notices.map((n) => n.text)).toEqual(["c", "b", "d"]);
    expect(new Set(notices.map((n) => n.id)).size).toBe(3);
  });

  it("put people together who come at about the same time", () => {
    let notices = noticedPerson([], "joined", "Ada", joined, 0);
    notices = noticed(notices, { text: "x" }, 1000);
    notices = noticedPerson(notices, "joined", "Bob", joined, 4000);
    expect(notices.map((n) => n.text)).toEqual(["Ada, Bob joined", "x"]);
    notices = noticedPerson(expired(notices, 9500), "joined", "Cleo", joined, 9500);
    expect(notices.map((n) => n.text)).toEqual(["Cleo joined"]);
  });
});
