//! `locum mcp`: an MCP server on standard input and output. It asks the proxy as the agent would, and reads nothing of locum's.

use super::prompt::text;
use super::proxy_client::{AskError, OwnRefusal, ProxyClient};
use super::term::CliError;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, ServerInitializeError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

const LIST_PLACEHOLDERS: &str = "list_placeholders";
const EXPLAIN_REFUSAL: &str = "explain_refusal";

/// The longest message of a client, in bytes: it has nothing to ask that is longer.
const MAX_MESSAGE: usize = 256 * 1024;

/// What a client may show its model of this server as a whole.
const INSTRUCTIONS: &str = "API keys here are placeholders such as <<openai_key>>, which a proxy named locum replaces on the \
                            way out. list_placeholders tells which there are and where each may go; explain_refusal tells why \
                            an answer had the header locum-refused. Never ask for the value of a key.";

/// Serves one client, until it leaves.
pub fn run() -> anyhow::Result<ExitCode> {
    if io::stdin().is_terminal() {
        eprintln!(
            "locum: this speaks MCP on standard input; an agent's config starts it: \
             {{\"mcpServers\": {{\"locum\": {{\"command\": \"locum\", \"args\": [\"mcp\"]}}}}}}"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stdin, stdout) = stdio();
        let transport = AsyncRwTransport::new_server(stdin, stdout).with_max_line_length(MAX_MESSAGE);
        let server = McpServer { proxy: ProxyClient::of_process() };
        match server.serve(transport).await {
            Ok(running) => {
                running.waiting().await?;
                Ok(ExitCode::SUCCESS)
            }
            // it has left before it said anything
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(ExitCode::SUCCESS),
            Err(e) => Err(CliError::failed(format!("the client does not speak MCP: {e}"), "")),
        }
    })
}

/// The tools, and the proxy that they ask.
struct McpServer {
    proxy: Result<ProxyClient, AskError>,
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("locum", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let answer = match &*request.name {
            LIST_PLACEHOLDERS => self.list_placeholders().await,
            EXPLAIN_REFUSAL => {
                let exchange = request.arguments.as_ref().and_then(|given| given.get("exchange")?.as_str());
                let missing = || ErrorData::invalid_params("exchange is missing: the id in the refusal's body", None);
                self.explain_refusal(exchange.ok_or_else(missing)?).await
            }
            _ => return Err(ErrorData::invalid_params(unknown(&request.name), None)),
        };
        let result = answer.unwrap_or_else(|e| CallToolResult::error(vec![ContentBlock::text(e.to_string())]));
        Ok(result.into())
    }
}

impl McpServer {
    async fn list_placeholders(&self) -> Result<CallToolResult, AskError> {
        let own = self.proxy.as_ref().map_err(Clone::clone)?.placeholders().await?;
        Ok(answer(text::plain(&own), json!(own)))
    }

    async fn explain_refusal(&self, exchange: &str) -> Result<CallToolResult, AskError> {
        match self.proxy.as_ref().map_err(Clone::clone)?.refusal(exchange).await? {
            Some(refusal) => Ok(answer(told(&refusal), json!(refusal))),
            None => Ok(CallToolResult::error(vec![ContentBlock::text(
                "no refusal of this agent has that id, or it is no longer remembered; the id is `exchange` in the body of \
                 the refusal",
            )])),
        }
    }
}

fn answer(text: String, structured: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structured);
    result
}

/// A name that may be long, as the client wrote it.
fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    format!("there is no tool '{}', but {LIST_PLACEHOLDERS} and {EXPLAIN_REFUSAL}", shown.escape_debug())
}

fn told(refusal: &OwnRefusal) -> String {
    let OwnRefusal { status, title, detail, hint, .. } = refusal;
    let next = match status {
        403 => "To ask again in the same way won't help. list_placeholders tells where each placeholder may go.",
        429 => "Wait, and then ask less often.",
        502..=504 => "It may well be over in a moment; ask again then.",
        _ => "Mend the request, and ask again.",
    };
    format!("{status} {title}: {detail}.\n{next} More is told to the user, who can type: {hint}")
}

fn tools() -> Vec<Tool> {
    let tool = |name: &'static str, description: &'static str, properties: Value, required: Value| {
        let mut schema = JsonObject::new();
        schema.insert("type".into(), json!("object"));
        schema.insert("properties".into(), properties);
        schema.insert("required".into(), required);
        schema.insert("additionalProperties".into(), json!(false));
        let mut hints = ToolAnnotations::new();
        hints.read_only_hint = Some(true);
        hints.open_world_hint = Some(false);
        Tool::new(Cow::from(name), Cow::from(description), schema).with_annotations(hints)
    };
    let id = json!({ "exchange": { "type": "string", "description": "`exchange` in the body of the refusal" } });
    vec![
        tool(
            LIST_PLACEHOLDERS,
            "Which API keys this agent may use: what to write in place of each, and the hosts, places, methods and paths \
             that it may go to.",
            json!({}),
            json!([]),
        ),
        tool(
            EXPLAIN_REFUSAL,
            "Why the proxy refused a request of this agent (the answer had the header locum-refused), and what to do.",
            id,
            json!(["exchange"]),
        ),
    ]
}
