import { cookies } from "next/headers";
import { settings } from "./settings";

const MAX_NAME_CHARS = 100;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/**
 * The name of the cookie. Over TLS a browser accepts a cookie with this prefix only from this host, so no other page
 * can plant it.
 */
const cookieName = (): string => (settings.isCookieSecure ? "__Host-session" : "session");

const attributes = () => ({ httpOnly: true, secure: settings.isCookieSecure, sameSite: "lax", path: "/" }) as const;

/**
 * The caller's token, from the cookie that JavaScript cannot read; null where no user is signed in. A cookie with
 * another value than a token, such as one with a line break, is no session.
 */
export async function sessionToken(): Promise<string | null> {
  const value = (await cookies()).get(cookieName())?.value ?? "";
  return JWT.test(value) ? value : null;
}

/** The signed-in user, for the page to show. It is unverified, because the API verifies the token at each request. */
export async function sessionUser(): Promise<string | null> {
  const token = await sessionToken();
  const claims = token === null ? null : claimsOf(token);
  if (claims === null) return null;
  const isOver = typeof claims.exp === "number" && claims.exp * 1000 <= Date.now();
  return typeof claims.sub === "string" && !isOver ? claims.sub : null;
}

/** The claims of a token; null for another value. */
function claimsOf(token: string): { readonly sub?: unknown; readonly exp?: unknown } | null {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  } catch {
    return null;
  }
}

/**
 * Signs in and keeps the token in the cookie; false where the issuer refuses. Local mode's own issuer accepts every
 * name: a site puts the exchange with its identity provider here.
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
  (await cookies()).set(cookieName(), access_token, { ...attributes(), maxAge: expires_in });
  return true;
}

/**
 * Removes the token from the browser. A copy of the token stays valid until its end, so a site whose identity provider
 * can revoke tokens does it here.
 */
export async function signOut(): Promise<void> {
  // The attributes are those of signing in, because without `Secure` a browser takes it for another cookie.
  (await cookies()).set(cookieName(), "", { ...attributes(), maxAge: 0 });
}
