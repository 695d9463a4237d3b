// The steps of README.md with Node's fetch. Before version 24 it knows of no proxy, so there undici's own agent leads it.
const { createHash } = require("node:crypto");

const base = process.argv[2], key = process.env.TOOL_API_KEY, text = `use ${key} here`;
const knowsProxies = Number(process.versions.node.split(".")[0]) >= 24;
const undici = require("undici");
const call = knowsProxies ? fetch : undici.fetch;
const http2 = process.argv[3] === "h2";
const dispatcher = knowsProxies && !http2 ? undefined : new undici.EnvHttpProxyAgent({ allowH2: http2 });

async function answer(method, path, options = {}) {
  const response = await call(base + path, { method, dispatcher, ...options });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}
const body = async (...args) => (await answer(...args)).json();

async function pieces(response) {
  const decoder = new TextDecoder();
  let out = "";
  for await (const piece of response.body) out += decoder.decode(piece, { stream: true });
  return out;
}

async function main() {
  const basic = Buffer.from(`user:${key}`).toString("base64");
  const download = await (await answer("GET", "/blob?n=3000000")).arrayBuffer();
  const fields = { key, text };
  console.log(JSON.stringify({
    header: await body("GET", "/header", { headers: { Authorization: `Bearer ${key}` } }),
    basic: await body("GET", "/basic", { headers: { Authorization: `Basic ${basic}` } }),
    json: await body("POST", "/json", { headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) }),
    form: await body("POST", "/form", { body: new URLSearchParams(fields) }),
    stream: JSON.parse(await pieces(await answer("GET", "/chunked"))),
    download: createHash("sha256").update(Buffer.from(download)).digest("hex"),
    upload: await body("PUT", "/upload", { body: Buffer.from("0123456789".repeat(300_000)) }),
  }));
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
