// A WebSocket with Node's ws. It knows of no proxy by itself: an agent that CONNECTs is given to it, as its README says.
const http = require("node:http"), https = require("node:https"), tls = require("node:tls");
const WebSocket = require("ws");

const url = new URL(process.argv[2]), key = process.env.TOOL_API_KEY;
const auth = JSON.stringify({ auth: key });
const proxy = new URL(process.env.https_proxy);

class ProxyAgent extends https.Agent {
  createConnection(options, done) {
    const authorization = "Basic " + Buffer.from(`${proxy.username}:${proxy.password}`).toString("base64");
    const path = `${options.host}:${options.port || 443}`;
    const connect = http.request({
      host: proxy.hostname, port: proxy.port, method: "CONNECT", path,
      headers: { Host: path, "Proxy-Authorization": authorization },
    });
    connect.on("error", done);
    connect.on("connect", (response, socket) => {
      if (response.statusCode !== 200) return done(new Error(`CONNECT: ${response.statusCode}`));
      done(null, tls.connect({ socket, servername: options.host, ALPNProtocols: ["http/1.1"] }));
    });
    connect.end();
  }
}

async function main() {
  const headers = { Authorization: `Bearer ${key}` };
  const socket = new WebSocket(url, { headers, agent: new ProxyAgent() });
  await new Promise((open, fail) => { socket.once("open", open); socket.once("error", fail); });
  const next = (event) => new Promise((done) => socket.once(event, (...args) => done(args)));
  const echo = async (...pieces) => {
    const answer = next("message");
    pieces.forEach((piece, i) => socket.send(piece, { fin: i === pieces.length - 1 }));
    return (await answer)[0];
  };
  const got = {
    auth: String(await echo(auth)),
    fragments: String(await echo(auth.slice(0, 12), auth.slice(12, 15), auth.slice(15))),
    binary: (await echo(Buffer.alloc(3_000_000, 0xff))).length,
    long: (await echo("x".repeat(2_000_000))).length,
  };
  const pong = next("pong");
  socket.ping("are you there?");
  got.pong = String((await pong)[0]) === "are you there?";
  const closed = next("close");
  socket.close(4001, "that was all");
  const [code, reason] = await closed;
  console.log(JSON.stringify({ ...got, closed: [code, String(reason)] }));
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
