// gRPC with @grpc/grpc-js: each kind of call, an error of the server's, and what the proxy refuses. A message is one protobuf string.
const grpc = require("@grpc/grpc-js");

const key = process.env.TOOL_API_KEY;
const same = (bytes) => bytes;
const text = (bytes) => bytes.toString("latin1");
const message = (t) => Buffer.concat([Buffer.from([10, t.length]), Buffer.from(t)]);
const client = (host) => new grpc.Client(`${host}:443`, grpc.credentials.createSsl());
const withKey = () => { const m = new grpc.Metadata(); m.set("authorization", `Bearer ${key}`); return m; };
const path = (name) => `/test.Echo/${name}`;
const options = () => ({ deadline: Date.now() + 60_000 });

function unary(to, name, bytes, metadata) {
  return new Promise((done) => {
    let trailers = {};
    const call = to.makeUnaryRequest(path(name), same, same, bytes, metadata, options(), (error, reply) => done({ error, reply, trailers: () => trailers }));
    call.on("status", (status) => { trailers = status.metadata.getMap(); });
  });
}

async function refusal(to, name, metadata) {
  const { error } = await unary(to, name, message("x"), metadata);
  return error && [grpc.status[error.code], error.details, error.metadata.getMap()];
}

async function main() {
  const tool = client("api.tool.example");
  const one = await unary(tool, "Unary", message(key), withKey());
  if (one.error) throw one.error;
  await new Promise((later) => setImmediate(later));
  const streamed = [];
  for await (const piece of tool.makeServerStreamRequest(path("ServerStream"), same, same, message(key), withKey(), options())) streamed.push(text(piece));
  const collected = await new Promise((done, fail) => {
    const call = tool.makeClientStreamRequest(path("ClientStream"), same, same, withKey(), options(), (error, reply) => error ? fail(error) : done(text(reply)));
    for (const t of ["one", "two", key]) call.write(message(t));
    call.end();
  });
  const talked = [];
  const both = tool.makeBidiStreamRequest(path("Both"), same, same, withKey(), options());
  const answers = both[Symbol.asyncIterator]();
  for (const t of ["one", key, "three"]) {
    both.write(message(t));
    talked.push(text((await answers.next()).value));
  }
  both.end();
  for await (const piece of { [Symbol.asyncIterator]: () => answers }) talked.push(text(piece));
  const other = new grpc.Metadata();
  other.set("x-key", "<<other_key>>");
  const trailers = Object.fromEntries(Object.entries(one.trailers()).filter(([, value]) => typeof value === "string"));
  console.log(JSON.stringify({
    unary: text(one.reply), trailers, streamed, collected, talked,
    failed: (await refusal(tool, "Fail", withKey())).slice(0, 2),
    compressed: (await refusal(tool, "Compressed", new grpc.Metadata())).slice(0, 1),
    refused: await refusal(tool, "Unary", other),
    down: (await refusal(client("api.other.example"), "Unary", new grpc.Metadata())).slice(0, 1),
  }));
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
