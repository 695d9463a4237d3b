//! A model provider's answers, as its SDKs read them.

use super::{Reply, Seen, Shape, reply, with_status};
use http::Response;
use serde_json::{Value, json};

/// A model provider as the SDKs know it: it says back what it was asked, whole or word by word.
pub fn model(path: &str, seen: &Seen) -> Response<Reply> {
    let Some(key) = seen.header("authorization").and_then(|v| v.strip_prefix("Bearer ").map(str::to_owned)) else {
        return with_status(401);
    };
    let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let said = if path.ends_with("completions") { &asked["messages"][0]["content"] } else { &asked["input"] };
    // the key is in the answer, as careless providers have it in their error messages
    let text = format!("{} with {key}", said.as_str().unwrap_or("?"));
    if !asked["stream"].as_bool().unwrap_or(false) {
        return reply(&if path.ends_with("completions") { completion(&text) } else { done(&text) }, Shape::Sized);
    }
    let events = if path.ends_with("completions") { completion_events(&text) } else { response_events(&text) };
    let mut response = Response::new(Reply::of(events, Shape::Streamed));
    response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a value"));
    response
}

fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "test",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
}

fn completion_events(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(' ') {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test",
            "choices": [{ "index": 0, "delta": { "content": word } }],
        });
        out.push_str(&format!("data: {chunk}\n\n"));
    }
    out + "data: [DONE]\n\n"
}

fn done(text: &str) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "model": "test", "status": "completed",
        "parallel_tool_calls": false, "tool_choice": "auto", "tools": [],
        "output": [{
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }],
    })
}

fn response_events(text: &str) -> String {
    let mut out = String::new();
    for (number, word) in text.split_inclusive(' ').enumerate() {
        let event = json!({
            "type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": word, "logprobs": [],
        });
        out.push_str(&format!("event: response.output_text.delta\ndata: {event}\n\n"));
    }
    let event = json!({ "type": "response.completed", "sequence_number": 9999, "response": done(text) });
    out + &format!("event: response.completed\ndata: {event}\n\n")
}
