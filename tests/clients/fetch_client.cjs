// The steps of README.md with Node's own fetch; with `h2` as the second argument with undici's, which speaks HTTP/2 too.
const { createHash } = require("node:crypto");

const base = process.argv[2], key = process.env.TOOL_API_KEY, text = `use ${key} here`;
const http2 = process.argv[3] === "h2";
const call = http2 ? require("undici").fetch : fetch;
const dispatcher = http2 ? new (require("undici").EnvHttpProxyAgent)({ allowH2: true }) : undefined;

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
