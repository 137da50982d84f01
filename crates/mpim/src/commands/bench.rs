//! `mpim bench`: puts load on a server and measures it, or checks that all of it is delivered.

use std::process::ExitCode;

pub use bench::BenchArgs;

/// Runs the command; the exit code tells whether what was found is as it should be.
///
/// # Errors
///
/// What kept it from running to its end, for a person.
pub async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    bench::run(args).await
}
