//! The requests of those who run the server.

use api::Call;
use protocol::{
    Result,
    wire::{AdminAnswer, admin_answer::Body as Answer, admin_request::Body as Request},
};
use tokio::time::timeout_at;

use super::{Dispatch, late};

impl Dispatch {
    /// Answers a request whose sender has shown the admin key, by the call's deadline.
    ///
    /// # Errors
    ///
    /// What the service says; past the deadline, that the outcome is unknown.
    pub(crate) async fn answer_admin(&self, call: &Call, request: Request) -> Result<AdminAnswer> {
        let user = &self.services.user;
        let kind = match &request {
            Request::Suspend(_) => "admin_suspend",
            Request::ListReports(_) => "admin_list_reports",
            Request::CloseReport(_) => "admin_close_report",
        };
        let answer = async {
            Ok(match request {
                Request::Suspend(request) => Answer::Done(user.suspend(call, request).await?),
                Request::ListReports(request) => Answer::Reports(user.list_reports(call, request).await?),
                Request::CloseReport(request) => Answer::Done(user.close_report(call, request).await?),
            })
        };
        let result = timeout_at(call.deadline, answer).await.unwrap_or_else(|_| Err(late(false)));
        self.settle(kind, result.map(|answer| AdminAnswer { body: Some(answer) }))
    }
}
