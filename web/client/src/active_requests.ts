/** The requests and followed runs that are under way, each with the controller that ends it. */
export class ActiveRequests {
  readonly #controllers = new Set<AbortController>();

  /** Registers one request; aborting its controller ends and removes it. `outer` aborts it too, with its own reason. */
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

  /** Ends every request that is under way; later requests are not affected. */
  endAll(): void {
    const reason = new DOMException("Another user is signed in.", "AbortError");
    for (const controller of [...this.#controllers]) controller.abort(reason);
  }
}
