//! Generates the messages from their `.proto` files, without `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const CONTENT: &str = ".mpim.client.v1.Content";
const RAW_CONTENT: &str = ".mpim.client.v1.RawContent";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut files = protox::compile(["mpim/client/v1/frames.proto", "mpim/queue/v1/queue.proto"], ["proto"])?;
    let public = files.clone();

    // Servers pass a message's content on as the bytes that came, so that fields they do not know survive. So where
    // an entry or a request *holds* a content, its type is our `RawContent`, which is the same on the wire.
    for file in &mut files.file {
        let mut raw: Vec<_> = file.message_type.iter().filter(|message| message.name() == "Content").cloned().collect();
        raw.iter_mut().for_each(|content| content.name = Some("RawContent".into()));
        for message in &mut file.message_type {
            for field in &mut message.field {
                if field.type_name() == CONTENT {
                    field.type_name = Some(RAW_CONTENT.into());
                }
            }
        }
        file.message_type.extend(raw);
    }

    let mut config = prost_build::Config::new();
    // Maps in the order of their keys: a content that a client writes in JSON is stored encoded, and a retry has to be encoded
    // the same.
    config.bytes(["."]).btree_map(["."]).extern_path(RAW_CONTENT, "crate::RawContent").compile_fds(files.clone())?;
    let mut json = pbjson_build::Builder::new();
    json.register_descriptors(&files.encode_to_vec())?
        .extern_path(RAW_CONTENT, "crate::RawContent")
        .ignore_unknown_fields()
        .btree_map(["."])
        .exclude([RAW_CONTENT])
        .build(&[".mpim.client.v1"])?;

    // For whoever describes the protocol: in JSON schemas, in a page for people.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), public.encode_to_vec())?;
    let requests: Vec<&str> = public
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .filter(|message| message.name() == "ClientFrame")
        .flat_map(|frame| &frame.field)
        .filter(|field| field.oneof_index.is_some())
        .filter_map(|field| field.name.as_deref())
        .collect();
    fs::write(out.join("requests.rs"), format!("&{requests:?}"))?;
    Ok(())
}
