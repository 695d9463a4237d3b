//! `locum doctor --confine`: what each level of `run --confine` stops, and which of them this machine has.

use crate::cli::table;
use crate::confine::ConfineLevel;
use crate::confine::launch::probe;
use serde::Serialize;
use std::process::ExitCode;

/// What a command could do unconfined, and what comes of it in namespaces, and under Landlock and a filter.
const WAYS: &[(&str, &str, &str)] = &[
    ("TCP to other hosts", "goes through the proxy", "stopped"),
    ("another host on the proxy's port", "goes through the proxy", "open"),
    ("UDP, QUIC", "stopped", "stopped"),
    ("Multipath TCP, Fast Open, raw and packet sockets, vsock, io_uring", "stopped", "stopped"),
    ("services on this machine's loopback", "stopped, but for those in private_addresses", "stopped"),
    ("sockets of services by their path: D-Bus, Docker, ssh-agent, X11, ...", "hidden", "open"),
    ("abstract sockets of services", "stopped", "stopped"),
    ("locum's files, keyrings", "hidden", "open"),
    ("other processes: their memory and files", "hidden", "stopped"),
    ("signals to other processes", "to its own process group alone", "stopped"),
    ("sockets and folders that were open before", "closed", "closed"),
    ("typing into the terminal", "stopped", "stopped"),
    ("other terminals of the same user", "open", "open"),
    ("setuid programs", "gain nothing", "gain nothing"),
    ("programs that know of no proxy", "are led to it", "reach nothing"),
    ("its own services on localhost", "work", "can't be connected to"),
    ("being connected to from elsewhere", "stopped", "open"),
    ("what it leaves running", "ends with it", "goes on"),
];

/// A level, and whether this machine has it.
#[derive(Debug, Serialize)]
struct LevelHere {
    level: &'static str,
    available: bool,
    /// Why not.
    reason: Option<String>,
    /// The ports that connections are taken in on, where that is not all.
    only_ports: Option<Vec<u16>>,
}

impl LevelHere {
    fn of(level: ConfineLevel, name: &'static str) -> Self {
        match probe(level) {
            Ok(only_ports) => Self { level: name, available: true, reason: None, only_ports },
            Err(e) => Self { level: name, available: false, reason: Some(e.to_string()), only_ports: None },
        }
    }

    fn told(&self) -> String {
        match (&self.reason, &self.only_ports) {
            (Some(reason), _) => format!("not here: {reason}"),
            (None, Some(_)) => "here, on the ports of the config alone: the kernel has no nf_tables with TPROXY".into(),
            (None, None) => "here".into(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Way {
    way: &'static str,
    namespaces: &'static str,
    filter: &'static str,
}

/// Prints it. It fails where a command can't be confined at all.
pub fn run(is_json: bool) -> anyhow::Result<ExitCode> {
    let levels = [
        LevelHere::of(ConfineLevel::Namespaces, "namespaces"),
        LevelHere::of(ConfineLevel::Filter, "Landlock and filter"),
    ];
    if is_json {
        let ways = WAYS.iter().map(|(way, namespaces, filter)| Way { way, namespaces, filter });
        let all = serde_json::json!({ "levels": levels, "ways": ways.collect::<Vec<_>>() });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for level in &levels {
            println!("{}: {}", level.level, level.told());
        }
        println!();
        let head = ["", "NAMESPACES", "LANDLOCK AND FILTER"].map(str::to_owned);
        let rows =
            WAYS.iter().map(|(way, namespaces, filter)| [way, namespaces, filter].map(|cell| (*cell).to_owned()));
        print!("{}", table::shown(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    }
    Ok(if levels.iter().any(|level| level.available) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
