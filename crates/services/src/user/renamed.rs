//! Names that users got while tokens with the former ones may still be about.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::UserId;

/// How many calls of [`Renamed::add`] between two clearings of those whose tokens are over.
const CLEAR_EVERY: usize = 1_024;

/// Looked at at each authentication, in memory.
#[derive(Debug, Default)]
pub(super) struct Renamed {
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// The name of each user who was renamed, and when the last token with a former one is over.
    by_user: HashMap<UserId, (String, i64)>,
    added: usize,
}

impl Renamed {
    /// The user's name, if it is another than an old token may say.
    pub(super) fn name(&self, user: UserId) -> Option<String> {
        self.names.read().by_user.get(&user).map(|(name, _)| name.clone())
    }

    pub(super) fn add(&self, user: UserId, name: String, now_ms: i64, over_ms: i64) {
        let mut names = self.names.write();
        names.by_user.insert(user, (name, over_ms));
        names.added += 1;
        if names.added.is_multiple_of(CLEAR_EVERY) {
            names.by_user.retain(|_, (_, over_ms)| *over_ms > now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_until_tokens_with_a_former_one_are_over() {
        let renamed = Renamed::default();
        renamed.add(UserId::new(1), "a".into(), 0, 10);
        renamed.add(UserId::new(1), "b".into(), 5, 15);
        assert_eq!(renamed.name(UserId::new(1)).as_deref(), Some("b"));
        assert_eq!(renamed.name(UserId::new(2)), None);
        for i in 0..2 * CLEAR_EVERY as u64 {
            renamed.add(UserId::new(3 + i % 2), "c".into(), 20, 30);
        }
        assert_eq!(renamed.name(UserId::new(1)), None);
        assert_eq!(renamed.name(UserId::new(3)).as_deref(), Some("c"));
    }
}
