// Loaded by Node before a program of its user (NODE_OPTIONS), so that what speaks HTTP uses the proxy of the environment:
// `fetch` before Node 24 and 22.21, agents that a program makes for itself, ws and HTTP/2 know of none. What is asked of
// `tls.connect` or `net.connect` gets a tunnel through the proxy; who comes with a socket of its own has seen to that already.
//
// It is read by every Node from version 12 on, so it is written in words that those have.
"use strict";

const http = require("http");
const net = require("net");
const tls = require("tls");
const { Duplex } = require("stream");
const { syncBuiltinESMExports } = require("module");

const LOADED = Symbol.for("locum.preload");
const connectTls = tls.connect;
const connectTcp = net.connect;
const createTcp = net.createConnection;

const bare = (host) => String(host || "localhost").toLowerCase().replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");

// As curl, Go and requests read NO_PROXY: a name stands for those below it too, a network for its addresses.
function isCovered(host, port, entry) {
  const [, ipv6, name, wantedPort] = /^(?:\[([^\]]*)\]|(.*?))(?::(\d+))?$/.exec(net.isIPv6(entry) ? `[${entry}]` : entry);
  if (wantedPort && Number(wantedPort) !== port) return false;
  const wanted = bare(ipv6 || name).replace(/^\*?\./, "");
  // locum writes no ::1 beside it, since httpx 0.24 fails by that
  if (wanted === "*" || wanted === host || (wanted === "127.0.0.1" && host === "::1")) return true;
  const [network, bits] = wanted.split("/");
  const family = net.isIP(host);
  if (bits && family && family === net.isIP(network) && net.BlockList) {
    const list = new net.BlockList();
    try {
      list.addSubnet(network, Number(bits), `ipv${family}`);
    } catch (e) {
      return false;
    }
    return list.check(host, `ipv${family}`);
  }
  return !family && wanted !== "" && host.endsWith(`.${wanted}`);
}

