import { cookies } from "next/headers";
import { settings } from "./settings";

const NAME = "session";
const MAX_NAME_CHARS = 100;

/** The caller's token, from the cookie that JavaScript cannot read; null where nobody is signed in. */
export async function sessionToken(): Promise<string | null> {
  return (await cookies()).get(NAME)?.value ?? null;
}

/** Who is signed in, for the page to show. Unverified: the API looks at the token's signature, at each request. */
export async function sessionUser(): Promise<string | null> {
  const token = await sessionToken();
  const claims = token === null ? null : claimsOf(token);
  if (claims === null) return null;
  const isOver = typeof claims.exp === "number" && claims.exp * 1000 <= Date.now();
  return typeof claims.sub === "string" && !isOver ? claims.sub : null;
}

/** Null of a cookie that holds something else. */
function claimsOf(token: string): { readonly sub?: unknown; readonly exp?: unknown } | null {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  } catch {
    return null;
  }
}

/**
 * Signs in, and keeps the token in the cookie; false where the issuer refuses. Local mode's own issuer believes anyone:
 * a site puts the exchange with its identity provider here.
 */
export async function signIn(user: string): Promise<boolean> {
  const name = user.trim().slice(0, MAX_NAME_CHARS);
  if (name === "") return false;
  const response = await fetch(`${settings.apiUrl}/dev/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub: name, ttl_seconds: 3600 }),
    cache: "no-store",
  });
  if (!response.ok) return false;
  const { access_token, expires_in } = await response.json();
  (await cookies()).set(NAME, access_token, {
    httpOnly: true,
    secure: settings.isCookieSecure,
    sameSite: "lax",
    path: "/",
    maxAge: expires_in,
  });
  return true;
}

export async function signOut(): Promise<void> {
  (await cookies()).delete(NAME);
}
