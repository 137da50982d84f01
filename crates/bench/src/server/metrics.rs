//! What the server tells of its own process on `/metrics`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::Usage;

/// A server that does not answer within this time has no figures to give at the moment.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than this is not read.
const RESPONSE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Asks the server at `http://host:port`; nothing if it does not answer or does not tell.
pub(crate) async fn usage(url: &str) -> Option<Usage> {
    parse(&metrics(url).await?)
}

/// The sum of a metric, whatever its labels, of the server at `http://host:port`; nothing if it does not answer, or has no such metric.
pub(super) async fn sum(url: &str, name: &str) -> Option<f64> {
    total(&metrics(url).await?, name)
}

fn total(metrics: &str, name: &str) -> Option<f64> {
    values(metrics, name).reduce(|sum, value| sum + value)
}

async fn metrics(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://")?.split('/').next()?;
    time::timeout(TIMEOUT, get(authority)).await.ok()?.ok()
}

async fn get(authority: &str) -> std::io::Result<String> {
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer is one piece and ends with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut response).await?;
    Ok(response)
}

fn parse(metrics: &str) -> Option<Usage> {
    Some(Usage {
        cpu_seconds: values(metrics, "process_cpu_seconds_total").next()?,
        rss_bytes: values(metrics, "process_resident_memory_bytes").next()? as u64,
        parts: None,
    })
}

/// The values of a metric, whatever its labels.
fn values<'a>(metrics: &'a str, name: &str) -> impl Iterator<Item = f64> + use<'a> {
    let name = name.to_owned();
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(&*name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_others_with_labels_or_without() {
        let response = "HTTP/1.0 200 OK\r\n\r\n# TYPE process_cpu_seconds counter\n\
            process_cpu_seconds_total_other 9\nprocess_cpu_seconds_total 12.25\n\
            process_resident_memory_bytes{node=\"1\"} 1.5e7 1700000000\n# EOF\n";
        assert_eq!(parse(response), Some(Usage { cpu_seconds: 12.25, rss_bytes: 15_000_000, parts: None }));
        let requests = "x_total{kind=\"a\"} 3\nx_total{kind=\"b\"} 4\nx_total_other 9\n";
        assert_eq!((total(requests, "x_total"), total(requests, "y_total")), (Some(7.0), None));
        assert_eq!(parse("HTTP/1.0 404 Not Found\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn a_server_that_is_away_has_no_figures() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(usage(&url).await, None);
    }
}
