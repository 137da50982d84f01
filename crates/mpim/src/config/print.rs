//! Writes a configuration as a commented `mpim.toml`.

use std::{fmt::Write as _, io};

use super::{
    Config,
    kind::{Kind, quoted},
    read::{file_key, variable_of},
    settings::{Key, Visitor},
};

impl Config {
    /// Writes what is in effect as an `mpim.toml` that loads to the same values, with what each key means, its
    /// environment variable, what is allowed, and its default. Secrets are not written, only the files they are in.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut page = Page(String::from(
            "# The configuration of MPIM. Each line can be left out; a variable of the environment counts more.\n",
        ));
        self.clone().visit(&mut page);
        out.write_all(page.0.as_bytes())
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String takes everything");
    }

    fn comment(&mut self, comment: &[&str]) {
        for line in comment {
            self.line(format_args!("#{}", line.trim_end()));
        }
    }
}

impl Visitor for Page {
    fn section(&mut self, name: &'static str, comment: &'static [&'static str]) {
        self.line(format_args!(""));
        self.comment(comment);
        self.line(format_args!("[{name}]"));
    }

    fn key<K: Kind>(&mut self, key: Key, kind: &K, value: &mut K::Value) {
        let (name, variable) = (key.name, variable_of(&key));
        let default = kind.read(&key.default).expect("a default is allowed");
        self.line(format_args!(""));
        self.comment(key.comment);
        if K::SECRET {
            let in_file = file_key(name);
            self.line(format_args!("# {variable}, or {variable}_FILE; not shown here"));
            match kind.file(value) {
                Some(file) => self.line(format_args!("{in_file} = {}", quoted(&file.to_string_lossy()))),
                None if *value == default => self.line(format_args!("# {in_file} = \"\"")),
                None => self.line(format_args!("# {name} is set")),
            }
            return;
        }
        self.line(format_args!("# {variable}: {}; default {}", kind.allowed(), kind.write(&default)));
        self.line(format_args!("{name} = {}", kind.write(value)));
    }
}
