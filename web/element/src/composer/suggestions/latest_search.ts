/** Searches of which only the latest counts: a late answer to an earlier one never takes its place. */
export class LatestSearch<Found> {
  #turn = 0;
  #isAsking = false;

  /** @param answered what the latest search found @param failed why it found nothing */
  constructor(
    private readonly answered: (found: Found) => void,
    private readonly failed: (error: unknown) => void,
  ) {}

  get isAsking(): boolean {
    return this.#isAsking;
  }

  /** @param afterMs how long it is waited for another one before this one begins */
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

  /** What is still being searched for is not wanted any more. */
  drop(): void {
    this.#turn += 1;
    this.#isAsking = false;
  }
}
