//! The commands: each reads its arguments, calls a room below and says what came of it.

pub mod audit;
