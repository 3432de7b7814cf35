import { describe, expect, test } from "vitest";
import { GroupKind, type GroupPreamble } from "./group.js";
import { Sequencer } from "./sequencer.js";
import { Random, STREAM, unit } from "./testing.js";
import { HEADER_BYTES, type Unit } from "./unit.js";

const HOLD_MS = 200;
const LIMITS = { maxHoldMs: HOLD_MS, maxHeldBytes: 1_500 };

function preamble(group: number, firstSequence = group, discontinuity = false): GroupPreamble {
  const continuation = firstSequence !== group;
  return { kind: GroupKind.Video, continuation, discontinuity, streamId: STREAM, group, firstSequence };
}

function sequences(sequencer: Sequencer<number>, nowMs: number): number[] {
  return sequencer.poll(nowMs).map((ready) => ready.unit.sequence);
}

/** The rules of the module again, as slow and plain as they can be written. */
class Reference {
  last: number | undefined;
  open: { stream: number; preamble: GroupPreamble; hasBegun: boolean }[] = [];
  held: { unit: Unit; arrivedMs: number; preamble: GroupPreamble; isFirst: boolean }[] = [];
  staleUnits = 0;

  push(stream: number, unit: Unit, nowMs: number): boolean {
    const source = this.open.find((open) => open.stream === stream);
    if (!source) return false;
    const isFirst = !source.hasBegun;
    source.hasBegun = true;
    const isStale = this.last !== undefined && unit.sequence <= this.last;
    if (isStale || this.held.some((held) => held.unit.sequence === unit.sequence)) this.staleUnits++;
    else this.held.push({ unit, arrivedMs: nowMs, preamble: source.preamble, isFirst });
    return true;
  }

  heldBytes(): number {
    return this.held.reduce((sum, { unit }) => sum + HEADER_BYTES + unit.payload.length, 0);
  }

  pop(nowMs: number): number | undefined {
    this.held.sort((a, b) => a.unit.sequence - b.unit.sequence);
    const [first] = this.held;
    if (!first) return undefined;
    const { sequence } = first.unit;
    const isEarlierOpen = this.open.some(
      ({ preamble: { group, firstSequence } }) =>
        group < first.preamble.group ||
        (group === first.preamble.group && firstSequence < first.preamble.firstSequence),
    );
    const isInOrder =
      this.last === undefined
        ? !isEarlierOpen
        : sequence === this.last + 1 || !first.isFirst || (first.preamble.discontinuity && !isEarlierOpen);
    const isOverdue = this.held.some(({ arrivedMs }) => nowMs - arrivedMs >= HOLD_MS);
    if (!isInOrder && !isOverdue && this.heldBytes() <= LIMITS.maxHeldBytes) return undefined;
    this.held.shift();
    this.last = sequence;
    return sequence;
  }

  drain(nowMs: number): number[] {
    const drained: number[] = [];
    for (;;) {
      const sequence = this.pop(nowMs);
      if (sequence === undefined) return drained;
      drained.push(sequence);
    }
  }
}

test("a group that comes again comes whole, and what has begun after it waits for it", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(1, preamble(10));
  for (let sequence = 10; sequence < 13; sequence++) sequencer.push(1, unit(sequence), 0);
  expect(sequences(sequencer, 0)).toEqual([10, 11, 12]);
  // The newest group is seen first.
  sequencer.begin(3, preamble(14));
  sequencer.push(3, unit(14), 0);
  expect(sequences(sequencer, 0)).toEqual([]);
  expect(sequencer.rewind(preamble(10, 11))).toBe(false);
  expect(sequencer.rewind(preamble(14))).toBe(false);
  expect(sequencer.rewind(preamble(10))).toBe(true);
  sequencer.begin(2, preamble(10));
  for (let sequence = 10; sequence < 14; sequence++) sequencer.push(2, unit(sequence), 0);
  sequencer.push(1, unit(13), 0);
  sequencer.push(3, unit(15), 0);
  expect(sequences(sequencer, 0)).toEqual([10, 11, 12, 13, 14, 15]);
  expect(sequencer.heldBytes).toBe(0);
});

