import { describe, expect, it } from "vitest";
import { ServerClock } from "./server-clock.js";

describe("ServerClock", () => {
  it("believes the shortest round trip", () => {
    const clock = new ServerClock();
    expect(clock.offsetUs).toBe(0);
    clock.measured(1_000_000, 1_400_000, 6_900_000);
    clock.measured(2_000_000, 2_020_000, 7_010_000);
    clock.measured(3_000_000, 3_300_000, 8_990_000);
    expect(clock.offsetUs).toBe(5_000_000);
    expect(clock.rttMs).toBe(20);
  });

  it("takes an offset within its uncertainty for none", () => {
    const clock = new ServerClock();
    clock.measured(1_000_000, 1_000_800, 1_000_700);
    expect(clock.offsetUs).toBe(0);
  });

  it("does not move what was fixed", () => {
    const clock = new ServerClock();
    clock.measured(0, 100_000, 5_050_000);
    expect(clock.fixedOffsetUs).toBe(5_000_000);
    clock.measured(1_000_000, 1_000_010, 7_000_005);
    expect(clock.offsetUs).toBe(6_000_000);
    expect(clock.fixedOffsetUs).toBe(5_000_000);
  });
});
