/** The signed-in user. The page remembers the name and never a token. */

const STORAGE_KEY = "relaykit.identity";
const TTL_SECONDS = 600;

export class Session {
  identity = null;

  /** The identity of the last visit, or null. */
  static remembered() {
    try {
      const identity = JSON.parse(localStorage.getItem(STORAGE_KEY));
      return identity?.sub ? identity : null;
    } catch {
      return null;
    }
  }

  /** @param {{sub: string, tenant: string|null}} identity */
  async signIn(identity) {
    this.identity = identity;
    await this.token();
    localStorage.setItem(STORAGE_KEY, JSON.stringify(identity));
  }

  signOut() {
    this.identity = null;
    localStorage.removeItem(STORAGE_KEY);
  }

  /** Asks local mode's issuer for a new token. */
  async token() {
    const response = await fetch("/dev/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...this.identity, ttl_seconds: TTL_SECONDS }),
    });
    if (!response.ok) throw new Error(`Signing in failed (${response.status}).`);
    return (await response.json()).access_token;
  }
}
