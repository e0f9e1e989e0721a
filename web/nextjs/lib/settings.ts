/** Of the server alone: nothing of it reaches the browser. Read at each use, so that one build serves everywhere. */
export const settings = {
  /** Relaykit's API, as this server reaches it. */
  get apiUrl(): string {
    return (process.env.RELAYKIT_URL ?? "http://127.0.0.1:8000").replace(/\/$/, "");
  },
  /** Whether the cookie travels over TLS alone; off only where the site itself has none. */
  get isCookieSecure(): boolean {
    return process.env.COOKIE_INSECURE !== "1";
  },
};
