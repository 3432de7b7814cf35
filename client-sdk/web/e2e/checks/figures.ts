/** Figures of measurements. */

/** The value that so many percent of all do not exceed (nearest rank). */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
  if (value === undefined) throw new Error("no value was measured");
  return value;
}

/** Prints a measurement as one line of JSON; figures with so many digits as mean something. */
export function report(name: string, figures: Readonly<Record<string, number | string | boolean>>): void {
  const rounded = Object.entries(figures).map(([key, value]) => [
    key,
    typeof value === "number" ? Math.round(value * 10) / 10 : value,
  ]);
  console.log(JSON.stringify({ measure: name, ...Object.fromEntries(rounded) }));
}
