//! One entry on its way: what is posted, and how it is signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use client::{ConversationId, wire};
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;
use store::WebhookRow;

/// What is posted.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The same each time this entry is posted by this webhook, and no other's.
    pub(crate) id: String,
    pub(crate) body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    bot: String,
    conversation: String,
    kind: &'static str,
    entry: &'a wire::Entry,
    from: &'a wire::UserInfo,
}

impl Delivery {
    pub(crate) fn new(
        hook: &WebhookRow,
        conversation: ConversationId,
        kind: wire::ConversationKind,
        entry: &wire::Entry,
        from: &wire::UserInfo,
    ) -> serde_json::Result<Self> {
        let body = Body {
            r#type: "entry",
            bot: hook.bot.to_string(),
            conversation: conversation.to_string(),
            kind: kind.as_str_name(),
            entry,
            from,
        };
        let id = format!("{}-{conversation}-{}", hook.id, entry.position);
        Ok(Self { id, body: serde_json::to_vec(&body)?.into() })
    }

    /// The value of `webhook-signature` for a request sent at a time in seconds since 1970.
    pub(crate) fn sign(&self, secret: &[u8], timestamp: u64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(format!("{}.{timestamp}.", self.id).as_bytes());
        mac.update(&self.body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specifications_example() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = Bytes::from_static(br#"{"test": 2432232314}"#);
        let delivery = Delivery { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), body };
        assert_eq!(delivery.sign(&secret, 1_614_265_330), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
