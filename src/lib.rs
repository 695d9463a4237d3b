//! locum puts API keys into an agent's requests at the network edge, and takes them out again on the way back.
//!
//! A room (file or folder) imports only from floors below its own; rooms on one floor do not know each other: [`app`]
//! builds them and joins them. Time is an argument of what is below the doors. `tests/floors.rs` checks it.
//!
//! ```text
//! ROOF     main.rs             parse, run, exit code
//!          cli/                one file per command; term.rs is how we speak
//! 5 APP    app/build.rs        Settings -> App; workers.rs: App -> RunningProxy; service.rs: its control loop
//!          app/control_socket  STATE/control.sock, the service's second driver beside signals; control_protocol: its lines
//!          trust_env/          the variables and files that make each client use and trust the proxy
//! 4 WORDS  config/file.rs      TOML exactly as written
//!          config/settings.rs  file + environment -> typed settings, all mistakes at once
//!          config/keys.rs      [key.*] and [agent.*]; catalog.rs: the providers known by name
//!          telemetry.rs        what the rooms have to say, on standard error
//! 3 DOORS  proxy/listen.rs     accept, limit, hand over, drain
//!          proxy/connect.rs    first request: which agent, which host; peer.rs: which local user
//!          proxy/conn.rs       the connection that requests come in on; serve.rs serves them
//!          proxy/intercept.rs  peek the ClientHello, answer with our leaf
//!          proxy/exchange.rs   one request and its response, top to bottom
//!          proxy/authorization.rs  whether what was decided when it began still holds
//!          proxy/upgrade.rs    a WebSocket's handshake; websocket.rs: its messages; frames.rs: its frames
//!          proxy/kin.rs        who was started by `run`, and so needs no token
//!          proxy/framing.rs    HTTP/1.1 read more strictly than servers must; strict.rs puts it before hyper
//!          proxy/watched.rs    what the HTTP/2 library refuses by itself
//!          proxy/*_body        the bodies of both ways; ending.rs tells the audit how it ended
//!          proxy/current_scrubber.rs  what hides keys while an answer runs, by the rules and values of now
//!          proxy/tunnel.rs     blind copy for hosts that must not be read
//!          proxy/refuse.rs     denial or fault -> status, reason, hint
//! 2 FAR    secrets/            the sources of keys; Secrets::open(&Permit) -> Keys
//!   SIDE   ca/                 root, intermediate and where they are kept; their name constraints and rotation; a
//!                              certificate per host
//!          upstream/           dial.rs: an address that we allow; tls.rs: what we demand; pool.rs: kept connections;
//!                              late.rs: keys enter a head on its way out
//!          audit/              log/ appends the chain; query.rs reads it; alert.rs and webhook.rs tell of anomalies
//! 1 ENGINES policy/            agent.rs, rule.rs; decide.rs -> Permit or Denial, the only maker of Permits;
//!                              overrides.rs, forms.rs: what stands for another method or path
//!  (no IO, rewrite/            finder, dress, head and bodies: placeholders -> values; scrub: values -> placeholders;
//!                              coding, opened: the codings around both; digests set right
//!  no clock) chain.rs          the hash chain: link, verify
//!          anomaly/            a fold over records -> findings
//! 0 GROUND record.rs           what happened in one exchange
//!          control.rs          the trait by which a service is controlled, with its replies
//!          disk.rs             files replaced whole, and the turns of those who write them
//!          memory/             sealed secret bytes; wiping; hardening of the process
//!          name.rs place.rs    Host, KeyName, AgentName, Origin; places in a request: below the others on this floor
//! ```
//!
//! The data's way changes type once per step, and nothing calls back up:
//!
//! ```text
//! agent -TCP-> listen -> connect -(Agent, Origin)-> intercept -Request-> exchange:
//!     policy.decide -Permit-> secrets.open -Keys-> rewrite -> audit (written first) -> upstream -TLS-> host
//! agent <-------------- scrub(Keys) <-Response- upstream <- host
//!                        `- end of the body: Record -> audit
//! ```

#![deny(unsafe_code)]

pub mod anomaly;
pub mod app;
pub mod audit;
pub mod ca;
pub mod chain;
pub mod cli;
pub mod config;
pub mod control;
pub mod disk;
pub mod io;
pub mod memory;
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
