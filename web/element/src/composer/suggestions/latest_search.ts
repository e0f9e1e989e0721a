/** Searches of which only the latest counts: a late answer to an earlier search is dropped. */
export class LatestSearch<Found> {
  #turn = 0;
  #isAsking = false;

  /** @param answered called with the result of the latest search @param failed called with its error */
  constructor(
    private readonly answered: (found: Found) => void,
    private readonly failed: (error: unknown) => void,
  ) {}

  get isAsking(): boolean {
    return this.#isAsking;
  }

  /** @param afterMs the search begins after this time without another one */
  async ask(search: () => Promise<Found>, afterMs = 0): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    this.#isAsking = true;
    if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
    if (turn !== this.#turn) return;
    try {
      const found = await search();
      if (turn !== this.#turn) return;
      this.#isAsking = false;
      this.answered(found);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#isAsking = false;
      this.failed(error);
    }
  }

  /** Drops the search that is under way. */
  drop(): void {
    this.#turn += 1;
    this.#isAsking = false;
  }
}
