//! What every server answers beside its services: whether it takes calls, and what it can be asked.

use async_trait::async_trait;
use protocol::{Error, wire::ErrorCode};
use tokio_util::sync::CancellationToken;

use crate::service::{Method, Request, Service};

/// Whether a server takes calls. Takes [`Nothing`], answers [`Health`]. A server that drains refuses this as it does any call.
pub const HEALTH: Method = Method::new("mpim.rpc.v1.Server/Health", true);
/// What a server can be asked. Takes [`Nothing`], answers [`MethodList`].
pub const METHODS: Method = Method::new("mpim.rpc.v1.Server/Methods", true);

/// An empty message.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Nothing {}

/// What a server says of itself.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Health {
    /// It takes calls.
    #[prost(bool, tag = "1")]
    pub serving: bool,
}

/// What a server can be asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MethodList {
    /// In the order of their services.
    #[prost(message, repeated, tag = "1")]
    pub methods: Vec<MethodName>,
}

/// A method that a server knows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MethodName {
    /// Package, service and method.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What stands for it in frames.
    #[prost(fixed32, tag = "2")]
    pub id: u32,
    /// It may be tried again whatever became of the first time.
    #[prost(bool, tag = "3")]
    pub idempotent: bool,
}

pub(crate) struct Builtin {
    methods: Vec<Method>,
    draining: CancellationToken,
}

impl Builtin {
    pub(crate) fn new(methods: Vec<Method>, draining: CancellationToken) -> Self {
        Self { methods, draining }
    }
}

#[async_trait]
impl Service for Builtin {
    fn name(&self) -> &'static str {
        "Server"
    }

    fn methods(&self) -> &'static [Method] {
        &[HEALTH, METHODS]
    }

    async fn call(&self, request: Request) {
        let method = request.method();
        let Some((Nothing {}, Nothing {}, reply)) = request.open() else { return };
        match self.methods().get(method) {
            Some(&HEALTH) => reply.send(Ok(Health { serving: !self.draining.is_cancelled() })),
            Some(&METHODS) => {
                let name = |method: &Method| MethodName {
                    name: method.name.into(),
                    id: method.id,
                    idempotent: method.idempotent,
                };
                let methods = self.methods.iter().chain(self.methods()).map(name).collect();
                reply.send(Ok(MethodList { methods }));
            }
            _ => reply.fail(Error::new(ErrorCode::UnknownRequest, "no such method")),
        }
    }
}
