//! Logs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

const VARIABLE: &str = "SHARDWRIGHT_LOG";

/// What is logged when `SHARDWRIGHT_LOG` does not say.
const DEFAULT_FILTER: &str = "info";

/// What is never of use here, whatever the level: the endpoint's database tells of every look at a table that is absent,
/// which is how each first run begins.
const ALWAYS: &str = "aws_config=warn,hyper=warn,dynoxide=error,tower_http=warn";

/// Sends logs to standard error, so that standard output stays free for records and tables. `SHARDWRIGHT_LOG` filters
/// them, as `RUST_LOG` does elsewhere: `debug`, or `info,shardwright::runtime=debug`. What cannot be read there is said, and
/// the default holds.
pub(crate) fn start(default: Option<&str>) {
    let default = default.unwrap_or(DEFAULT_FILTER);
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_unset| default.to_owned());
    // A later directive for the same target counts, so that what is asked for does.
    let filter = EnvFilter::try_new(format!("{ALWAYS},{wanted}")).unwrap_or_else(|error| {
        eprintln!("{VARIABLE}={wanted:?} is no filter ({error}); `{default}` is used");
        EnvFilter::new(format!("{ALWAYS},{default}"))
    });
    let is_terminal = std::io::stderr().is_terminal();
    // A second start, as in a test, leaves the first one's logs as they are.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .try_init();
}
