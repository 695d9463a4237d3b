// 50 requests on one connection, then 20 at once, with undici: the second argument says which version. Prints how many were answered.
const undici = require("undici");

const [base, version] = process.argv.slice(2);
const allowH2 = version === "h2";
// what is offered inside the tunnel is an option of its own
const dispatcher = new undici.EnvHttpProxyAgent({ allowH2, requestTls: { allowH2 } });
const headers = { Authorization: `Bearer ${process.env.TOOL_API_KEY}` };

async function ask(n) {
  const response = await undici.fetch(`${base}/${n}`, { headers, dispatcher });
  await response.arrayBuffer();
  return response.ok ? 1 : 0;
}

async function main() {
  let answered = 0;
  for (let n = 0; n < 50; n++) answered += await ask(n);
  const rest = await Promise.all(Array.from({ length: 20 }, (_, n) => ask(50 + n)));
  console.log(rest.reduce((sum, one) => sum + one, answered));
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
