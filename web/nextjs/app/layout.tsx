import type { Metadata } from "next";
import Script from "next/script";
import type { ReactNode } from "react";
import "./style.css";

export const metadata: Metadata = { title: "Shop", description: "A Next.js site with ChatKit on Relaykit" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        {/* Before the page is interactive: the element is there when React first renders it. */}
        <Script src="https://cdn.platform.openai.com/deployments/chatkit/chatkit.js" strategy="beforeInteractive" />
        {children}
      </body>
    </html>
  );
}
