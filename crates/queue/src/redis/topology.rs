//! Who keeps which slots.

use std::{fmt, sync::Arc};

use ::redis::Value;

use super::{
    failure::{Failure, unexpected},
    names::Slot,
};

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// As Redis tells it. It may leave out the host, and means that of the server asked then.
    fn read(host: &Value, port: &Value, asked: &Self) -> Result<Self, Failure> {
        let host: Option<String> = ::redis::from_redis_value(host.clone()).map_err(|_| unexpected("a host", host))?;
        let port = ::redis::from_redis_value(port.clone()).map_err(|_| unexpected("a port", port))?;
        let host = host.filter(|host| !host.is_empty()).map_or_else(|| Arc::clone(&asked.host), Arc::from);
        Ok(Self { host, port })
    }
}

/// Who keeps which slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topology {
    /// Each with the last slot that it keeps of a range, in the order of slots.
    ranges: Vec<(Slot, Option<Address>)>,
}

impl Topology {
    pub(super) fn one(address: Address) -> Self {
        Self { ranges: vec![(Slot::LAST, Some(address))] }
    }

    /// From a Sentinel's answer.
    pub(super) fn of_sentinel(answer: &Value, asked: &Address) -> Result<Self, Failure> {
        match answer {
            Value::Array(parts) if parts.len() == 2 => Ok(Self::one(Address::read(&parts[0], &parts[1], asked)?)),
            _ => Err(unexpected("a master's address", answer)),
        }
    }

    /// From a member's answer to `CLUSTER SLOTS`.
    pub(super) fn of_cluster(answer: &Value, asked: &Address) -> Result<Self, Failure> {
        let Value::Array(rows) = answer else { return Err(unexpected("cluster slots", answer)) };
        let mut served = rows.iter().map(|row| read_range(row, asked)).collect::<Result<Vec<_>, _>>()?;
        served.sort_by_key(|(first, ..)| *first);
        let mut ranges = Vec::with_capacity(served.len());
        let mut next = 0;
        for (first, last, keeper) in served {
            if first.0 > next {
                ranges.push((Slot(first.0 - 1), None));
            }
            ranges.push((last, Some(keeper)));
            next = last.0 + 1;
        }
        Ok(Self { ranges })
    }

    /// Whether every slot has a keeper.
    pub(super) fn is_whole(&self) -> bool {
        self.ranges.iter().all(|(_, keeper)| keeper.is_some())
            && self.ranges.last().is_some_and(|(last, _)| *last == Slot::LAST)
    }

    /// All that keep slots; one that keeps several ranges several times.
    pub(super) fn keepers(&self) -> impl Iterator<Item = &Address> {
        self.ranges.iter().filter_map(|(_, keeper)| keeper.as_ref())
    }

    /// The server that keeps the slot.
    pub(super) fn keeper(&self, slot: Slot) -> Result<&Address, Failure> {
        let at = self.ranges.partition_point(|(last, _)| *last < slot);
        self.ranges.get(at).and_then(|(_, address)| address.as_ref()).ok_or(Failure::NoServer(slot))
    }
}

/// One row of `CLUSTER SLOTS`: first and last slot, the keeper, and its replicas.
fn read_range(row: &Value, asked: &Address) -> Result<(Slot, Slot, Address), Failure> {
    let slot = |number: i64| u16::try_from(number).map(Slot).map_err(|_| unexpected("a slot", &number));
    match row {
        Value::Array(parts) => match &parts[..] {
            [Value::Int(first), Value::Int(last), Value::Array(keeper), ..] if keeper.len() >= 2 => {
                Ok((slot(*first)?, slot(*last)?, Address::read(&keeper[0], &keeper[1], asked)?))
            }
            _ => Err(unexpected("cluster slots", row)),
        },
        _ => Err(unexpected("cluster slots", row)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_keeper_of_its_range_or_none() {
        let address = |port| Address { host: "h".into(), port };
        let ranges = vec![(Slot(99), Some(address(1))), (Slot(199), None), (Slot::LAST, Some(address(2)))];
        let topology = Topology { ranges };
        let port = |slot| topology.keeper(Slot(slot)).map(|keeper| keeper.port).ok();
        assert_eq!([0, 99, 100, 199, 200, 16_383].map(port), [Some(1), Some(1), None, None, Some(2), Some(2)]);
    }
}
