// The steps of README.md with axios, or the version of it that is named, which finds the proxy in the environment by itself.
const { createHash } = require("node:crypto");
const axios = require(process.argv[3] ?? "axios");

const base = process.argv[2], key = process.env.TOOL_API_KEY, text = `use ${key} here`;
const fields = { key, text };
const client = axios.create({ baseURL: base, timeout: 60_000, maxBodyLength: Infinity });
const body = async (config) => (await client.request(config)).data;

async function streamed(url) {
  let out = "";
  for await (const piece of await body({ url, responseType: "stream" })) out += piece;
  return JSON.parse(out);
}

async function main() {
  const download = await body({ url: "/blob?n=3000000", responseType: "arraybuffer" });
  console.log(JSON.stringify({
    header: await body({ url: "/header", headers: { Authorization: `Bearer ${key}` } }),
    basic: await body({ url: "/basic", auth: { username: "user", password: key } }),
    json: await body({ method: "post", url: "/json", data: fields }),
    form: await body({ method: "post", url: "/form", data: new URLSearchParams(fields) }),
    stream: await streamed("/chunked"),
    download: createHash("sha256").update(Buffer.from(download)).digest("hex"),
    upload: await body({ method: "put", url: "/upload", data: Buffer.from("0123456789".repeat(300_000)) }),
  }));
}

main().catch((e) => { console.error(e.message); process.exitCode = 1; });
