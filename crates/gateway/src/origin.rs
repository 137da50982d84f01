//! Where a client really is, when proxies stand before the gateway.
//!
//! Limits count against a client's address, so it is believed only from proxies that the configuration names: anybody else
//! could claim any address. Proxies of TCP say it in a header of the PROXY protocol (version 1 or 2) before all else, those of
//! HTTP in `X-Forwarded-For`.

use std::{fmt, net::IpAddr, str::FromStr};

use http::HeaderMap;
use ipnet::IpNet;
use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncRead;

use crate::socket::Ahead;

/// What a header of the PROXY protocol begins with, in both versions.
const PREFIX_V1: &[u8] = b"PROXY ";
const PREFIX_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, as the protocol has it; and the longest of version 2 that is taken: addresses take at most
/// 232 bytes, and what proxies add is short.
const BYTES_MAX_V1: usize = 107;
const BYTES_MAX_V2: usize = 1_024;
/// Of version 2: the fixed part, which ends with the length of the rest.
const FIXED_V2: usize = 16;
/// Proxies that a request may have come through; what is named before those is not looked at.
const PROXIES_MAX: usize = 16;

/// A network, such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// A text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network: wanted is an address, or one with the length of its prefix, such as 10.0.0.0/8")]
pub struct InvalidNetwork {
    text: String,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(network.trunc())).map_err(|_| InvalidNetwork { text: text.to_owned() })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a proxy of these networks has this address.
pub(crate) fn is_proxy(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(address))
}

/// Who made a request that came from `peer`: the last in the list of forwarded addresses that no trusted proxy has.
pub(crate) fn forwarded(proxies: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = peer;
    // One list, in the order of the headers; each proxy appends whom it heard from.
    let lists = headers.get_all("x-forwarded-for").into_iter().map(|value| value.to_str().unwrap_or(""));
    let lists: Vec<_> = lists.collect();
    for claimed in lists.iter().rev().flat_map(|list| list.rsplit(',')).take(PROXIES_MAX) {
        if !is_proxy(proxies, address) {
            break;
        }
        match parse(claimed.trim()) {
            Some(claimed) => address = claimed,
            None => break,
        }
    }
    address
}

/// An address, perhaps with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address| address.to_canonical())
}

/// What a trusted proxy said of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Introduced {
    /// Nothing: a proxy of HTTP says it with each request.
    Not,
    /// The proxy connects on its own behalf, to see whether the gateway is there; or does not know.
    Itself,
    /// The client's address.
    As(IpAddr),
}

/// Takes the header of the PROXY protocol off a connection from a trusted proxy, if there is one. To be bounded in time.
///
/// # Errors
///
/// There is one, and it is malformed or too long.
pub(crate) async fn introduction<S: AsyncRead + Unpin>(stream: &mut Ahead<S>) -> Result<Introduced, String> {
    loop {
        match header(stream.seen())? {
            Header::Not => return Ok(Introduced::Not),
            Header::Whole(length) => {
                let introduced = read(&stream.seen()[..length])?;
                stream.skip(length);
                return Ok(introduced);
            }
            Header::Begun => {
                if !stream.look().await.map_err(|error| error.to_string())? {
                    return Ok(Introduced::Not);
                }
            }
        }
    }
}

/// How much of a header there is.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// These bytes are none.
    Not,
    /// They may become one.
    Begun,
    /// So many of them are one.
    Whole(usize),
}

fn header(bytes: &[u8]) -> Result<Header, String> {
    if let Some(rest) = bytes.strip_prefix(PREFIX_V1) {
        let end = rest.iter().take(BYTES_MAX_V1 - PREFIX_V1.len()).position(|&byte| byte == b'\n');
        return match end {
            Some(end) => Ok(Header::Whole(PREFIX_V1.len() + end + 1)),
            None if bytes.len() < BYTES_MAX_V1 => Ok(Header::Begun),
            None => Err(format!("a PROXY header of more than {BYTES_MAX_V1} bytes")),
        };
    }
    if bytes.starts_with(PREFIX_V2) {
        let Some(&[high, low]) = bytes.get(FIXED_V2 - 2..FIXED_V2) else { return Ok(Header::Begun) };
        let length = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
        return match length {
            _ if length > BYTES_MAX_V2 => Err(format!("a PROXY header of {length} bytes, allowed are {BYTES_MAX_V2}")),
            _ if bytes.len() < length => Ok(Header::Begun),
            _ => Ok(Header::Whole(length)),
        };
    }
    let may_become = PREFIX_V1.starts_with(bytes) || PREFIX_V2.starts_with(bytes);
    Ok(if may_become { Header::Begun } else { Header::Not })
}

