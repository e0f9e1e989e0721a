/** Who is signed in, and a token that is always fresh enough. The name is remembered; the token never is. */

const STORAGE_KEY = "relaykit.identity";
const TTL_SECONDS = 600;
/** A token is renewed once less than this share of its life is left. */
const RENEW_SHARE = 0.25;

export class Session {
  #token = null;
  #renewAtMs = 0;
  #renewing = null;

  constructor() {
    this.identity = null;
  }

  /** The identity of the last visit, or null. */
  static remembered() {
    try {
      const identity = JSON.parse(localStorage.getItem(STORAGE_KEY));
      return identity?.sub ? identity : null;
    } catch {
      return null;
    }
  }

  /** A key that no other user of this browser shares. */
  get owner() {
    return JSON.stringify([this.identity?.tenant ?? null, this.identity?.sub ?? null]);
  }

  /** @param {{sub: string, tenant: string|null}} identity */
  async signIn(identity) {
    this.identity = identity;
    await this.renew();
    localStorage.setItem(STORAGE_KEY, JSON.stringify(identity));
  }

  signOut() {
    this.identity = null;
    this.#token = null;
    localStorage.removeItem(STORAGE_KEY);
  }

  /** A token with life left in it; renewed first where needed. */
  async token() {
    if (!this.#token || Date.now() >= this.#renewAtMs) await this.renew();
    return this.#token;
  }

  /** Fetches a new token; callers at the same time share one request. */
  renew() {
    this.#renewing ??= this.#fetchToken().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #fetchToken() {
    const response = await fetch("/dev/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...this.identity, ttl_seconds: TTL_SECONDS }),
    });
    if (!response.ok) throw new Error(`Signing in failed (${response.status}).`);
    const answer = await response.json();
    this.#token = answer.access_token;
    this.#renewAtMs = Date.now() + answer.expires_in * 1000 * (1 - RENEW_SHARE);
  }
}
