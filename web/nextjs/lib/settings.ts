/**
 * The settings of the server, which never reach the browser. They are read at each use, so that one build serves
 * everywhere.
 */
export const settings = {
  /** The address of Relaykit's API for this server. */
  get apiUrl(): string {
    return (process.env.RELAYKIT_URL ?? "http://127.0.0.1:8000").replace(/\/$/, "");
  },
  /** Whether the cookie travels only over TLS. It is off only for a site without TLS. */
  get isCookieSecure(): boolean {
    return process.env.COOKIE_INSECURE !== "1";
  },
};
