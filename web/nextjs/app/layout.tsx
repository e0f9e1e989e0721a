import type { Metadata } from "next";
import Script from "next/script";
import type { ReactNode } from "react";
import "./style.css";

const STOCK_SCRIPT = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js";
/** Whether the chat is OpenAI's element. `chat.tsx` loads Relaykit's otherwise. */
const isStock = process.env.NEXT_PUBLIC_CHAT_ELEMENT !== "relaykit";

export const metadata: Metadata = { title: "Shop", description: "A Next.js site with ChatKit on Relaykit" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        {/* Before the page is interactive: the element is there when React first renders it. */}
        {isStock && <Script src={STOCK_SCRIPT} strategy="beforeInteractive" />}
        {children}
      </body>
    </html>
  );
}
