import { useChatKitReady } from "@relaykit/react";
import { useState } from "react";
import { Chat } from "./chat.js";

export function App() {
  // From the page's beginning, because a script that fails before the sign-in cannot always be told from one that loads.
  const script = useChatKitReady();
  const [user, setUser] = useState(() => sessionStorage.getItem("user"));
  const signIn = (name: string | null) => {
    if (name === null) sessionStorage.removeItem("user");
    else sessionStorage.setItem("user", name);
    setUser(name);
  };
  return (
    <main>
      <h1>Shop</h1>
      {user === null ? <SignIn onName={signIn} /> : <Chat user={user} script={script} onSignOut={() => signIn(null)} />}
    </main>
  );
}

function SignIn({ onName }: { onName: (name: string) => void }) {
  return (
    <form className="bar" action={(data) => onName(String(data.get("name")))}>
      <label>
        Your name <input name="name" required />
      </label>
      <button type="submit">Sign in</button>
    </form>
  );
}
