/** When to draw: once per picture of the screen, and now and then while the page is hidden. */

const HIDDEN_TICK_MS = 200;
/** So many of these times without a picture of the screen: the page is hidden. Fewer, and the machine is busy. */
const HIDDEN_AFTER_TICKS = 2;

/** Draws. `hidden`: nobody sees it, but time goes on. */
export type Draw = (hidden: boolean) => void;

/** Shared by everything in a worker that draws. */
export class DrawTicks {
  readonly #wanted = new Set<Draw>();
  #frame: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ticksWithout = 0;

  /** Calls `draw` once, soon. */
  request(draw: Draw): void {
    this.#wanted.add(draw);
    if (this.#timer !== undefined) return;
    this.#frame = requestAnimationFrame(() => {
      this.#ticksWithout = 0;
      this.#run();
    });
    this.#startTimer();
  }

  /** Takes a request back. */
  cancel(draw: Draw): void {
    this.#wanted.delete(draw);
    if (this.#wanted.size === 0) this.#disarm();
  }

  #startTimer(): void {
    this.#timer = setTimeout(() => {
      this.#ticksWithout++;
      if (this.#ticksWithout < HIDDEN_AFTER_TICKS) this.#startTimer();
      else this.#run();
    }, HIDDEN_TICK_MS);
  }

  #run(): void {
    this.#disarm();
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    for (const draw of wanted) draw(this.#ticksWithout > 0);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#timer = undefined;
    this.#frame = undefined;
  }
}

/** Of this worker. */
export const drawTicks = new DrawTicks();
