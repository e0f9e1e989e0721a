/**
 * Returns the site's bearer token, or null where no user is signed in. `refused` is the token that the server has just
 * refused: the site must then make another one. A rejection counts as a failure of the network and is tried again.
 */
export type GetToken = (request: { readonly refused: string | null }) => Promise<string | null> | string | null;

const MAX_MARGIN_MS = 30_000;
const MARGIN_SHARE = 0.1;

/**
 * The current token. A JWT is kept until shortly before its `exp`. A token of another kind is asked for each time,
 * because its end is not visible. Concurrent callers share one call of `getToken`.
 */
export class Tokens {
  #token: string | null = null;
  #renewAtMs = 0;
  #asking: Promise<string | null> | null = null;
  #askedAfter: string | null = null;

  /** @param timeoutMs bounds one call of `getToken`; a longer one has failed */
  constructor(
    private readonly getToken: GetToken,
    private readonly timeoutMs: number = 30_000,
    private readonly now: () => number = Date.now,
  ) {}

  async current(): Promise<string | null> {
    return this.#kept ?? (await (this.#asking ?? this.#ask(null)));
  }

  /** A token other than `refused`, which the server answered with 401. */
  async after(refused: string | null): Promise<string | null> {
    const kept = this.#kept;
    if (kept !== null && kept !== refused) return kept;
    if (this.#asking === null) return await this.#ask(refused);
    if (this.#askedAfter === refused) return await this.#asking;
    // The call that is under way began without the news of the refusal, and may return the same token.
    const shared = await this.#asking;
    return shared === refused ? await this.after(refused) : shared;
  }

  /** Drops the token, because another user signs in. */
  forget(): void {
    this.#token = null;
    this.#asking = null;
  }

  get #kept(): string | null {
    return this.now() < this.#renewAtMs ? this.#token : null;
  }

  #ask(refused: string | null): Promise<string | null> {
    const asking: Promise<string | null> = this.#answer(refused)
      .then((token) => {
        if (this.#asking === asking) this.#keep(token);
        return token;
      })
      .finally(() => {
        if (this.#asking === asking) this.#asking = null;
      });
    this.#asking = asking;
    this.#askedAfter = refused;
    return asking;
  }

  async #answer(refused: string | null): Promise<string | null> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("getToken took too long")), this.timeoutMs);
    });
    try {
      return await Promise.race([this.getToken({ refused }), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #keep(token: string | null): void {
    const endsAtMs = token === null ? null : expiry(token);
    this.#token = endsAtMs === null ? null : token;
    if (endsAtMs === null) return;
    const margin = Math.min(MAX_MARGIN_MS, Math.max(0, endsAtMs - this.now()) * MARGIN_SHARE);
    this.#renewAtMs = endsAtMs - margin;
  }
}

/** `exp` of a JWT in ms, unverified; null for a JWT without it and for a token of another kind (RFC 7519, 4.1.4). */
export function expiry(token: string): number | null {
  const [, payload, signature] = token.split(".");
  if (payload === undefined || signature === undefined) return null;
  try {
    const claims: unknown = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    const exp = (claims as { exp?: unknown } | null)?.exp;
    return typeof exp === "number" && Number.isFinite(exp) ? exp * 1000 : null;
  } catch {
    return null;
  }
}
