//! Commands that tell the service that runs what to do, over its control socket. Nothing in the config is needed for it, so that
//! keys can be wiped however wrong that is.

use super::context::CliContext;
use super::progress::ProgressLine;
use super::running_service;
use std::process::ExitCode;

/// Has the service read its config and keys anew, whole or not at all.
pub fn reload(context: &CliContext) -> anyhow::Result<ExitCode> {
    let line = ProgressLine::of("the service reads its config and keys");
    running_service::obey(&context.state(), "reload")?;
    drop(line);
    println!("the config and the keys were read anew; of a key that can't be had the service's log says why");
    Ok(ExitCode::SUCCESS)
}

/// Has the service forget all keys.
pub fn wipe(context: &CliContext) -> anyhow::Result<ExitCode> {
    running_service::obey(&context.state(), "wipe")?;
    println!(
        "all keys are wiped: what needs one is answered 503 until `locum reload`, and one that came as a variable until the \
         service is started again"
    );
    Ok(ExitCode::SUCCESS)
}
