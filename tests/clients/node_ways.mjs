// Ways in which Node's programs speak HTTP that know of no proxy by themselves, each with the key in a header: GET /ways/NAME.
// Prints what came of each; then what a port that may not be reached says, and whether localhost was asked past the proxy.
import { execFileSync } from "node:child_process";
import http2 from "node:http2";
import https, { get } from "node:https";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";

const [base, direct] = process.argv.slice(2), { host } = new URL(base);
const headers = { authorization: `Bearer ${process.env.TOOL_API_KEY}` };
const path = (name) => `${base}/ways/${name}`;

const asked = (request) => new Promise((done, fail) => {
  request.on("error", fail).on("response", (response) => response.resume().on("end", () => done(response.statusCode)));
});
const elsewhere = (name) =>
  `fetch("${path(name)}", { headers: { authorization: "Bearer " + process.env.TOOL_API_KEY } }).then((r) => `;

const ways = {
  fetch: async () => (await fetch(path("fetch"), { headers })).status,
  plain: async () => (await fetch(`http://${host}/ways/plain`)).status,
  agent: () => asked(https.get(path("agent"), { headers, agent: new https.Agent({ keepAlive: true }) })),
  named: () => asked(get(path("named"), { headers })),
  http2: () => new Promise((done, fail) => {
    const session = http2.connect(base).on("error", fail);
    const stream = session.request({ ":path": "/ways/http2", ...headers }).on("error", fail);
    stream.on("response", (answer) => done(answer[":status"])).resume().on("end", () => session.close());
  }),
  worker: () => new Promise((done, fail) => {
    const code = `${elsewhere("worker")}require("node:worker_threads").parentPort.postMessage(r.status))`;
    new Worker(code, { eval: true }).once("message", done).once("error", fail);
  }),
  child: async () => Number(execFileSync(process.execPath, ["-e", `${elsewhere("child")}console.log(r.status))`])),
  undici: async () => {
    const { Agent, request } = createRequire(import.meta.url)("undici");
    const answer = await request(path("undici"), { headers, dispatcher: new Agent({ connect: { timeout: 60_000 } }) });
    await answer.body.dump();
    return answer.statusCode;
  },
};
// the undici of these tests wants a newer one
if (parseInt(process.versions.node) < 20) delete ways.undici;

const got = {};
for (const [name, way] of Object.entries(ways)) got[name] = await way();
const reasons = (error) => [error.message, error.cause?.message, error.cause?.code].join(" ");
got.refused = await asked(https.get(`${base}:444/`, { agent: new https.Agent() })).catch(reasons);
got.direct = await fetch(direct).then((r) => r.status, reasons);
got.options = process.noDeprecation === true;
console.log(JSON.stringify(got));
