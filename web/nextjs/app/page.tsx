import { sessionUser } from "../lib/session";
import { Shop } from "./shop";

export default async function Page() {
  const user = await sessionUser();
  return (
    <main>
      <h1>Shop</h1>
      <Shop user={user} />
    </main>
  );
}
