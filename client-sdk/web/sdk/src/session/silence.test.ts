import { describe, expect, it } from "vitest";
import { Silence } from "./silence.js";

describe("Silence", () => {
  it("is what follows a question, and ends with anything that is heard", () => {
    const silence = new Silence();
    expect(silence.isSilent(1e9, 0)).toBe(false);
    silence.asked(1_000);
    silence.asked(2_000);
    expect(silence.isSilent(2_499, 0)).toBe(false);
    expect(silence.isSilent(2_500, 0)).toBe(true);
    silence.heard();
    expect(silence.isSilent(9_000, 0)).toBe(false);
  });

  it("takes longer where answers take longer", () => {
    const silence = new Silence();
    silence.asked(0);
    expect(silence.isSilent(2_300, 600)).toBe(false);
    expect(silence.isSilent(2_400, 600)).toBe(true);
  });
});
