/** What is under way, so that all of it can be ended at once. */
export class Live {
  readonly #controllers = new Set<AbortController>();

  /** For one piece of work, until it is aborted. `outer` aborts it too, with its own reason. */
  open(outer: AbortSignal | null = null): AbortController {
    const controller = new AbortController();
    this.#controllers.add(controller);
    const onAbort = () => controller.abort(outer?.reason);
    controller.signal.addEventListener("abort", () => {
      this.#controllers.delete(controller);
      outer?.removeEventListener("abort", onAbort);
    });
    if (outer?.aborted) onAbort();
    else outer?.addEventListener("abort", onAbort);
    return controller;
  }

  /** Ends all that is under way; what comes later is not touched. */
  endAll(): void {
    const reason = new DOMException("Another user is signed in.", "AbortError");
    for (const controller of [...this.#controllers]) controller.abort(reason);
  }
}
