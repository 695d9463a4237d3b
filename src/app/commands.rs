//! The commands to a service, and the handle that sends them: what signals, the control socket and others hold of it.

use crate::control::{AgentToken, Control, ControlError, ControlFuture, IssuedToken, ServiceStatus, TokenRequest};
use crate::name::AgentName;
use crate::system::operator::Operator;
use tokio::sync::{mpsc, oneshot};

/// Where the reply to a command goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// The commands to a service, each with where its reply goes.
pub(super) enum ServiceCommand {
    Status(Reply<ServiceStatus>),
    Reload(Reply<()>),
    Wipe(Reply<()>),
    Stop(Reply<()>),
    ListTokens(Reply<Vec<AgentToken>>),
    IssueToken(TokenRequest, Reply<IssuedToken>),
    RevokeToken(AgentName, Reply<()>),
    /// After the file of tokens was changed by a command.
    ReloadTokens(Reply<()>),
}

/// The handle by which a service is commanded. Its drivers are the operator's alone, and few, so the channel has no bound.
#[derive(Clone)]
pub struct ServiceHandle {
    commands: mpsc::UnboundedSender<(Operator, ServiceCommand)>,
    by: Operator,
}

impl ServiceHandle {
    /// A handle of nobody known, as the sender of a signal is, and the channel on which its commands come.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<(Operator, ServiceCommand)>) {
        let (commands, received) = mpsc::unbounded_channel();
        (Self { commands, by: Operator::default() }, received)
    }

    /// Sends a command at once; the future is its reply.
    pub(super) fn command<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> ServiceCommand,
    ) -> ControlFuture<T> {
        let (reply, replied) = oneshot::channel();
        // a service that has ended drops the reply too
        let _ = self.commands.send((self.by.clone(), command(reply)));
        Box::pin(async move { replied.await.unwrap_or_else(|_| Err(ended())) })
    }
}

fn ended() -> ControlError {
    ControlError { what: "the service has ended".into(), next: "start it with 'locum serve'".into() }
}

impl Control for ServiceHandle {
    fn by(&self, operator: Operator) -> Box<dyn Control> {
        Box::new(Self { commands: self.commands.clone(), by: operator })
    }

    fn status(&self) -> ControlFuture<ServiceStatus> {
        self.command(ServiceCommand::Status)
    }

    fn reload(&self) -> ControlFuture<()> {
        self.command(ServiceCommand::Reload)
    }

    fn wipe(&self) -> ControlFuture<()> {
        self.command(ServiceCommand::Wipe)
    }

    fn stop(&self) -> ControlFuture<()> {
        self.command(ServiceCommand::Stop)
    }

    fn list_tokens(&self) -> ControlFuture<Vec<AgentToken>> {
        self.command(ServiceCommand::ListTokens)
    }

    fn issue_token(&self, request: TokenRequest) -> ControlFuture<IssuedToken> {
        self.command(|reply| ServiceCommand::IssueToken(request, reply))
    }

    fn revoke_token(&self, agent: AgentName) -> ControlFuture<()> {
        self.command(|reply| ServiceCommand::RevokeToken(agent, reply))
    }
}

/// Sends a reply. Whoever asked may have hung up.
pub(super) fn answer<T>(reply: Reply<T>, with: Result<T, ControlError>) {
    let _ = reply.send(with);
}
