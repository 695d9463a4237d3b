"""OpenAI's SDK as its README shows it: key from the environment, an answer at once, one in a stream, one in events."""

import json

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=60)
messages = [{"role": "user", "content": "use <<openai_key>>"}]
whole = client.chat.completions.create(model="test", messages=messages)
stream = client.chat.completions.create(model="test", messages=messages, stream=True)
words = [chunk.choices[0].delta.content for chunk in stream]
events = client.responses.create(model="test", input="use <<openai_key>>", stream=True)
deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
print(json.dumps({
    "whole": whole.choices[0].message.content,
    "stream": "".join(words),
    "pieces": len(words),
    "events": "".join(deltas),
}))
