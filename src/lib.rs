//! locum puts API keys into an agent's requests at the network edge, and takes them out again on the way back.
//!
//! A room (file or folder) imports only from floors below its own; rooms on one floor do not know each other: [`app`]
//! builds them and joins them. Within a room no two files import each other, not even by way of others. Time is an argument
//! of what is below the doors. `tests/floors.rs` checks it.
//!
//! ```text
//! ROOF     main.rs             parse, run, exit code
//!          cli/                one file per command; term.rs is how we speak
//! 5 APP    app/                settings -> App -> Running -> stop; service.rs: the commands that drive it, control_socket.rs
//!                              and signals give them
//!          confine/            a child that can reach nothing but the proxy: namespaces, or Landlock and a filter
//!          trust_env/          the variables and files that make each client use and trust the proxy
//! 4 WORDS  config/             file.rs: TOML as written; settings.rs: file + environment -> typed settings, all mistakes at
//!                              once; keys.rs: [key.*] and [agent.*]; limits.rs: [limits]; catalog/: providers by name
//!          telemetry.rs        what the rooms have to say, on standard error
//! 3 DOORS  proxy/accept/       listen.rs, admit.rs: which agent, which local user; slots.rs: places for connections, with
//!                              little for strangers; doors/: HTTP and SOCKS5 to the proxy's port, TLS around
//!                              both, what the firewall redirects, and a confined command's network;
//!                              descendants.rs: who was started by `run`; connect.rs, intercept.rs, tunnel.rs:
//!                              TLS, plain HTTP, or passed on unread
//!          proxy/wire/         HTTP/1.1 read more strictly than servers must, HTTP/2 as the library can serve it, WebSocket
//!                              frames, SOCKS5, headers
//!          proxy/exchange/     mod.rs is the recipe; stages/ its steps; conn.rs, serve.rs: the connection; authorization.rs:
//!                              whether it still holds; request_body/, response_body/, websocket/; current_scrubber.rs: what
//!                              hides keys now; outcome.rs: how it ended
//!          proxy/              limits.rs: every bound; ceilings.rs: what may be under way to upstreams; ruleset.rs: what a
//!                              reload replaces; recorder.rs: the one way to a record; folding.rs: refusals that go on are
//!                              one; refusal.rs: the table of answers that are our own; health.rs: the one that is no
//!                              refusal; told_refusals.rs: what agents may ask about again; state.rs: what connections share
//! 2 FAR    secrets/            sources/ and stores/ of keys; table.rs: Secrets::open(&Permit) -> Keys
//!   SIDE   ca/                 root, intermediate and where they are kept; their name constraints and rotation; a
//!                              certificate per host
//!          upstream/           resolver/: names become addresses; dial.rs: one that we allow; proxy.rs, through.rs: a proxy that
//!                              leads there; tls.rs: what we demand; pool/: kept connections; head_injection.rs: keys
//!                              enter a head on its way out
//!          audit/              write/ appends the chain; read/ finds, counts and verifies; tell/ sends what is unusual
//! 1 ENGINES policy/            agent.rs, rule.rs, egress/; decide.rs -> Permit or Denial, the only maker of Permits;
//!                              agent_placeholders.rs: what an agent may know of its keys;
//!                              overrides.rs, body_overrides.rs: what stands for another method or path
//!  (no IO, rewrite/            finder/, head.rs, body/: placeholders -> values; scrub/: values -> placeholders; coding/,
//!  no clock)                   decoded_body.rs: the codings around both; digests.rs sets digests right
//!          chain.rs            the hash chain: link, verify
//!          anomaly/            a fold over records -> findings
//!          metrics.rs          counters, fed by the recorder
//! 0 GROUND record.rs           what happened in one exchange
//!          disk.rs             files replaced whole, and the turns of those who write them
//!          memory/             sealed secret bytes; wiping; hardening of the process
//!          io/ system/         buffers and stream wrappers; /proc, and who owns a socket
//!          held_map.rs         a value per key, for as long as somebody holds it
//!          name.rs place.rs    Host, KeyName, AgentName, Origin; places in a request: below the others on this floor
//! ```
//!
//! The data's way changes type once per step, and nothing calls back up:
//!
//! ```text
//! agent -TCP-> listen -> connect -(Agent, Origin)-> intercept -Request-> exchange:
//!     policy.decide -Permit-> secrets.open -Keys-> rewrite -> recorder (written first) -> upstream -TLS-> host
//! agent <-------------- scrub(Keys) <-Response- upstream <- host
//!                        `- end of the body: Record -> recorder -> audit, metrics, alerts
//! ```

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::too_many_lines, reason = "the cases of a test are a table"))]

pub mod anomaly;
pub mod app;
pub mod audit;
pub mod ca;
pub mod chain;
pub mod cli;
pub mod config;
#[cfg(target_os = "linux")]
pub mod confine;
pub mod control;
pub mod disk;
pub mod held_map;
pub mod io;
pub mod memory;
pub mod metrics;
pub mod name;
pub mod place;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod rewrite;
pub mod secrets;
pub mod system;
pub mod telemetry;
pub mod trust_env;
pub mod upstream;
