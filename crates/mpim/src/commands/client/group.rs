//! `group`.

mod manage;
mod tell;

use clap::{Args, Subcommand, ValueEnum};
use client::wire;
use protocol::GroupId;

use crate::commands::client::{connection::Place, print::Printer};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group.
    ///
    /// JSON: id, title.
    Create(CreateArgs),
    /// Enter a group, or ask owner and admins to be let in.
    ///
    /// JSON: id, title, waiting.
    Join(JoinArgs),
    /// Leave a group; an owner who is alone dissolves it.
    Leave {
        /// The group's id
        id: GroupId,
    },
    /// Bring users into a group.
    Invite {
        /// The group's id
        id: GroupId,
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove members.
    Remove {
        /// The group's id
        id: GroupId,
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// They may not come back; works for those who are no members as well
        #[arg(long)]
        ban: bool,
    },
    /// Let users who were banned come back; without names, list them.
    ///
    /// JSON of the list: id, name, display_name, status_line, bot.
    Unban {
        /// The group's id
        id: GroupId,
        /// Their names
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// List a group's members.
    ///
    /// JSON: id, name, role ("owner", "admin", "member"), nickname, muted_until.
    Members {
        /// The group's id
        id: GroupId,
    },
    /// List the groups one is a member of, those that moved last first.
    ///
    /// JSON: id, title, last_position, unread.
    List,
    /// Tell what a group is.
    ///
    /// JSON: id, title, description, announcement, join ("open", "approval", "invitation"), admins_invite, muted, dissolved,
    /// members, created, role (null if one is no member).
    #[command(
        override_usage = "mpim client group info [OPTIONS] <ID>\n       mpim client group info [OPTIONS] --link <CODE>"
    )]
    Info(WhichArgs),
    /// Change what a group is; what is not given stays. For owner and admins.
    Set(SetArgs),
    /// Make a member an admin, or an admin a member. For the owner.
    Role {
        /// The group's id
        id: GroupId,
        /// The member's name
        name: String,
        /// What the member becomes
        role: Role,
    },
    /// Make another member the owner.
    Transfer {
        /// The group's id
        id: GroupId,
        /// The member's name
        name: String,
    },
    /// Keep members from writing for a time. For owner and admins.
    Mute {
        /// The group's id
        id: GroupId,
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// For how long; 0 lifts it
        #[arg(long, value_name = "MINUTES", default_value = "60")]
        minutes: u32,
    },
    /// Set one's own name in a group; without one, take it away.
    Nickname {
        /// The group's id
        id: GroupId,
        /// What others call you there
        #[arg(default_value = "")]
        nickname: String,
    },
    /// End a group for good. For the owner.
    Dissolve {
        /// The group's id
        id: GroupId,
    },
    /// List those who ask to be let in.
    ///
    /// JSON: id, name, message, time.
    Requests {
        /// The group's id
        id: GroupId,
    },
    /// Let somebody in who asked.
    Admit {
        /// The group's id
        id: GroupId,
        /// The user's name
        name: String,
    },
    /// Do not let somebody in who asked.
    Refuse {
        /// The group's id
        id: GroupId,
        /// The user's name
        name: String,
    },
    /// Links by which anybody joins. For owner and admins.
    #[command(subcommand)]
    Link(LinkCommand),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The group's title
    title: String,
    #[arg(hide = true)]
    others: Vec<String>,
    /// A member beside oneself; may be given several times
    #[arg(long = "member", value_name = "NAME")]
    members: Vec<String>,
    /// Who may join: whoever knows or guesses the id, those whom owner or admins let in, or those whom a member brings in
    #[arg(long, value_name = "HOW", default_value = "open")]
    join: Join,
}

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// For owner and admins to read, where they decide
    #[arg(long, value_name = "TEXT", default_value = "")]
    message: String,
}

/// A group, by id or by link.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// The group's id
    #[arg(required_unless_present = "link", conflicts_with = "link")]
    id: Option<GroupId>,
    /// The code of a link
    #[arg(long, value_name = "CODE")]
    link: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The group's id
    id: GroupId,
    /// What it is called
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A reference to a picture
    #[arg(long, value_name = "URL")]
    avatar: Option<String>,
    /// What its members should know
    #[arg(long, value_name = "TEXT")]
    announcement: Option<String>,
    /// Who may join
    #[arg(long, value_name = "HOW")]
    join: Option<Join>,
    /// Only owner and admins bring others in
    #[arg(long, value_name = "true|false")]
    admins_invite: Option<bool>,
    /// Only owner and admins write
    #[arg(long, value_name = "true|false")]
    muted: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Join {
    Open,
    Approval,
    Invitation,
}

impl From<Join> for wire::JoinPolicy {
    fn from(join: Join) -> Self {
        match join {
            Join::Open => Self::Open,
            Join::Approval => Self::ByApproval,
            Join::Invitation => Self::ByInvitation,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Admin,
    Member,
}

#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Make a link.
    ///
    /// JSON: code, group, created, expires (null: never), uses_max (0: any number), uses.
    Create {
        /// The group's id
        id: GroupId,
        /// For how long it can be used; 0: for good
        #[arg(long, value_name = "HOURS", default_value = "168")]
        hours: u32,
        /// How often it can be used; 0: any number of times
        #[arg(long, value_name = "N", default_value = "0")]
        uses: u32,
    },
    /// List the links that can be used.
    ///
    /// JSON: as `create`.
    List {
        /// The group's id
        id: GroupId,
    },
    /// Make a link useless.
    Revoke {
        /// The group's id
        id: GroupId,
        /// The link's code
        code: String,
    },
}

pub(super) async fn run(place: &Place, printer: Printer, command: GroupCommand) -> anyhow::Result<()> {
    let client = place.connect().await?;
    match command {
        GroupCommand::Members { id } => tell::members(printer, &client, id).await?,
        GroupCommand::List => tell::groups(printer, &client).await?,
        GroupCommand::Info(which) => tell::info(printer, &client, which).await?,
        GroupCommand::Requests { id } => tell::requests(printer, &client, id).await?,
        GroupCommand::Unban { id, names } if names.is_empty() => tell::bans(printer, &client, id).await?,
        command => manage::run(printer, &client, command).await?,
    }
    client.close().await;
    Ok(())
}
