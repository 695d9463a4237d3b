// A WebSocket with Node's ws, which knows of no proxy: what `locum run` has Node load leads it.
const WebSocket = require("ws");

const url = new URL(process.argv[2]), key = process.env.TOOL_API_KEY;
const auth = JSON.stringify({ auth: key });

async function main() {
  const headers = { Authorization: `Bearer ${key}` };
  const socket = new WebSocket(url, { headers });
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
