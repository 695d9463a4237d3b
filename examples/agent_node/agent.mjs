// An agent that holds no key: its model reads what `locum prompt` says, and its tools send the placeholder.

import { execFileSync } from "node:child_process";

const URL = process.env.DEMO_URL;

// A refusal is an answer like any other, which the model is to read.
async function send(path, headers, body) {
  const answer = await fetch(URL + path, {
    method: body ? "POST" : "GET",
    headers: { "content-type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const text = (await answer.text()).trim();
  return answer.ok ? text : `${answer.status} ${answer.statusText}: ${text}`;
}

const TOOLS = {
  greet: {
    description: "Says hello; the key goes into the header Authorization.",
    call: ({ key }) => send("/v1/greet", { authorization: `Bearer ${key}` }),
  },
  note: {
    description: "Keeps a note; the key goes into the body, as a whole value.",
    call: ({ key, text }) => send("/v1/notes", {}, { api_key: key, text }),
  },
};

// Stands in for a model: it has read the placeholder, and calls one tool after the other with it.
function model(messages) {
  const [placeholder] = messages[0].content.match(/<<\w+_key>>/);
  const calls = [
    { tool: "greet", arguments: { key: placeholder } },
    // in longer text a placeholder is mere text, and stays what it is
    { tool: "note", arguments: { key: placeholder, text: `I wrote ${placeholder} where the key belongs` } },
  ];
  return calls[messages.filter((message) => message.role === "tool").length];
}

const prompt = execFileSync("locum", ["prompt"], { encoding: "utf8" });
const tools = Object.entries(TOOLS).map(([name, tool]) => `${name}: ${tool.description}`);
const messages = [{ role: "system", content: `${prompt}\nYour tools:\n${tools.join("\n")}` }];
for (let call; (call = model(messages)); ) {
  console.log("model calls", JSON.stringify(call));
  const result = await TOOLS[call.tool].call(call.arguments);
  console.log("tool answers", result);
  messages.push({ role: "tool", content: result });
}