fn read(header: &[u8]) -> Result<Introduced, String> {
    let malformed = |why: String| format!("a malformed PROXY header: {why}");
    let address: IpAddr = match HeaderResult::parse(header) {
        HeaderResult::V1(parsed) => match parsed.map_err(|error| malformed(error.to_string()))?.addresses {
            v1::Addresses::Tcp4(addresses) => addresses.source_address.into(),
            v1::Addresses::Tcp6(addresses) => addresses.source_address.into(),
            v1::Addresses::Unknown => return Ok(Introduced::Itself),
        },
        HeaderResult::V2(parsed) => {
            let parsed = parsed.map_err(|error| malformed(error.to_string()))?;
            match (parsed.command, parsed.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => addresses.source_address.into(),
                (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => addresses.source_address.into(),
                _ => return Ok(Introduced::Itself),
            }
        }
    };
    Ok(Introduced::As(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn proxies() -> Vec<Network> {
        ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        assert_eq!("10.1.2.3/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert!(is_proxy(&proxies(), ip("127.0.0.1")) && !is_proxy(&proxies(), ip("127.0.0.2")));
        assert!(is_proxy(&proxies(), ip("fd12::1")) && !is_proxy(&proxies(), ip("::1")));
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8,127.0.0.1"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("10.0.0.0/8"), "{error}");
        }
    }

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
        let from = |peer: &str, lists: &[&str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            forwarded(&proxies(), ip(peer), &headers).to_string()
        };
        assert_eq!(from("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "whoever connects could say so");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        // The client says what it likes; the proxy appends where it saw the client.
        assert_eq!(from("127.0.0.1", &["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &["203.0.113.9", "198.51.100.7 , 10.1.1.1"]), "198.51.100.7");
        assert_eq!(from("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2", "all of them are trusted");
        for (text, address) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("unknown", "127.0.0.1"),
            ("198.51.100.7, unknown", "127.0.0.1"),
            ("\u{e9}", "127.0.0.1"),
        ] {
            assert_eq!(from("127.0.0.1", &[text]), address, "{text}");
        }
        let many = vec!["10.0.0.1"; 100_000].join(", ");
        assert_eq!(from("127.0.0.1", &[&many]), "10.0.0.1");
    }

    /// What is read of these bytes, given one at a time, and what is left.
    async fn introduced(bytes: &[u8]) -> Result<(Introduced, Vec<u8>), String> {
        let (mut client, server) = tokio::io::duplex(1);
        let bytes = bytes.to_vec();
        let writing = tokio::spawn(async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, &bytes).await;
        });
        let mut stream = Ahead::new(server);
        let introduced = introduction(&mut stream).await;
        let mut rest = Vec::new();
        if introduced.is_ok() {
            stream.read_to_end(&mut rest).await.unwrap();
        }
        drop(stream);
        writing.await.unwrap();
        introduced.map(|introduced| (introduced, rest))
    }

    fn v2(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len() + more.len()).unwrap().to_be_bytes();
        [PREFIX_V2, &[0x20 | command, family], &length, addresses, more].concat()
    }

    #[tokio::test]
    async fn a_header_is_taken_off_in_both_versions_and_what_follows_is_left() {
        let four = [198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90];
        let six = [&ip_bytes("2001:db8::7")[..], &ip_bytes("::1"), &[0x12, 0x67, 0x1f, 0x90]].concat();
        let long = [0x04u8, 0, 200].into_iter().chain([0; 200]).collect::<Vec<u8>>();
        for (header, wanted) in [
            (b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8080\r\n".to_vec(), Introduced::As(ip("198.51.100.7"))),
            (b"PROXY TCP6 2001:db8::7 ::1 4711 8080\r\n".to_vec(), Introduced::As(ip("2001:db8::7"))),
            (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 4711 8080\r\n".to_vec(), Introduced::As(ip("198.51.100.7"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Introduced::Itself),
            (v2(1, 0x11, &four, &[]), Introduced::As(ip("198.51.100.7"))),
            (v2(1, 0x21, &six, &[]), Introduced::As(ip("2001:db8::7"))),
            (v2(1, 0x11, &four, &long), Introduced::As(ip("198.51.100.7"))),
            (v2(0, 0x00, &[], &[]), Introduced::Itself),
            (Vec::new(), Introduced::Not),
        ] {
            for rest in [&b"MPIM/1\xff\x00"[..], b"POST / HTTP/1.1\r\n", b"\x16\x03\x01", b""] {
                let bytes = [&header[..], rest].concat();
                assert_eq!(introduced(&bytes).await, Ok((wanted, rest.to_vec())), "{bytes:?}");
            }
        }
        assert_eq!(introduced(b"PRO").await, Ok((Introduced::Not, b"PRO".to_vec())));
    }

    fn ip_bytes(text: &str) -> [u8; 16] {
        text.parse::<std::net::Ipv6Addr>().unwrap().octets()
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_they_are_read_or_refused(
            prefix in prop::sample::select(vec![&b""[..], PREFIX_V1, b"PROXY TCP4 ", PREFIX_V2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            end in prop::sample::select(vec![&b""[..], b"\r\n"]),
        ) {
            let bytes = [prefix, &rest, end].concat();
            if let Ok(Header::Whole(length)) = header(&bytes) {
                prop_assert!(length <= bytes.len() && length <= BYTES_MAX_V2);
                let _ = read(&bytes[..length]);
            }
        }

        #[test]
        fn whatever_a_client_claims_it_is_no_trusted_proxy(claims in prop::collection::vec("[0-9a-f.:,\\[\\] ]{0,60}", 0..4)) {
            let mut headers = HeaderMap::new();
            for claim in claims {
                headers.append("x-forwarded-for", claim.parse().unwrap());
            }
            // The proxy appends where it saw the client, and nothing before that is looked at.
            headers.append("x-forwarded-for", "198.51.100.7".parse().unwrap());
            prop_assert_eq!(forwarded(&proxies(), ip("127.0.0.1"), &headers), ip("198.51.100.7"));
        }
    }

    #[tokio::test]
    async fn a_malformed_header_is_refused_before_it_takes_memory() {
        for bytes in [
            b"PROXY nonsense\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n".to_vec(),
            [PREFIX_V1, &[b'x'; 10_000]].concat(),
            v2(1, 0x11, &[1, 2, 3], &[]),
            v2(7, 0x11, &[0; 12], &[]),
            v2(1, 0x11, &[0; 12], &[0xff; 20_000]),
            [PREFIX_V2, &[0x11, 0x11, 0, 12], &[0; 12]].concat(),
        ] {
            let refused = introduced(&bytes).await.unwrap_err();
            assert!(refused.contains("PROXY header"), "{refused}");
        }
    }
}
