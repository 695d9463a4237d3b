//! Starts locum: memory first, then the command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: locum::memory::WipingAllocator = locum::memory::WipingAllocator;

fn main() -> ExitCode {
    locum::cli::run()
}
