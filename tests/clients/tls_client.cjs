// As tls_client.py.
const { readFileSync } = require("node:fs");
const { isIP } = require("node:net");
const tls = require("node:tls");

const [port, name, file] = process.argv.slice(2);
const options = { host: "127.0.0.1", port: Number(port), ca: readFileSync(file), minVersion: "TLSv1.2" };
options.checkServerIdentity = (_, certificate) => tls.checkServerIdentity(name, certificate);
if (!isIP(name)) options.servername = name;
const socket = tls.connect(options, () => socket.end());
socket.on("error", (error) => {
  console.log(error.code, error.message);
  // of constraints it has no code
  process.exit(/subtree violation/.test(error.message) ? 3 : 1);
});
