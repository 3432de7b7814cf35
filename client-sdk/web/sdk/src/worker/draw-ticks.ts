/** When to draw: once per picture of the screen, and now and then while the page is hidden. */

/** Without a picture of the screen for so long, there are none: the page is hidden. */
const HIDDEN_TICK_MS = 200;

/** Draws. `hidden`: nobody sees it, but time goes on. */
export type Draw = (hidden: boolean) => void;

/** Shared by everything in a worker that draws. */
export class DrawTicks {
  readonly #wanted = new Set<Draw>();
  #frame: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timersInARow = 0;

  /** Calls `draw` once, soon. */
  request(draw: Draw): void {
    this.#wanted.add(draw);
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timersInARow++;
      this.#run();
    }, HIDDEN_TICK_MS);
    this.#frame = requestAnimationFrame(() => {
      this.#timersInARow = 0;
      this.#run();
    });
  }

  /** Takes a request back. */
  cancel(draw: Draw): void {
    this.#wanted.delete(draw);
    if (this.#wanted.size === 0) this.#disarm();
  }

  #run(): void {
    this.#disarm();
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    // One late picture is a busy machine.
    for (const draw of wanted) draw(this.#timersInARow > 1);
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
