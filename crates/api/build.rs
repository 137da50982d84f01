//! Generates the services' messages, and for each service of `services.proto`:
//!
//! - a trait that the service itself and whatever stands for it (a remote instance, a test's double) implement. A method that is
//!   not implemented answers as one that is not known: an older instance among newer ones;
//! - a client, which implements the trait by calling remote instances;
//! - a server, which answers remote calls by calling the trait.
//!
//! How calls find an instance stands beside each method (`route.proto`); a method without it does not compile.

use std::{collections::HashMap, error::Error, fmt::Write as _};

use prost_build::{Comments, Method, Service, ServiceGenerator};
use protox::prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, Kind, MethodDescriptor};

const SERVICES: &str = "mpim/service/v1/services.proto";
/// Of no use once the code is generated.
const ROUTE: &str = "mpim/service/v1/route.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../protocol/proto");
    let mut compiler = protox::Compiler::new(["proto", "../protocol/proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files([SERVICES, "mpim/service/v1/call.proto"])?;
    let routes = routes(&compiler.descriptor_pool())?;
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| file.name() != ROUTE);
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        // A content travels as the bytes that came; see `protocol::RawContent`.
        .extern_path(".mpim.client.v1.Content", "::protocol::RawContent")
        .extern_path(".mpim.client.v1", "::protocol::wire")
        .service_generator(Box::new(Generator { routes }))
        .compile_fds(files)?;
    Ok(())
}

/// How calls of a method find an instance.
struct Route {
    /// An expression of `rpc::Route`, in a client's method; or the function that makes several calls out of one.
    by: By,
    idempotent: bool,
}

enum By {
    Route(String),
    Each(String),
}

/// The routes of all methods, by their names: `UserService/LogIn`.
fn routes(pool: &DescriptorPool) -> Result<HashMap<String, Route>, Box<dyn Error>> {
    let extension =
        pool.get_extension_by_name("mpim.service.v1.route").ok_or("route.proto defines the option `route`")?;
    let mut routes = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let name = format!("{}/{}", service.name(), method.name());
            let route = route(&method, &extension).map_err(|why| format!("{SERVICES}: {name}: {why}"))?;
            routes.insert(name, route);
        }
    }
    Ok(routes)
}

fn route(method: &MethodDescriptor, extension: &ExtensionDescriptor) -> Result<Route, Box<dyn Error>> {
    let options = method.options();
    if !options.has_extension(extension) {
        return Err("option (route) is missing; see route.proto".into());
    }
    let value = options.get_extension(extension);
    let route: &DynamicMessage = value.as_message().ok_or("a route is a message")?;
    let text = |name: &str| route.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned));
    let is_set = |name: &str| route.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false);
    let field = |name: &str| {
        let known = method.input().get_field_by_name(name);
        known.ok_or_else(|| format!("{} has no field {name}", method.input().name()))
    };
    let by = if is_set("any") {
        By::Route("::rpc::Route::Any".into())
    } else if is_set("caller") {
        By::Route("crate::remote::by_caller(call)".into())
    } else if let Some(name) = text("field").filter(|name| !name.is_empty()) {
        By::Route(match field(&name)?.kind() {
            Kind::Fixed64 | Kind::Uint64 => format!("::rpc::Route::Key(request.{name})"),
            Kind::String => format!("::rpc::Route::text(&::protocol::name_key(&request.{name}))"),
            other => {
                return Err(format!("{name} is a {other:?}; calls are routed by fixed64, uint64 and string").into());
            }
        })
    } else if let Some(name) = text("each").filter(|name| !name.is_empty()) {
        field(&name)?;
        By::Each(name)
    } else {
        return Err("its route says neither any nor field nor caller nor each".into());
    };
    Ok(Route { by, idempotent: is_set("idempotent") })
}

struct Generator {
    routes: HashMap<String, Route>,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = self.methods(&service, out);
        let _ = generate_trait(&service, out);
        let _ = self.client(&service, out);
        let _ = generate_server(&service, out);
    }
}

impl Generator {
    fn route(&self, service: &Service, method: &Method) -> &Route {
        &self.routes[&format!("{}/{}", service.proto_name, method.proto_name)]
    }

