import { sessionUser } from "../lib/session";
import { Chat } from "./chat";
import { SignIn } from "./sign_in";

export default async function Page() {
  const user = await sessionUser();
  return (
    <main>
      <h1>Shop</h1>
      {user === null ? <SignIn /> : <Chat user={user} />}
    </main>
  );
}
