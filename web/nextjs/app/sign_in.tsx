"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";

export function SignIn() {
  const router = useRouter();
  const [hasFailed, setHasFailed] = useState(false);
  const signIn = async (data: FormData) => {
    const body = JSON.stringify({ user: data.get("name") });
    const response = await fetch("/api/session", { method: "POST", body });
    setHasFailed(!response.ok);
    if (response.ok) router.refresh();
  };
  return (
    <form className="bar" action={signIn}>
      <label>
        Your name <input name="name" required />
      </label>
      <button type="submit">Sign in</button>
      {hasFailed && <p role="alert">That did not work. Try again.</p>}
    </form>
  );
}
