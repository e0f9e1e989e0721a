/** Signs in with local mode's own issuer. A site asks its identity provider here. */
export async function fetchToken(user: string): Promise<string> {
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub: user }),
  });
  if (!response.ok) throw new Error(`the issuer answered ${response.status}`);
  return (await response.json()).access_token;
}
