// An origin on the socket 3 that speaks $2: at SIGTERM it answers what it has begun, and ends.
const fs = require("fs");
const tls = { cert: fs.readFileSync("certificate.pem"), key: fs.readFileSync("key.pem") };
const answer = (request, response) => response.end("an answer");
const h2 = process.argv[2] === "h2";
const server = h2 ? require("http2").createSecureServer(tls, answer) : require("https").createServer(tls, answer);
const sessions = new Set();
server.on("session", (session) => {
  sessions.add(session);
  session.on("close", () => sessions.delete(session));
});
server.on("sessionError", () => {});
server.listen({ fd: 3 });
process.on("SIGTERM", () => {
  server.close(() => process.exit());
  sessions.forEach((session) => session.close());
});
