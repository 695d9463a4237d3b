"""An agent that holds no key: its model reads what `locum prompt` says, and its tools send the placeholder."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request

URL = os.environ["DEMO_URL"]


def send(path, headers, body=None):
    """One request; a refusal is an answer like any other, which the model is to read."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode().strip()
    except urllib.error.HTTPError as refusal:
        return f"{refusal.code} {refusal.reason}: {refusal.read().decode().strip()}"


def greet(key):
    """Says hello; the key goes into the header Authorization."""
    return send("/v1/greet", {"Authorization": f"Bearer {key}"})


def note(key, text):
    """Keeps a note; the key goes into the body, as a whole value."""
    return send("/v1/notes", {}, {"api_key": key, "text": text})


TOOLS = {"greet": greet, "note": note}


def model(messages):
    """Stands in for a model: it has read the placeholder, and calls one tool after the other with it."""
    placeholder = re.search(r"<<\w+_key>>", messages[0]["content"]).group()
    calls = [
        {"tool": "greet", "arguments": {"key": placeholder}},
        # in longer text a placeholder is mere text, and stays what it is
        {"tool": "note", "arguments": {"key": placeholder, "text": f"I wrote {placeholder} where the key belongs"}},
    ]
    done = sum(message["role"] == "tool" for message in messages)
    return calls[done] if done < len(calls) else None


def main():
    prompt = subprocess.run(["locum", "prompt"], check=True, capture_output=True, text=True).stdout
    tools = "\n".join(f"{name}: {function.__doc__}" for name, function in TOOLS.items())
    messages = [{"role": "system", "content": f"{prompt}\nYour tools:\n{tools}"}]
    while call := model(messages):
        print("model calls", json.dumps(call))
        result = TOOLS[call["tool"]](**call["arguments"])
        print("tool answers", result)
        messages.append({"role": "tool", "content": result})


main()