    fn methods(&self, service: &Service, out: &mut String) -> std::fmt::Result {
        writeln!(out, "const {}: &[::rpc::Method] = &[", methods_name(service))?;
        for method in &service.methods {
            let (package, name) = (&service.package, &service.proto_name);
            let idempotent = self.route(service, method).idempotent;
            writeln!(out, "    ::rpc::Method::new(\"{package}.{name}/{}\", {idempotent}),", method.proto_name)?;
        }
        writeln!(out, "];")
    }

    fn client(&self, service: &Service, out: &mut String) -> std::fmt::Result {
        let (name, client, methods) = (&service.name, short_name(service, "Client"), methods_name(service));
        write!(
            out,
            "/// Calls the [`{name}`] of remote instances. Callers cannot tell it from the service itself.
             #[derive(Clone)]
             pub struct {client}(::rpc::Channel);

             impl {client} {{
                 /// Calls over this channel.
                 pub fn new(channel: ::rpc::Channel) -> Self {{
                     Self(channel)
                 }}
             }}

             #[::async_trait::async_trait]
             impl {name} for {client} {{
             "
        )?;
        for (index, method) in service.methods.iter().enumerate() {
            let (name, input, output) = (&method.name, &method.input_type, &method.output_type);
            let call = match &self.route(service, method).by {
                By::Route(route) => format!(
                    "let route = {route};
                     self.0.call(&{methods}[{index}], route, call.deadline, &call.header(), &request).await"
                ),
                By::Each(field) => format!("crate::each::{field}(&self.0, &{methods}[{index}], call, request).await"),
            };
            write!(
                out,
                "    async fn {name}(&self, call: &crate::Call, request: {input}) -> ::protocol::Result<{output}> {{
                         {call}
                     }}
                "
            )?;
        }
        writeln!(out, "}}")
    }
}

fn generate_trait(service: &Service, out: &mut String) -> std::fmt::Result {
    comments(&service.comments, "", out)?;
    writeln!(out, "#[::async_trait::async_trait]")?;
    writeln!(out, "pub trait {}: Send + Sync + 'static {{", service.name)?;
    for method in &service.methods {
        comments(&method.comments, "    ", out)?;
        writeln!(
            out,
            "    async fn {}(&self, call: &crate::Call, request: {}) -> ::protocol::Result<{}> {{
                     let _ = (call, request);
                     Err(crate::unknown_method(\"{}\"))
                 }}",
            method.name, method.input_type, method.output_type, method.proto_name
        )?;
    }
    writeln!(out, "}}")
}

fn generate_server(service: &Service, out: &mut String) -> std::fmt::Result {
    let (name, server, methods) = (&service.name, short_name(service, "Server"), methods_name(service));
    write!(
        out,
        "/// Answers remote calls by calling a [`{name}`] of this process.
         pub struct {server}(::std::sync::Arc<dyn {name}>);

         impl {server} {{
             /// Calls this service.
             pub fn new(service: ::std::sync::Arc<dyn {name}>) -> Self {{
                 Self(service)
             }}
         }}

         #[::async_trait::async_trait]
         impl ::rpc::Service for {server} {{
             fn name(&self) -> &'static str {{
                 \"{name}\"
             }}

             fn methods(&self) -> &'static [::rpc::Method] {{
                 {methods}
             }}

             async fn call(&self, request: ::rpc::Request) {{
                 match request.method() {{
         "
    )?;
    for (index, method) in service.methods.iter().enumerate() {
        let method = &method.name;
        write!(
            out,
            "{index} => {{
                 let Some((call, message, reply)) = crate::remote::open(request) else {{ return }};
                 reply.send(self.0.{method}(&call, message).await);
             }}
            "
        )?;
    }
    writeln!(out, "_ => unreachable!(\"the server calls only methods that it knows\") }} }} }}")
}

fn comments(comments: &Comments, indent: &str, out: &mut String) -> std::fmt::Result {
    comments.leading.iter().try_for_each(|line| writeln!(out, "{indent}///{line}"))
}

/// `UserService`: `USER_SERVICE_METHODS`.
fn methods_name(service: &Service) -> String {
    let mut name = String::new();
    for letter in service.name.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name + "_METHODS"
}

/// `UserService`: `UserClient`, `UserServer`.
fn short_name(service: &Service, suffix: &str) -> String {
    service.name.trim_end_matches("Service").to_owned() + suffix
}
