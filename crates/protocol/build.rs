//! Generates the messages from their `.proto` files, without `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const CONTENT: &str = ".mpim.client.v1.Content";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut files = protox::compile(["mpim/client/v1/client.proto", "mpim/queue/v1/queue.proto"], ["proto"])?;
    let public = files.clone();

    // Servers pass a message's content on as the bytes that came, so that fields they do not know survive. So where
    // an entry or a request *holds* a content, its type is our `RawContent`, which is the same on the wire.
    let mut raw = None;
    for file in &mut files.file {
        for message in &mut file.message_type {
            if message.name() == "Content" {
                let mut stand_in = message.clone();
                stand_in.name = Some("RawContent".into());
                raw = Some(stand_in);
            }
            for field in &mut message.field {
                if field.type_name() == CONTENT {
                    field.type_name = Some(".mpim.client.v1.RawContent".into());
                }
            }
        }
        if file.package() == "mpim.client.v1" {
            file.message_type.push(raw.take().ok_or("client.proto has no Content")?);
        }
    }

    let mut config = prost_build::Config::new();
    config.bytes(["."]).extern_path(".mpim.client.v1.RawContent", "crate::RawContent").compile_fds(files.clone())?;
    let mut json = pbjson_build::Builder::new();
    json.register_descriptors(&files.encode_to_vec())?
        .extern_path(".mpim.client.v1.RawContent", "crate::RawContent")
        .ignore_unknown_fields()
        .exclude([".mpim.client.v1.RawContent"])
        .build(&[".mpim.client.v1"])?;

    // For the generator of the services' messages, which refer to these.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), public.encode_to_vec())?;
    Ok(())
}
