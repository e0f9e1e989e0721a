import { useState } from "react";
import { Chat } from "./chat.js";

export function App() {
  const [user, setUser] = useState(() => sessionStorage.getItem("user"));
  const signIn = (name: string | null) => {
    if (name === null) sessionStorage.removeItem("user");
    else sessionStorage.setItem("user", name);
    setUser(name);
  };
  return (
    <main>
      <h1>Shop</h1>
      {user === null ? <SignIn onName={signIn} /> : <Chat user={user} onSignOut={() => signIn(null)} />}
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