describe("properties", () => {
  test("any operations follow the rules", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const number = () => (random.once(8) ? Number.MAX_SAFE_INTEGER : random.below(40));
      const sequencer = new Sequencer<number>(LIMITS);
      const reference = new Reference();
      const out: number[] = [];
      let [nowMs, pushed, missing] = [random.below(1_000_000), 0, 0];
      const drainBoth = () => {
        const ready = sequencer.poll(nowMs);
        const got = ready.map((ready) => ready.unit.sequence);
        expect(got).toEqual(reference.drain(nowMs));
        expect(sequencer.staleUnits).toBe(reference.staleUnits);
        expect(sequencer.heldBytes).toBe(reference.heldBytes());
        expect(sequencer.heldBytes).toBeLessThanOrEqual(LIMITS.maxHeldBytes);
        // The deadline is that of the unit that waits longest, and it lies ahead.
        const oldestMs = Math.min(...reference.held.map(({ arrivedMs }) => arrivedMs));
        const deadlineMs = sequencer.nextDeadlineMs();
        expect(deadlineMs).toBe(reference.held.length > 0 ? oldestMs + HOLD_MS : undefined);
        expect(deadlineMs ?? Number.POSITIVE_INFINITY).toBeGreaterThan(nowMs);
        out.push(...got);
        for (const { missingUnits } of ready) missing += missingUnits;
      };
      for (let i = 0; i < 80; i++) {
        const stream = random.below(4);
        const operation = random.below(10);
        if (operation < 2) {
          const opened = preamble(number(), number(), random.once(2));
          sequencer.begin(stream, opened);
          reference.open = reference.open.filter((open) => open.stream !== stream);
          reference.open.push({ stream, preamble: opened, hasBegun: false });
        } else if (operation < 8) {
          const arrived = unit(number(), { payload: new Uint8Array(random.below(400)) });
          sequencer.push(stream, arrived, nowMs);
          if (reference.push(stream, arrived, nowMs)) pushed++;
        } else if (operation < 9) {
          sequencer.end(stream);
          reference.open = reference.open.filter((open) => open.stream !== stream);
        } else {
          nowMs += random.below(250);
        }
        drainBoth();
      }
      nowMs += HOLD_MS;
      drainBoth();
      expect(sequencer.nextDeadlineMs()).toBeUndefined();
      expect(out).toEqual([...new Set(out)].sort((a, b) => a - b));
      expect(out.length + sequencer.staleUnits).toBe(pushed);
      // What came out and what is told to be missing is everything from the first to the last.
      const [first, last] = [out.at(0), out.at(-1)];
      if (first !== undefined && last !== undefined) expect(out.length + missing).toBe(last - first + 1);
    }
  });

  test("any interleaving of whole groups is put in order without waiting", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const sequencer = new Sequencer<number>();
      let sent = 0;
      const streams = Array.from({ length: 1 + random.below(5) }, (_, stream) => {
        const group = sent;
        sent += 1 + random.below(5);
        return { stream, group, next: group, end: sent, isOpen: stream === 0 };
      });
      // The first stream is seen first; after that anything may overtake anything.
      sequencer.begin(0, preamble(0));
      const out: number[] = [];
      while (streams.length > 0) {
        const at = random.below(streams.length);
        const source = streams[at];
        if (!source) break;
        if (!source.isOpen) {
          source.isOpen = true;
          sequencer.begin(source.stream, preamble(source.group));
        } else if (source.next < source.end) {
          sequencer.push(source.stream, unit(source.next++), 0);
        } else {
          sequencer.end(source.stream);
          streams.splice(at, 1);
        }
        for (const { unit, missingUnits } of sequencer.poll(0)) {
          expect(missingUnits).toBe(0);
          out.push(unit.sequence);
        }
      }
      expect(out).toEqual(Array.from({ length: sent }, (_, sequence) => sequence));
      expect(sequencer.staleUnits).toBe(0);
    }
  });
});

test("the next group waits for the rest of the one before it", () => {
  const sequencer = new Sequencer<number>();
  sequencer.begin(3, preamble(0));
  sequencer.push(3, unit(0), 0);
  sequencer.begin(7, preamble(2));
  sequencer.push(7, unit(2), 0);
  expect(sequences(sequencer, 0)).toEqual([0]);
  sequencer.push(3, unit(1), 0);
  expect(sequences(sequencer, 0)).toEqual([1, 2]);
});

