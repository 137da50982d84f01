//! Generates the services' messages, and for each service of `services.proto` a trait that both the service itself and
//! whatever stands for it (a test's double, a remote instance) implement. A method that is not implemented answers as one
//! that is not known: an older instance among newer ones.

use std::{error::Error, fmt::Write as _};

use prost_build::{Service, ServiceGenerator};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../protocol/proto");
    let files = protox::compile(["mpim/service/v1/services.proto"], ["proto", "../protocol/proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        // A content travels as the bytes that came; see `protocol::RawContent`.
        .extern_path(".mpim.client.v1.Content", "::protocol::RawContent")
        .extern_path(".mpim.client.v1", "::protocol::wire")
        .service_generator(Box::new(Traits))
        .compile_fds(files)?;
    Ok(())
}

struct Traits;

impl ServiceGenerator for Traits {
    fn generate(&mut self, service: Service, buf: &mut String) {
        let write = |buf: &mut String, comments: &prost_build::Comments, indent: &str| {
            for line in &comments.leading {
                let _ = writeln!(buf, "{indent}///{line}");
            }
        };
        write(buf, &service.comments, "");
        let _ = writeln!(buf, "#[::async_trait::async_trait]");
        let _ = writeln!(buf, "pub trait {}: Send + Sync + 'static {{", service.name);
        for method in &service.methods {
            write(buf, &method.comments, "    ");
            let _ = writeln!(
                buf,
                "    async fn {}(&self, call: &crate::Call, request: {}) -> ::protocol::Result<{}> {{
                     let _ = (call, request);
                     Err(crate::unknown_method(\"{}\"))
                 }}",
                method.name, method.input_type, method.output_type, method.proto_name
            );
        }
        let _ = writeln!(buf, "}}");
    }
}
