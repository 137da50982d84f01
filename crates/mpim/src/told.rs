//! How errors are told to those who run the system.

use std::error::Error;

/// An error with its causes, on one line, each once: some tell their causes themselves.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.iter().any(|before| before.contains(&text)) {
            told.push(text);
        }
        next = cause.source();
    }
    told.join(": ")
}

/// What the registry could not do, with the settings that it depends on.
pub(crate) fn of_zookeeper(error: registry::Error) -> anyhow::Error {
    let keys = match error {
        registry::Error::NotAuthorized { .. } => " username, password:",
        _ => "",
    };
    anyhow::anyhow!("[zookeeper]{keys} {}", with_causes(&error))
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once_whoever_tells_it() {
        let cause = io::Error::from_raw_os_error(20);
        let told = cause.to_string();
        let error = registry::Error::Unavailable(Box::new(cause));
        assert_eq!(with_causes(&error), format!("the registry is unavailable: {told}"));
        let error = Err::<(), _>(error).context("cannot start").unwrap_err();
        assert_eq!(with_causes(&*error), format!("cannot start: the registry is unavailable: {told}"));
    }

    #[test]
    fn who_zookeeper_does_not_let_in_is_told_the_settings_that_decide_it() {
        let error = |user| registry::Error::NotAuthorized { servers: "h:1".into(), prefix: "/mpim".into(), user };
        let told = of_zookeeper(error(Some("mpim".into()))).to_string();
        assert!(
            told.starts_with("[zookeeper] username, password: ZooKeeper at h:1 ") && told.contains("\"mpim\""),
            "{told}"
        );
        assert!(of_zookeeper(error(None)).to_string().contains("names no user"));
        assert!(of_zookeeper(registry::Error::NoNodeNumber).to_string().starts_with("[zookeeper] all "));
    }
}
