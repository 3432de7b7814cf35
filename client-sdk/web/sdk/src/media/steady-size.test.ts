import { expect, test } from "vitest";
import { SteadySize } from "./steady-size.js";

const WINDOW = { width: 800, height: 600 };
const LARGER = { width: 1000, height: 700 };

test("the first size counts at once, another one when it has stood", () => {
  const size = new SteadySize();
  expect(size.take(WINDOW, 0)).toBe(true);
  expect(size.take(LARGER, 100)).toBe(false);
  expect(size.take(LARGER, 399)).toBe(false);
  expect(size.take(LARGER, 400)).toBe(true);
  expect(size.take(LARGER, 401)).toBe(true);
});

test("a size that was there for a moment only does not count", () => {
  const size = new SteadySize();
  size.take(WINDOW, 0);
  expect(size.take(LARGER, 100)).toBe(false);
  expect(size.take(WINDOW, 200)).toBe(true);
  expect(size.take(LARGER, 350)).toBe(false);
  expect(size.take(LARGER, 450)).toBe(false);
});

test("what changes on and on is taken now and then", () => {
  const size = new SteadySize();
  size.take(WINDOW, 0);
  const taken: number[] = [];
  for (let ms = 100; ms <= 5_000; ms += 100) {
    if (size.take({ width: 800 + ms, height: 600 }, ms)) taken.push(ms);
  }
  expect(taken).toEqual([1_500, 3_000, 4_500]);
});

test("a size that comes after a long stillness has to stand as well", () => {
  const size = new SteadySize();
  size.take(WINDOW, 0);
  size.take(WINDOW, 60_000);
  expect(size.take(LARGER, 60_100)).toBe(false);
});
