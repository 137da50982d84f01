//! The content of a message as the bytes that came.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};

use crate::wire::{Content, content};

/// An encoded [`Content`], kept as its bytes: what a server stores and forwards, including fields that it does not
/// know. On the wire and in JSON it is the same as [`Content`].
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RawContent(Bytes);

impl RawContent {
    /// Takes bytes that are believed to be an encoded content; [`view`](Self::view) tells whether they are.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Decodes the content.
    ///
    /// # Errors
    ///
    /// The bytes are not an encoded content, for example because a text is not UTF-8.
    pub fn view(&self) -> Result<Content, DecodeError> {
        Content::decode(self.0.clone())
    }

    /// The text, if it is a text message.
    pub fn text(&self) -> Option<String> {
        match self.view().ok()?.kind? {
            content::Kind::Text(text) => Some(text.body),
            _ => None,
        }
    }
}

impl From<content::Kind> for RawContent {
    fn from(kind: content::Kind) -> Self {
        Content { kind: Some(kind), ..Content::default() }.into()
    }
}

impl From<Content> for RawContent {
    fn from(content: Content) -> Self {
        Self(content.encode_to_vec().into())
    }
}

impl fmt::Debug for RawContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view() {
            Ok(content) => content.fmt(f),
            Err(_) => write!(f, "RawContent({:?})", self.0),
        }
    }
}

impl Message for RawContent {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    // Called once for each field. Two embedded messages with the same number are merged by concatenation, which is
    // what appending does.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut bytes = BytesMut::from(std::mem::take(&mut self.0));
        copy_field(tag, wire_type, buf, &mut bytes, ctx)?;
        self.0 = bytes.freeze();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

fn copy_field(
    tag: u32,
    wire_type: WireType,
    from: &mut impl Buf,
    to: &mut BytesMut,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    match wire_type {
        WireType::Varint => {
            let value = encoding::decode_varint(from)?;
            encoding::encode_key(tag, wire_type, to);
            encoding::encode_varint(value, to);
        }
        WireType::ThirtyTwoBit => {
            let mut value = 0u32;
            encoding::fixed32::merge(wire_type, &mut value, from, ctx)?;
            encoding::fixed32::encode(tag, &value, to);
        }
        WireType::SixtyFourBit => {
            let mut value = 0u64;
            encoding::fixed64::merge(wire_type, &mut value, from, ctx)?;
            encoding::fixed64::encode(tag, &value, to);
        }
        WireType::LengthDelimited => {
            let mut value = Bytes::new();
            encoding::bytes::merge(wire_type, &mut value, from, ctx)?;
            encoding::bytes::encode(tag, &value, to);
        }
        // Groups left the language in 2008; dropping one loses nothing that a client of ours could have sent.
        WireType::StartGroup | WireType::EndGroup => encoding::skip_field(wire_type, tag, from, ctx)?,
    }
    Ok(())
}

impl Serialize for RawContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view().map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Content::deserialize(deserializer)?.encode_to_vec().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Entry, Text};

    #[test]
    fn fields_unknown_here_survive_decoding_and_encoding() {
        let mut content = RawContent::from(content::Kind::Text(Text { body: "天气".into() })).as_bytes().to_vec();
        encoding::uint64::encode(9_000, &77, &mut content);
        encoding::fixed32::encode(9_001, &5, &mut content);
        encoding::fixed64::encode(9_002, &6, &mut content);
        let entry =
            Entry { position: 3, content: Some(RawContent::from_bytes(content.clone().into())), ..Entry::default() };
        let again = Entry::decode(entry.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again.content.as_ref().unwrap().as_bytes(), &content);
        assert_eq!(again.content.unwrap().text().unwrap(), "天气");
    }

    #[test]
    fn json_is_that_of_the_decoded_content() {
        let entry = Entry {
            position: u64::MAX,
            content: Some(content::Kind::Text(Text { body: "hi".into() }).into()),
            ..Entry::default()
        };
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, r#"{"position":"18446744073709551615","content":{"text":{"body":"hi"}}}"#);
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
    }
}
