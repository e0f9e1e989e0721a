/**
 * Gives the site's bearer token, or null where nobody is signed in. `refused` is the one that the server did not take,
 * so that another must be made. A rejection counts as a failure of the network and is tried again.
 */
export type GetToken = (asked: { readonly refused: string | null }) => Promise<string | null> | string | null;

const MAX_MARGIN_MS = 30_000;
const MARGIN_SHARE = 0.1;

/**
 * The token of now. A JWT is kept until shortly before its `exp`; whatever else the site uses is asked for each time,
 * for its end cannot be seen. Callers at the same time share one question.
 */
export class Tokens {
  #token: string | null = null;
  #renewAtMs = 0;
  #asking: Promise<string | null> | null = null;

  constructor(
    private readonly getToken: GetToken,
    private readonly now: () => number = Date.now,
  ) {}

  current(): Promise<string | null> {
    if (this.#token !== null && this.now() < this.#renewAtMs) return Promise.resolve(this.#token);
    return this.#ask(null);
  }

  /** Another one than `refused`, which the server answered with 401. */
  after(refused: string | null): Promise<string | null> {
    if (this.#token !== refused && this.#token !== null && this.now() < this.#renewAtMs) {
      return Promise.resolve(this.#token);
    }
    return this.#ask(refused);
  }

  /** Somebody else signs in. */
  forget(): void {
    this.#token = null;
    this.#asking = null;
  }

  #ask(refused: string | null): Promise<string | null> {
    if (this.#asking !== null) return this.#asking;
    const asking = (async () => await this.getToken({ refused }))()
      .then((token) => {
        if (this.#asking === asking) this.#keep(token);
        return token;
      })
      .finally(() => {
        if (this.#asking === asking) this.#asking = null;
      });
    this.#asking = asking;
    return asking;
  }

  #keep(token: string | null): void {
    const endsAtMs = token === null ? null : expiry(token);
    this.#token = endsAtMs === null ? null : token;
    if (endsAtMs === null) return;
    const margin = Math.min(MAX_MARGIN_MS, Math.max(0, endsAtMs - this.now()) * MARGIN_SHARE);
    this.#renewAtMs = endsAtMs - margin;
  }
}

/** `exp` of a JWT in ms, unverified; null where it has none or is none (RFC 7519, 4.1.4). */
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
