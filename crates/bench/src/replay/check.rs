//! Whether everything arrived: at the devices, and in the server's history.

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::limits::PAGE_ENTRIES_MAX;

use super::cast::{Cast, DEVICES, Place};
use crate::{
    accounts::patiently,
    drive::Bench,
    ledger::{Differences, Ledger, Said},
};

/// Histories being read at a time.
const READING_MAX: usize = 8;
/// Entries in a page: not the largest, so that there are several.
const PAGE_ENTRIES: u32 = PAGE_ENTRIES_MAX / 10;

/// Compares what the devices' events told, in their order. Takes what they received.
pub(super) fn devices(cast: &Cast, ledger: &Ledger, differences: &mut Differences) {
    for (number, device) in cast.devices.iter().enumerate() {
        let mut received = device.take_received();
        for place in cast.places(number / DEVICES) {
            let said = received.said.remove(&place.conversation).unwrap_or_default();
            ledger.compare(&device.name, place.conversation, &said, differences);
        }
        for (conversation, said) in received.said {
            differences.note(format!(
                "{}: {} texts of conversation {conversation}, a stranger's",
                device.name,
                said.len()
            ));
        }
        for oddity in received.oddities {
            differences.note(format!("{}: {oddity}", device.name));
        }
    }
}

/// Compares the server's history of every conversation, read in pages by two of its members; returns the differences and
/// how many texts were read.
///
/// # Errors
///
/// It cannot be read.
pub(super) async fn history(bench: &Bench, cast: &Cast, ledger: &Ledger) -> Result<(Differences, usize)> {
    let mut differences = Differences::default();
    ledger.contradictions(&mut differences);
    let readers =
        cast.rooms.iter().flat_map(|place| place.members.iter().take(2).map(move |account| (place, *account)));
    let bar = bench.progress.bar("histories", cast.rooms.len() as u64 * 2);
    let histories: Vec<_> = stream::iter(readers)
        .map(|(place, account)| read(bench, cast, place, account))
        .buffered(READING_MAX)
        .inspect(|_| bar.step())
        .try_collect()
        .await?;
    let mut texts = 0;
    for History { place, reader, said, oddities } in histories {
        texts += said.len();
        ledger.compare(&format!("history as {reader} reads it"), place.conversation, &said, &mut differences);
        for oddity in oddities {
            differences.note(format!("history of conversation {}: {oddity}", place.conversation));
        }
    }
    Ok((differences, texts))
}

struct History<'a> {
    place: &'a Place,
    reader: String,
    said: Vec<Said>,
    oddities: Vec<String>,
}

async fn read<'a>(bench: &Bench, cast: &'a Cast, place: &'a Place, account: usize) -> Result<History<'a>> {
    let client = cast.first(account).client_when_on().await.context("a device has ended")?;
    let (mut said, mut oddities, mut last) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = || client.history_after(place.conversation, last, PAGE_ENTRIES);
        let page = patiently(bench.args.patience, page).await.context("cannot read a history")?;
        if page.entries.is_empty() {
            if page.last_position != last {
                oddities.push(format!("it ends at {last}, and should at {}", page.last_position));
            }
            return Ok(History { place, reader: client.name().to_owned(), said, oddities });
        }
        for entry in &page.entries {
            if entry.position != last + 1 {
                oddities.push(format!("position {} follows {last}", entry.position));
            }
            last = entry.position;
            said.extend(Said::of(entry));
        }
    }
}
