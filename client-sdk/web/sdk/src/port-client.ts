/** The window's end of the worker. */

import { errorFromData, MeetingError } from "./error.js";
import type { Answer, CallName, FromWorker, Parameter, ToWorker } from "./worker/port.js";

interface Waiter {
  readonly resolve: (value: never) => void;
  readonly reject: (error: MeetingError) => void;
}

/** What is told, and not an answer. */
export type Told = Exclude<FromWorker, { readonly type: "answer" | "failed" }>;

export class WorkerPort {
  readonly #worker: Worker;
  readonly #waiters = new Map<number, Waiter>();
  #lastId = 0;
  #closed = false;
  #broken: MeetingError | undefined;

  /** `onTold` hears everything that is no answer; `onBroken`, that the worker could not be loaded. */
  constructor(onTold: (told: Told) => void, onBroken: (error: MeetingError) => void) {
    try {
      this.#worker = new Worker(new URL("./worker.js", import.meta.url), {
        type: "module",
        name: "darktower",
      });
    } catch (cause) {
      throw new MeetingError("unsupported", "worker.js must come from the origin of the page", {
        code: "Worker",
        cause,
      });
    }
    let isLoaded = false;
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      isLoaded = true;
      if (data.type !== "answer" && data.type !== "failed") {
        onTold(data);
        return;
      }
      const waiter = this.#waiters.get(data.id);
      this.#waiters.delete(data.id);
      if (data.type === "answer") waiter?.resolve(data.value as never);
      else waiter?.reject(errorFromData(data.error));
    };
    this.#worker.onerror = (event) => {
      // The browser has reported it. A worker that runs goes on; one that could not be loaded answers nothing.
      if (isLoaded) return;
      const error = new MeetingError("protocol", `worker.js could not be loaded: ${event.message}`);
      this.#broken = error;
      onBroken(error);
      this.#rejectAll(error);
    };
  }

  call<K extends CallName>(
    name: K,
    parameter: Parameter<K>,
    transfer: Transferable[] = [],
  ): Promise<Answer<K>> {
    if (this.#closed)
      return Promise.reject(new MeetingError("closed", "the session is over", { code: "NO_ERROR" }));
    if (this.#broken) return Promise.reject(this.#broken);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<Answer<K>>((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      this.tell({ type: "call", id, name, parameter }, transfer);
    });
  }

  tell(message: ToWorker, transfer: Transferable[] = []): void {
    if (!this.#closed) this.#worker.postMessage(message, transfer);
  }

  /** Ends the worker; what waits is rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#worker.terminate();
    this.#rejectAll(new MeetingError("closed", "the session is over", { code: "NO_ERROR" }));
  }

  #rejectAll(error: MeetingError): void {
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
  }
}
