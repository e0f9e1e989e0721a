const SCHEME = /^chatkit-link:\/\/([^?#]*)(?:\?([^#]*))?/i;

/** The detail of the event `chatkit.deeplink`. */
export interface Deeplink {
  readonly name: string;
  readonly data: Record<string, unknown>;
}

/** Reads `chatkit-link://name?key=value`; null for any other address. A repeated key holds a list. */
export function parseDeeplink(address: string): Deeplink | null {
  const [, host = "", query = ""] = SCHEME.exec(address.trim()) ?? [];
  const name = decoded(host.replace(/\/+$/, ""));
  if (!name) return null;
  const parameters = new URLSearchParams(query);
  const data = [...new Set(parameters.keys())].map((key) => {
    const values = parameters.getAll(key);
    return [key, values.length > 1 ? values : values[0]];
  });
  return { name, data: Object.fromEntries(data) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
