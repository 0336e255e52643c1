//! The `shardwright` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    shardwright::cli::main()
}
