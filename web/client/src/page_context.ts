/** A summary of the page that the user is looking at. */
export interface PageContext {
  readonly url: string;
  readonly title: string;
  readonly path: string;
  readonly description: string;
  /** The headings of the main content, in order. */
  readonly headings: readonly string[];
}

const MAX_URL_CHARS = 2_000;
const MAX_TEXT_CHARS = 300;
const MAX_HEADINGS = 5;

export interface PageContextOptions {
  /** The parameters of the URL's query to keep, by name, or all of them. Default: none. */
  readonly query?: readonly string[] | true;
}

/**
 * The summary of the page, bounded in size; null where there is no page. The URL has no query, fragment, user name or
 * password, because secrets travel there and the server stores the metadata.
 */
export function pageContext({ query = [] }: PageContextOptions = {}): PageContext | null {
  if (typeof document === "undefined" || typeof location === "undefined") return null;
  const url = new URL(location.href);
  url.hash = url.username = url.password = "";
  if (query !== true) {
    for (const name of new Set(url.searchParams.keys())) if (!query.includes(name)) url.searchParams.delete(name);
  }
  const main = document.querySelector("main, [role=main]") ?? document.querySelector("article") ?? document.body;
  const headings = [...(main?.querySelectorAll("h1, h2, h3") ?? [])].map((heading) => short(heading.textContent));
  return {
    url: url.href.slice(0, MAX_URL_CHARS),
    title: short(document.title),
    path: url.pathname.slice(0, MAX_URL_CHARS),
    description: short(document.querySelector('meta[name="description"]')?.getAttribute("content")),
    headings: headings.filter((heading) => heading !== "").slice(0, MAX_HEADINGS),
  };
}

function short(text: string | null | undefined): string {
  return [...(text ?? "").replace(/\s+/g, " ").trim()].slice(0, MAX_TEXT_CHARS).join("");
}
