//! Statements about many rows. Their lengths are taken from a ladder, so that a connection prepares few of them.

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlArguments;

/// Lengths of lists, descending: whatever the count, a few of them add up to it.
const LADDER: [usize; 18] = [512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// The contents in one statement, in bytes: less than what any server takes in a packet.
const STATEMENT_BYTES_MAX: usize = 512 * 1024;

/// A statement to be executed.
pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::MySql, MySqlArguments>;

/// Parts of a list that are as long as a step of the ladder each.
pub(super) fn steps<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    limited_steps(items, |_| 0)
}

/// The same, where the items of a part together take no more than a bound of bytes, unless it is one item.
pub(super) fn limited_steps<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut room = STATEMENT_BYTES_MAX;
        let fitting = rest
            .iter()
            .take(LADDER[0])
            .take_while(|item| room.checked_sub(bytes(item)).inspect(|left| room = *left).is_some())
            .count();
        let length = *LADDER.iter().find(|length| **length <= fitting.max(1).min(rest.len()))?;
        let (part, after) = rest.split_at(length);
        rest = after;
        Some(part)
    })
}

/// `before`, then for each of `count` items a list of `width` parameters in parentheses, then `after`.
pub(super) fn sql(before: &str, count: usize, width: usize, after: &str) -> AssertSqlSafe<String> {
    let mut sql = String::with_capacity(before.len() + after.len() + count * (2 * width + 2));
    sql.push_str(before);
    for item in 0..count {
        sql.push_str(if item == 0 { "(" } else { ",(" });
        for parameter in 0..width {
            sql.push_str(if parameter == 0 { "?" } else { ",?" });
        }
        sql.push(')');
    }
    sql.push_str(after);
    // Only parameters are added to what the store's own source says.
    AssertSqlSafe(sql)
}

/// Parts of a list for [`ids`] and [`pairs`], which are filled up to a step of the ladder.
pub(super) fn parts<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    items.chunks(LADDER[0])
}

/// A list with its last item repeated until it is as long as a step of the ladder: in `IN`, that makes no difference.
fn filled<T: Copy>(items: &[T]) -> impl Iterator<Item = T> {
    let length = LADDER.iter().rev().find(|length| **length >= items.len()).copied().unwrap_or(items.len());
    let last = items.last().copied();
    items.iter().copied().chain(last.into_iter().cycle()).take(length)
}

/// A statement that ends in `IN ` and ids, then `after`.
pub(super) fn ids(before: &str, ids: &[i64], after: &str) -> Query<'static> {
    let query = sqlx::query(sql(before, 1, filled(ids).count(), after));
    filled(ids).fold(query, Query::bind)
}

/// A statement that ends in `IN ` and pairs, then `after`.
pub(super) fn pairs(before: &str, pairs: &[(i64, i64)], after: &str) -> Query<'static> {
    let query = sqlx::query(sql(&format!("{before}("), filled(pairs).count(), 2, &format!("){after}")));
    filled(pairs).fold(query, |query, (one, other)| query.bind(one).bind(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_list_and_stay_within_the_bound() {
        for count in [0, 1, 5, 7, 100, 700, 5_000] {
            let items: Vec<usize> = (0..count).collect();
            let parts: Vec<&[usize]> = steps(&items).collect();
            assert!(parts.iter().all(|part| LADDER.contains(&part.len())));
            assert_eq!(parts.concat(), items);
        }
        let large = vec![200 * 1024; 7];
        let parts: Vec<usize> = limited_steps(&large, |bytes| *bytes).map(<[usize]>::len).collect();
        assert_eq!(parts, [2, 2, 2, 1]);
        let larger = vec![STATEMENT_BYTES_MAX + 1; 2];
        assert_eq!(limited_steps(&larger, |bytes| *bytes).count(), 2);
    }

    #[test]
    fn lists_are_filled_up_with_what_they_hold() {
        let filled: Vec<i64> = filled(&[5, 7, 9, 11, 13]).collect();
        assert_eq!(filled, [5, 7, 9, 11, 13, 13]);
        assert_eq!(super::filled(&[1; 400]).count(), 512);
        assert_eq!(parts(&[0; 1_000]).map(<[i32]>::len).collect::<Vec<_>>(), [512, 488]);
    }

    #[test]
    fn parameters_stand_in_parentheses() {
        assert_eq!(sql("VALUES ", 2, 3, " x").0, "VALUES (?,?,?),(?,?,?) x");
    }
}
