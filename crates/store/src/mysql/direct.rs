//! Direct conversations.

use protocol::{
    ConversationId, UserId,
    wire::{ConversationKind, Role},
};
use sqlx::MySqlConnection;

use super::{
    contacts,
    convert::{self, column},
    lists::ids,
    pending::{NewMember, insert_members},
};

/// The direct conversation of two users, the smaller id first, if there is one.
pub(super) async fn find(
    connection: &mut MySqlConnection,
    a: UserId,
    b: UserId,
) -> sqlx::Result<Option<ConversationId>> {
    let found = sqlx::query("SELECT id FROM conversations WHERE user_a = ? AND user_b = ?")
        .bind(column(a.get()))
        .bind(column(b.get()))
        .fetch_optional(connection)
        .await?;
    found.map(|row| convert::conversation(&row, 0)).transpose()
}

/// Makes the direct conversation of two users, the smaller id first, unless there is one.
pub(super) async fn open(
    connection: &mut MySqlConnection,
    a: UserId,
    b: UserId,
    new: ConversationId,
) -> sqlx::Result<ConversationId> {
    // As whoever blocks does: a block is seen here, or finds the conversation.
    let logs = [a, b].map(|user| column(user.personal_log().get()));
    ids("SELECT id FROM conversations FORCE INDEX (PRIMARY) WHERE id IN ", &logs, " ORDER BY id FOR UPDATE")
        .fetch_all(&mut *connection)
        .await?;
    if let Some(conversation) = find(connection, a, b).await? {
        return Ok(conversation);
    }
    let users = if a == b { vec![(a, a)] } else { vec![(a, b), (b, a)] };
    // Nobody's heads show a direct conversation before its first entry, so that revision 0 will do.
    sqlx::query("INSERT INTO conversations (id, kind, user_a, user_b, members) VALUES (?, ?, ?, ?, ?)")
        .bind(column(new.get()))
        .bind(ConversationKind::Direct as i32)
        .bind(column(a.get()))
        .bind(column(b.get()))
        .bind(users.len() as i64)
        .execute(&mut *connection)
        .await?;
    let mut members = Vec::with_capacity(users.len());
    for (user, peer) in users {
        let contact = contacts::find(connection, user, peer).await?;
        members.push(NewMember {
            user,
            conversation: new,
            kind: ConversationKind::Direct,
            peer: Some(peer),
            role: Role::Member,
            read_position: 0,
            blocked_at: contact.is_some_and(|contact| contact.blocked).then_some(0),
        });
    }
    insert_members(connection, &members).await?;
    Ok(new)
}
