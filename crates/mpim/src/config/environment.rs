//! What the environment says.

use std::collections::{HashMap, HashSet};

use super::{
    mistake::{Mistake, Place, nearest},
    read::known_keys,
    source::{Entries, Entry, Raw},
};

/// Begins the names of all variables.
const PREFIX: &str = "MPIM_";

/// The variable of a key; of a secret also with `_file` appended to the key.
pub(crate) fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{section}_{key}").to_uppercase()
}

/// Adds what the environment says, over what is there. A variable that is unknown but near to a known one is a
/// mistake; others are somebody else's (container platforms make such as `MPIM_GATEWAY_PORT_8080_TCP`).
pub(super) fn read(
    environment: impl Iterator<Item = (String, String)>,
    entries: &mut Entries,
    mistakes: &mut Vec<Mistake>,
) {
    let known: HashMap<_, _> =
        known_keys().into_iter().map(|(section, key)| (variable(section, &key), (section, key))).collect();
    let mut variables: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        match known.get(&name) {
            Some((section, key)) => entries.values.push(Entry {
                section: (*section).to_owned(),
                key: key.clone(),
                raw: Raw::Bare(value),
                place: Place::Variable(name),
            }),
            None => {
                if let Some(meant) = meant(&name, &known) {
                    let text = format!("unknown variable; did you mean {meant}?");
                    mistakes.push(Mistake { place: Place::Variable(name), text });
                }
            }
        }
    }
}

/// The variables that begin as ours do and set nothing, though some of them were perhaps meant to; sorted. Those that other
/// commands read (`used_elsewhere`) are left out.
pub(crate) fn unknown(environment: impl Iterator<Item = (String, String)>, used_elsewhere: &[&str]) -> Vec<String> {
    let known: HashSet<_> = known_keys().into_iter().map(|(section, key)| variable(section, &key)).collect();
    let ours = environment.map(|(name, _)| name).filter(|name| name.starts_with(PREFIX));
    let mut unknown: Vec<_> =
        ours.filter(|name| !known.contains(name) && !used_elsewhere.contains(&name.as_str())).collect();
    unknown.sort();
    unknown
}

/// The known variable that is misspelt here: one of the same section whose key is near.
fn meant<'a>(name: &str, known: &'a HashMap<String, (&'static str, String)>) -> Option<&'a str> {
    let siblings = known.iter().filter_map(|(variable, (section, _))| {
        let start = variable.len().min(PREFIX.len() + section.len() + 1);
        let key = name.strip_prefix(&variable[..start])?;
        Some((key, &variable[start..], variable.as_str()))
    });
    siblings.filter_map(|(key, wanted, variable)| nearest(key, std::iter::once(wanted)).map(|_| variable)).min()
}