// The proxy that leads to a host, as the environment says in this moment; null where the way is direct.
function proxyFor(host, port, secure) {
  const { env } = process;
  const url = (secure ? env.https_proxy || env.HTTPS_PROXY : env.http_proxy || env.HTTP_PROXY) || "";
  const past = (env.no_proxy || env.NO_PROXY || "").split(/[\s,]+/).filter(Boolean);
  if (!/^https?:\/\//.test(url) || past.some((entry) => isCovered(host, port, entry))) return null;
  const proxy = new URL(url);
  const proxyPort = Number(proxy.port) || (proxy.protocol === "https:" ? 443 : 80);
  return bare(proxy.hostname) === host && proxyPort === port ? null : { url: proxy, host: bare(proxy.hostname), port: proxyPort };
}

// A connection to a host by way of the proxy, which can be written to before it is there.
class Tunnel extends Duplex {
  constructor(proxy, host, port) {
    super({ allowHalfOpen: true });
    this.connecting = true;
    this.waiting = [];
    const to = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
    const headers = { Host: to };
    const { username, password } = proxy.url;
    if (username || password) {
      const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
      headers["Proxy-Authorization"] = `Basic ${Buffer.from(user).toString("base64")}`;
    }
    const dial = proxy.url.protocol === "https:" ? connectTls : connectTcp;
    const createConnection = () => dial({ host: proxy.host, port: proxy.port });
    this.request = http.request({ method: "CONNECT", path: to, headers, createConnection });
    this.request.on("connect", (response, socket, head) => this.tunnelled(to, response, socket, head));
    this.request.on("error", (error) => this.destroy(error));
    this.request.on("response", (response) => this.refused(to, response));
    this.request.end();
  }

  refused(to, response) {
    const error = new Error(`the proxy leads to no ${to}: ${response.statusCode} ${response.statusMessage}`);
    error.code = "ERR_PROXY_TUNNEL";
    this.destroy(error);
  }

  tunnelled(to, response, socket, head) {
    if (response.statusCode < 200 || response.statusCode > 299 || this.destroyed) {
      socket.destroy();
      this.refused(to, response);
      return;
    }
    this.socket = socket;
    this.connecting = false;
    if (head.length > 0) this.push(head);
    socket.on("data", (piece) => this.push(piece) || socket.pause());
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
    this.waiting.splice(0).forEach((act) => act(socket));
    this.emit("connect");
    this.emit("ready");
  }

  // What is asked of a socket that isn't there yet is asked when it is.
  whenThere(act) {
    if (this.socket) act(this.socket);
    else this.waiting.push(act);
    return this;
  }

  _read() {
    this.whenThere((socket) => socket.resume());
  }

  _write(piece, encoding, done) {
    this.whenThere((socket) => socket.write(piece, encoding, done));
  }

  _final(done) {
    this.whenThere((socket) => socket.end(done));
  }

  _destroy(error, done) {
    if (this.socket) this.socket.destroy();
    else this.request.destroy();
    done(error);
  }

  setTimeout(ms, then) {
    if (then) this.once("timeout", then);
    return this.whenThere((socket) => socket.setTimeout(ms, () => this.emit("timeout")));
  }

  setNoDelay(on) {
    return this.whenThere((socket) => socket.setNoDelay(on));
  }

  setKeepAlive(on, ms) {
    return this.whenThere((socket) => socket.setKeepAlive(on, ms));
  }

  ref() {
    return this.whenThere((socket) => socket.ref());
  }

  unref() {
    return this.whenThere((socket) => socket.unref());
  }
}

// What was asked for, in any of the ways of `net.connect`: (options), (port, host) or (path), each with a listener.
function asked(args) {
  const options = args.find((arg) => arg && typeof arg === "object") || {};
  const port = typeof args[0] === "object" ? options.port : args[0];
  const host = typeof args[0] !== "object" && typeof args[1] === "string" ? args[1] : options.host;
  return { options, host: bare(host), port: Number(port), listener: args.find((arg) => typeof arg === "function") };
}

// Other protocols over TLS (mail, databases) are none of the proxy's.
function speaksHttp(options, port) {
  const offered = options.ALPNProtocols;
  const names = Array.isArray(offered) ? offered.map(String) : [];
  return port === 443 || names.includes("http/1.1") || names.includes("h2") || options._agentKey !== undefined;
}

function tunnelledTls(...args) {
  const { options, host, port, listener } = asked(args);
  const isElsewhere = options.socket || options.path || !(port > 0) || !speaksHttp(options, port);
  const proxy = isElsewhere ? null : proxyFor(host, port, true);
  if (!proxy) return connectTls.apply(this, args);
  const tunnel = new Tunnel(proxy, host, port);
  const servername = options.servername === undefined && !net.isIP(host) ? host : options.servername;
  const secure = connectTls(Object.assign({}, options, { host, port, servername, socket: tunnel }), listener);
  tunnel.on("error", (error) => secure.destroy(error));
  for (const name of ["ref", "unref"]) {
    secure[name] = function () {
      tunnel[name]();
      return tls.TLSSocket.prototype[name].call(this);
    };
  }
  return secure;
}

function tunnelledTcp(...args) {
  const { options, host, port, listener } = asked(args);
  const proxy = options.path || port !== 80 ? null : proxyFor(host, port, false);
  if (!proxy) return connectTcp.apply(this, args);
  const tunnel = new Tunnel(proxy, host, port);
  if (listener) tunnel.once("connect", listener);
  return tunnel;
}

// Bun and Deno know proxies by themselves; a `run` within a `run` comes twice.
if (!process.versions.bun && !process.versions.deno && !global[LOADED]) {
  Object.defineProperty(global, LOADED, { value: true });
  tls.connect = tunnelledTls;
  net.connect = net.createConnection = tunnelledTcp;
  // until Node 22 it was that very function
  if (http.Agent.prototype.createConnection === createTcp) http.Agent.prototype.createConnection = tunnelledTcp;
  syncBuiltinESMExports();
}