/** Units that a publisher left out do not cost a subscriber time, whatever else is open. */
test("a gap inside a stream does not wait for an older stream", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(0));
  sequencer.push(0, unit(0), 0);
  sequencer.begin(1, preamble(1));
  sequencer.push(1, unit(1), 0);
  sequencer.push(1, unit(4), 0);
  expect(sequencer.poll(0).map(({ unit, missingUnits }) => [unit.sequence, missingUnits])).toEqual([
    [0, 0],
    [1, 0],
    [4, 2],
  ]);
});

test("a gap before a group waits, but no longer than the limit", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(0));
  sequencer.push(0, unit(0), 0);
  sequencer.end(0);
  sequencer.begin(1, preamble(5));
  sequencer.push(1, unit(5), 10);
  sequencer.push(1, unit(6), 150);
  expect(sequences(sequencer, 209)).toEqual([0]);
  expect(sequencer.nextDeadlineMs()).toBe(210);
  expect(sequencer.poll(210).map(({ unit, missingUnits }) => [unit.sequence, missingUnits])).toEqual([
    [5, 4],
    [6, 0],
  ]);
  expect(sequencer.nextDeadlineMs()).toBeUndefined();
});

test("a discontinuity waits only for streams that began earlier", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(0));
  sequencer.push(0, unit(0), 0);
  sequencer.begin(1, preamble(5, 5, true));
  sequencer.push(1, unit(5), 0);
  expect(sequences(sequencer, 0)).toEqual([0]);
  sequencer.end(0);
  expect(sequences(sequencer, 0)).toEqual([5]);
});

/** A late older group must not prolong the wait of what was there before it. */
test("a unit does not wait longer because an earlier one arrives", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  [0, 3, 5].forEach((first, stream) => {
    sequencer.begin(stream, preamble(first));
  });
  sequencer.push(0, unit(0), 0);
  expect(sequences(sequencer, 0)).toEqual([0]);
  sequencer.push(2, unit(5), 0);
  sequencer.push(1, unit(3), 150);
  expect(sequences(sequencer, 199)).toEqual([]);
  expect(sequencer.nextDeadlineMs()).toBe(200);
  expect(sequences(sequencer, 200)).toEqual([3, 5]);
});

/** The stream that continues a group does not overtake the one it continues. */
test("a continuation waits for the stream it continues", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(0));
  sequencer.push(0, unit(0), 0);
  sequencer.begin(1, preamble(0, 2, true));
  sequencer.push(1, unit(2), 0);
  expect(sequences(sequencer, 0)).toEqual([0]);
  sequencer.push(0, unit(1), 0);
  expect(sequences(sequencer, 0)).toEqual([1, 2]);
});

test("the very first unit waits for a stream that began earlier", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(10));
  sequencer.begin(1, preamble(20));
  sequencer.push(1, unit(20), 0);
  expect(sequences(sequencer, 0)).toEqual([]);
  sequencer.push(0, unit(10), 0);
  expect(sequencer.poll(0).map(({ missingUnits }) => missingUnits)).toEqual([0]);
});

test("units that come late, twice or on no open stream are dropped", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.push(0, unit(0), 0);
  sequencer.begin(0, preamble(0));
  for (const sequence of [3, 3, 2]) sequencer.push(0, unit(sequence), 0);
  // 2 and 3 are there; nobody has been given anything yet.
  expect(sequences(sequencer, 0)).toEqual([2, 3]);
  for (const sequence of [1, 3]) sequencer.push(0, unit(sequence), 0);
  sequencer.end(0);
  sequencer.push(0, unit(4), 0);
  expect(sequences(sequencer, 0)).toEqual([]);
  expect(sequencer.staleUnits).toBe(3);
});

test("no more bytes wait than the limit says", () => {
  const sequencer = new Sequencer<number>(LIMITS);
  sequencer.begin(0, preamble(0));
  sequencer.push(0, unit(0), 0);
  expect(sequences(sequencer, 0)).toEqual([0]);
  [10, 20, 30].forEach((first, i) => {
    sequencer.begin(i + 1, preamble(first));
    sequencer.push(i + 1, unit(first, { payload: new Uint8Array(600) }), 0);
  });
  expect(sequences(sequencer, 0)).toEqual([10]);
  expect(sequencer.heldBytes).toBe(2 * 646);
  // Just as many may.
  sequencer.begin(4, preamble(40));
  sequencer.push(4, unit(40, { payload: new Uint8Array(1_500 - 2 * 646 - HEADER_BYTES) }), 0);
  expect([sequences(sequencer, 0), sequencer.heldBytes]).toEqual([[], 1_500]);
});
