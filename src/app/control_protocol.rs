//! The protocol of the control socket: a command is one line of JSON, and so is its answer. It knows no sockets.

use crate::control::{AgentToken, Control, ControlError, ServiceStatus, TokenExpiry, TokenRequest};
use crate::name::{AgentName, KeyName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const COMMANDS: &str = r#"write one of {"command":"status"}, reload, wipe, stop or token"#;
const ACTIONS: &str =
    r#"{"command":"token"} lists them, with "action":"add" or "revoke" and "agent":"NAME" it changes them"#;
const EXPIRES: &str = "write it as in RFC 3339, such as 2027-01-31T00:00:00Z, or \"never\"";

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCommand {
    command: String,
    action: Option<String>,
    agent: Option<String>,
    keys: Option<Vec<String>>,
    expires: Option<String>,
}

/// A command, as understood.
#[derive(Debug, PartialEq, Eq)]
enum SocketCommand {
    Status,
    Reload,
    Wipe,
    Stop,
    ListTokens,
    IssueToken(TokenRequest),
    RevokeToken(AgentName),
}

/// The answers, each an object of its own form.
#[derive(Serialize)]
#[serde(untagged)]
enum ControlAnswer<'a> {
    Status(&'a ServiceStatus),
    Reloaded { reloaded: bool },
    Wiped { wiped: bool },
    Stopping { stopping: bool },
    Tokens { tokens: &'a [AgentToken] },
    Issued { agent: &'a AgentName, token: &'a str, replaced: bool },
    Revoked { agent: &'a AgentName, revoked: bool },
    Error { error: &'a str, hint: &'a str },
}

/// Has a line obeyed, and gives the line to answer with. It may hold a token, so it is wiped when dropped.
pub(super) async fn answer_to(line: &[u8], control: &dyn Control) -> Zeroizing<Vec<u8>> {
    let obeyed = match parse(line) {
        Ok(command) => obey(command, control).await,
        Err(e) => Err(e),
    };
    obeyed.unwrap_or_else(|e| error_line(&e))
}

/// The line that tells of an error.
pub(super) fn error_line(e: &ControlError) -> Zeroizing<Vec<u8>> {
    written(&ControlAnswer::Error { error: &e.what, hint: &e.next })
}

async fn obey(command: SocketCommand, control: &dyn Control) -> Result<Zeroizing<Vec<u8>>, ControlError> {
    Ok(match command {
        SocketCommand::Status => written(&ControlAnswer::Status(&control.status().await?)),
        SocketCommand::Reload => {
            control.reload().await?;
            written(&ControlAnswer::Reloaded { reloaded: true })
        }
        SocketCommand::Wipe => {
            control.wipe().await?;
            written(&ControlAnswer::Wiped { wiped: true })
        }
        SocketCommand::Stop => {
            control.stop().await?;
            written(&ControlAnswer::Stopping { stopping: true })
        }
        SocketCommand::ListTokens => written(&ControlAnswer::Tokens { tokens: &control.list_tokens().await? }),
        SocketCommand::IssueToken(request) => {
            let agent = request.agent.clone();
            let issued = control.issue_token(request).await?;
            written(&ControlAnswer::Issued { agent: &agent, token: &issued.token, replaced: issued.replaced })
        }
        SocketCommand::RevokeToken(agent) => {
            control.revoke_token(agent.clone()).await?;
            written(&ControlAnswer::Revoked { agent: &agent, revoked: true })
        }
    })
}

fn written(answer: &ControlAnswer) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::new());
    // nothing of it can fail: the names of all members are text, and memory doesn't run out
    let _ = serde_json::to_writer(&mut *line, answer);
    line.push(b'\n');
    line
}

fn wrong(what: impl Into<String>, next: &str) -> ControlError {
    ControlError { what: what.into(), next: next.into() }
}

fn parse(line: &[u8]) -> Result<SocketCommand, ControlError> {
    let written: WrittenCommand =
        serde_json::from_slice(line).map_err(|e| wrong(format!("this is no command: {e}"), COMMANDS))?;
    let is_bare = written.action.is_none() && written.agent.is_none();
    let is_bare = is_bare && written.keys.is_none() && written.expires.is_none();
    match written.command.as_str() {
        "token" => token_command(written),
        "status" | "reload" | "wipe" | "stop" if !is_bare => {
            Err(wrong(format!("'{}' takes nothing more", written.command), COMMANDS))
        }
        "status" => Ok(SocketCommand::Status),
        "reload" => Ok(SocketCommand::Reload),
        "wipe" => Ok(SocketCommand::Wipe),
        "stop" => Ok(SocketCommand::Stop),
        unknown => Err(wrong(format!("there is no command '{}'", unknown.escape_debug()), COMMANDS)),
    }
}

fn token_command(written: WrittenCommand) -> Result<SocketCommand, ControlError> {
    let agent = written.agent.map(|name| name.parse::<AgentName>()).transpose();
    let agent = agent.map_err(|e| wrong(e.to_string(), ACTIONS))?;
    let is_plain = written.keys.is_none() && written.expires.is_none();
    match (written.action.as_deref().unwrap_or("list"), agent) {
        ("list", None) if is_plain => Ok(SocketCommand::ListTokens),
        ("add", Some(agent)) => {
            let keys = written.keys.map(|keys| keys.iter().map(|key| key.parse()).collect::<Result<Vec<KeyName>, _>>());
            let keys = keys.transpose().map_err(|e| wrong(e.to_string(), "'locum check' lists the keys"))?;
            let expires = written.expires.as_deref().map(to_come).transpose()?;
            Ok(SocketCommand::IssueToken(TokenRequest { agent, keys, expires }))
        }
        ("revoke", Some(agent)) if is_plain => Ok(SocketCommand::RevokeToken(agent)),
        ("add" | "revoke", None) => Err(wrong("no agent is named", ACTIONS)),
        ("list" | "revoke", _) => Err(wrong("'token' has more than this action takes", ACTIONS)),
        (unknown, _) => Err(wrong(format!("'token' has no action '{}'", unknown.escape_debug()), ACTIONS)),
    }
}

/// A time that is to come, or never. One that has been would make a token that never counts.
fn to_come(text: &str) -> Result<TokenExpiry, ControlError> {
    if text == "never" {
        return Ok(TokenExpiry::Never);
    }
    let at = text.parse::<Timestamp>();
    let at = at.map_err(|_| wrong(format!("'{}' is no time", text.escape_debug()), EXPIRES))?;
    if at > Timestamp::now() {
        return Ok(TokenExpiry::At(at.into()));
    }
    Err(wrong(format!("'{}' is not to come", text.escape_debug()), EXPIRES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_to_the_letter() {
        let researcher: AgentName = "researcher".parse().unwrap();
        let issue = |keys: Option<&[&str]>, expires: Option<&str>| {
            let keys = keys.map(|keys| keys.iter().map(|key| key.parse().unwrap()).collect());
            let expires =
                expires.map(|at| at.parse::<Timestamp>().map_or(TokenExpiry::Never, |at| TokenExpiry::At(at.into())));
            SocketCommand::IssueToken(TokenRequest { agent: researcher.clone(), keys, expires })
        };
        for (line, command) in [
            (r#"{"command":"status"}"#, SocketCommand::Status),
            (r#" {"command" : "reload"} "#, SocketCommand::Reload),
            (r#"{"command":"wipe"}"#, SocketCommand::Wipe),
            (r#"{"command":"stop"}"#, SocketCommand::Stop),
            (r#"{"command":"token"}"#, SocketCommand::ListTokens),
            (r#"{"command":"token","action":"list"}"#, SocketCommand::ListTokens),
            (r#"{"command":"token","action":"add","agent":"researcher"}"#, issue(None, None)),
            (
                r#"{"command":"token","action":"add","agent":"researcher","keys":["tool"],"expires":"2999-01-01T00:00:00Z"}"#,
                issue(Some(&["tool"]), Some("2999-01-01T00:00:00Z")),
            ),
            (
                r#"{"command":"token","action":"add","agent":"researcher","expires":"never"}"#,
                issue(None, Some("never")),
            ),
            (
                r#"{"command":"token","action":"revoke","agent":"researcher"}"#,
                SocketCommand::RevokeToken(researcher.clone()),
            ),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_with_a_hint() {
        for (line, what) in [
            ("", "this is no command: EOF"),
            ("status", "this is no command: expected value"),
            ("\u{fffd}", "this is no command"),
            ("[]", "this is no command"),
            (r#"{"command":1}"#, "this is no command: invalid type"),
            (r#"{"command":"status","x":1}"#, "this is no command: unknown field `x`"),
            (r#"{"command":"status"}{"command":"stop"}"#, "this is no command: trailing characters"),
            (r#"{"command":"status","command":"stop"}"#, "this is no command: duplicate field"),
            (r#"{"command":"Status"}"#, "there is no command 'Status'"),
            (r#"{"command":"\u0007"}"#, r"there is no command '\u{7}'"),
            (r#"{"command":"stop","agent":"researcher"}"#, "'stop' takes nothing more"),
            (r#"{"command":"token","action":"add"}"#, "no agent is named"),
            (r#"{"command":"token","action":"revoke","agent":"a","keys":[]}"#, "'token' has more than"),
            (r#"{"command":"token","agent":"researcher"}"#, "'token' has more than"),
            (r#"{"command":"token","action":"lend","agent":"researcher"}"#, "'token' has no action 'lend'"),
            (r#"{"command":"token","action":"add","agent":"a b"}"#, ""),
            (r#"{"command":"token","action":"add","agent":"a","keys":["A"]}"#, ""),
            (r#"{"command":"token","action":"add","agent":"a","expires":"soon"}"#, "'soon' is no time"),
            (r#"{"command":"token","action":"add","agent":"a","expires":"2020-01-01T00:00:00Z"}"#, "is not to come"),
        ] {
            let e = parse(line.as_bytes()).expect_err(line);
            assert!(e.what.contains(what) && !e.next.is_empty() && !e.what.contains('\n'), "{line}: {e:?}");
        }
        let deep = "[".repeat(60_000);
        assert!(parse(deep.as_bytes()).is_err());
    }
}
