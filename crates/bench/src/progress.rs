//! A bar on standard error, for people only.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::CommonArgs;

/// How often a bar that only shows time moves.
const TICK: Duration = Duration::from_millis(200);

/// Shows what is going on; shows nothing with `--json` or where standard error is no terminal.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    visible: bool,
}

impl Progress {
    /// As the arguments want it.
    pub(crate) fn new(args: &CommonArgs) -> Self {
        Self { visible: !args.json }
    }

    /// A bar of `total` steps; it disappears when it is dropped.
    pub(crate) fn bar(&self, what: impl Into<Cow<'static, str>>, total: u64) -> Bar {
        // A target that is no terminal draws nothing.
        let target = if self.visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template("{msg:28} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
            .expect("the template is a valid constant");
        bar.set_style(style);
        bar.set_message(what);
        Bar(bar)
    }

    /// A bar for something that takes so long.
    pub(crate) fn time(&self, what: impl Into<Cow<'static, str>>, length: Duration) -> Bar {
        let bar = self.bar(what, length.as_secs().max(1));
        let style = ProgressStyle::with_template("{msg:28} {wide_bar} {pos}/{len} s")
            .expect("the template is a valid constant");
        bar.0.set_style(style);
        bar.0.enable_steady_tick(TICK);
        bar
    }

    /// One line on standard error.
    #[allow(clippy::print_stderr, reason = "this is where a person is told")]
    pub(crate) fn say(&self, line: &str) {
        if self.visible {
            eprintln!("{line}");
        }
    }
}

/// A bar that is being shown.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// One step further.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// So many steps are done.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
