// SOCKS5 by Node's own https with socks-proxy-agent: the arguments are the proxy and the URL.
const https = require("https");
const { SocksProxyAgent } = require("socks-proxy-agent");

const [proxy, url] = process.argv.slice(2);
const headers = { authorization: `Bearer ${process.env.TOOL_API_KEY}` };
https.get(`${url}/node`, { agent: new SocksProxyAgent(proxy), headers }, (answer) => {
  console.log(answer.statusCode);
  answer.resume();
});
