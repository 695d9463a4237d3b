// OpenAI's SDK as its README shows it: key from the environment, an answer at once, one in a stream, one in events.
const OpenAI = require("openai");
const undici = require("undici");

// before version 24 Node's fetch knows of no proxy, and the SDK's README says to give it undici's
const knowsProxies = Number(process.versions.node.split(".")[0]) >= 24;
const proxied = { fetch: undici.fetch, fetchOptions: { dispatcher: new undici.EnvHttpProxyAgent() } };

async function main() {
  const client = new OpenAI({ maxRetries: 0, timeout: 60_000, ...(knowsProxies ? {} : proxied) });
  const messages = [{ role: "user", content: "use <<openai_key>>" }];
  const whole = await client.chat.completions.create({ model: "test", messages });
  const words = [];
  for await (const chunk of await client.chat.completions.create({ model: "test", messages, stream: true })) {
    words.push(chunk.choices[0].delta.content);
  }
  let events = "";
  for await (const event of await client.responses.create({ model: "test", input: "use <<openai_key>>", stream: true })) {
    if (event.type === "response.output_text.delta") events += event.delta;
  }
  const stream = words.join("");
  console.log(JSON.stringify({ whole: whole.choices[0].message.content, stream, pieces: words.length, events }));
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
