//! The trace that a call belongs to.

use std::{fmt, future::Future, str::FromStr};

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// W3C's trace context: which trace, and which of its spans caused what is being done. It goes along with a task: a call
/// that is made inside [`scope`](Self::scope) carries it, and the called service's method runs inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace: u128,
    /// The span; not 0.
    pub span: u64,
    /// Bit 0: somebody decided that it is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// Of the running task, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }

    /// Runs something as part of the trace. What it spawns is not, unless told so. As cancel safe as what is run.
    pub async fn scope<F: Future>(self, run: F) -> F::Output {
        CURRENT.scope(self, run).await
    }
}

/// As in the header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is 00-, 32 hexadecimal digits, -, 16, -, 2; neither trace nor span is 0")]
pub struct InvalidTraceParent;

impl FromStr for TraceContext {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let parts: Vec<&str> = text.split('-').collect();
        let &["00", trace, span, flags] = parts.as_slice() else { return Err(InvalidTraceParent) };
        let is_hex = |part: &str, digits| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        if !(is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return Err(InvalidTraceParent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| InvalidTraceParent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| InvalidTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| InvalidTraceParent)?;
        if trace == 0 || span == 0 { Err(InvalidTraceParent) } else { Ok(Self { trace, span, flags }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trace_goes_along_with_its_task_and_no_other() {
        let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(trace.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(TraceContext::current(), None);
        assert_eq!(trace.scope(async { TraceContext::current() }).await, Some(trace));
        for wrong in ["", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "天气"] {
            assert!(wrong.parse::<TraceContext>().is_err(), "{wrong}");
        }
    }
}
