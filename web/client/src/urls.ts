/** The addresses of the API, and the origins that may see its credentials. */
export class Urls {
  readonly chatkit: URL;
  readonly #directory: URL;
  readonly #trusted: ReadonlySet<string>;

  /** Raises TypeError for an invalid URL, and for a relative one where there is no page. */
  constructor(chatkit: string, base: string | undefined, trustedOrigins: readonly string[]) {
    this.chatkit = absolute(chatkit);
    const directory =
      base === undefined ? new URL(".", this.chatkit) : absolute(base.endsWith("/") ? base : `${base}/`);
    this.#directory = directory;
    this.#trusted = new Set([
      this.chatkit.origin,
      directory.origin,
      ...trustedOrigins.map((each) => new URL(each).origin),
    ]);
  }

  /** The address of an endpoint beside the ChatKit one. */
  beside(path: string): string {
    return new URL(path, this.#directory).href;
  }

  isChatKit(url: URL): boolean {
    return url.origin === this.chatkit.origin && url.pathname === this.chatkit.pathname;
  }

  /** Whether the site's credentials may be sent to the URL. */
  isTrusted(url: URL): boolean {
    return this.#trusted.has(url.origin);
  }
}

export function absolute(url: string): URL {
  return new URL(url, typeof location === "undefined" ? undefined : location.href);
}
