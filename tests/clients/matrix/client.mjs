// The steps of ../README.md with fetch, as Deno and Bun have it.
import { createHash } from "node:crypto";
import process from "node:process";

const base = process.argv[2], key = process.env.TOOL_API_KEY, text = `use ${key} here`;

async function answer(method, path, options = {}) {
  const response = await fetch(base + path, { method, ...options });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}
const body = async (...args) => (await answer(...args)).json();
const basic = btoa(`user:${key}`);
const download = new Uint8Array(await (await answer("GET", "/blob?n=3000000")).arrayBuffer());
const fields = { key, text };
console.log(JSON.stringify({
  header: await body("GET", "/header", { headers: { Authorization: `Bearer ${key}` } }),
  basic: await body("GET", "/basic", { headers: { Authorization: `Basic ${basic}` } }),
  json: await body("POST", "/json", { headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) }),
  form: await body("POST", "/form", { body: new URLSearchParams(fields) }),
  stream: await body("GET", "/chunked"),
  download: createHash("sha256").update(download).digest("hex"),
  upload: await body("PUT", "/upload", { body: new TextEncoder().encode("0123456789".repeat(300_000)) }),
}));
