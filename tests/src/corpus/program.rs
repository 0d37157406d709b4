//! A program of the corpus: a file, or what a file describes.

use super::Expectation;
use crate::workspace_root;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A hostile program, and what must become of it.
#[derive(Debug)]
pub struct Program {
    /// Name of its file, without what comes before and behind.
    pub name: String,
    /// What it tries, which completes the sentence "it".
    pub tries: String,
    /// Protections without which the runtime `python` could not refuse it.
    pub needs: Vec<String>,
    header: Header,
    /// Its text, or that of its WebAssembly.
    text: String,
}

/// Where a program that was told so would find what it must not get. Each stands for a word in `args`.
#[derive(Clone, Debug)]
pub struct Places {
    /// `$canary`: a folder of somebody else.
    pub canary: String,
    /// `$data`: the node's own folder.
    pub data: String,
    /// `$home`: the home of whoever runs the node.
    pub home: String,
    /// `$node`: the node's process.
    pub node: u32,
    /// `$port`: its port.
    pub port: u16,
    /// `$secret`: a word in the node's environment.
    pub secret: String,
}

/// What a file says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    tries: String,
    #[serde(default)]
    args: Vec<Value>,
    args_text: Option<Repeated>,
    function: Option<String>,
    #[serde(default)]
    limits: Map<String, Value>,
    #[serde(default)]
    needs: Vec<String>,
    program: Option<Repeated>,
    wat: Option<Repeated>,
    python: Option<OneOrMore>,
    sandbox: Option<OneOrMore>,
    wasm: Option<OneOrMore>,
}

/// A text that is too long for a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeated {
    #[serde(default)]
    before: String,
    /// In it `{n}` stands for its number, from 1, and `{p}` for the number before that.
    repeat: String,
    times: usize,
    /// Between the two: what closes one of the repeated texts, as often as that.
    #[serde(default)]
    closing: String,
    #[serde(default)]
    after: String,
}

impl Repeated {
    fn text(&self) -> String {
        let Repeated { before, repeat, times, closing, after } = self;
        let repeated = if repeat.contains("{n}") {
            let one =
                |number: usize| repeat.replace("{n}", &number.to_string()).replace("{p}", &(number - 1).to_string());
            (1..=*times).map(one).collect()
        } else {
            repeat.repeat(*times)
        };
        [before.as_str(), &repeated, &closing.repeat(*times), after].concat()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// The programs in a folder of `tests/hostile`, by name.
///
/// # Panics
/// When a file does not say what it must say.
pub fn programs(folder: &str) -> Vec<Program> {
    let folder = workspace_root().join("tests/hostile").join(folder);
    let read = |entry: std::io::Result<fs::DirEntry>| Program::read(&entry.unwrap().path());
    let programs: BTreeMap<_, _> = fs::read_dir(folder).unwrap().map(read).map(|one| (one.name.clone(), one)).collect();
    programs.into_values().collect()
}

impl Program {
    fn read(path: &Path) -> Program {
        let text = fs::read_to_string(path).unwrap();
        let mark = match path.extension().and_then(|extension| extension.to_str()) {
            Some("py") => "#|",
            Some("wat") => ";;|",
            Some("toml") => "",
            _ => panic!("{}: no kind of program", path.display()),
        };
        let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix(mark)).collect();
        let header: Header =
            toml::from_str(&header.join("\n")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let generated = header.program.as_ref().or(header.wat.as_ref()).map(Repeated::text);
        Program {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            tries: header.tries.clone(),
            needs: header.needs.clone(),
            text: generated.unwrap_or(text),
            header,
        }
    }

    /// What it does, by the first word of its name.
    pub fn kind(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// How it may end in a runtime; nothing when it is not for that one.
    pub fn expected(&self, runtime: &str) -> Vec<Expectation> {
        let expected = match runtime {
            "python" => &self.header.python,
            "sandbox" => &self.header.sandbox,
            _ => &self.header.wasm,
        };
        match expected {
            None => Vec::new(),
            Some(OneOrMore::One(text)) => vec![Expectation::parse(text)],
            Some(OneOrMore::More(texts)) => texts.iter().map(|text| Expectation::parse(text)).collect(),
        }
    }

    /// Seconds that it has, unless it leaves that to the node.
    pub fn timeout_seconds(&self) -> Option<f64> {
        self.header.limits.get("timeout").and_then(Value::as_f64)
    }

    /// The CPU_TASK that runs it as work of somebody else, and the message's attachment.
    pub fn message(&self, runtime: &str, submitter: &str, places: &Places) -> (String, Vec<u8>) {
        let mut message = json!({ "type": "CPU_TASK", "runtime": runtime, "source_peer": submitter });
        let members = message.as_object_mut().unwrap();
        members.extend(self.header.limits.clone());
        members.extend(self.header.function.iter().map(|name| ("function".to_owned(), json!(name))));
        let mut attachment = Vec::new();
        if runtime == "wasm" {
            attachment = wat::parse_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
            members.insert("attachment".to_owned(), json!(attachment.len()));
        } else {
            members.insert("program".to_owned(), json!(self.text));
        }
        let args = match &self.header.args_text {
            // As it is: not everything that JSON allows survives being read and written.
            Some(text) => text.text(),
            None => json!(self.header.args.iter().map(|value| places.put_into(value)).collect::<Vec<_>>()).to_string(),
        };
        let rest = message.to_string();
        (format!("{{\"args\":{args},{}", &rest[1..]), attachment)
    }
}

impl Places {
    fn put_into(&self, value: &Value) -> Value {
        match value.as_str() {
            Some("$canary") => json!(self.canary),
            Some("$data") => json!(self.data),
            Some("$home") => json!(self.home),
            Some("$node") => json!(self.node),
            Some("$port") => json!(self.port),
            Some("$secret") => json!(self.secret),
            _ => value.clone(),
        }
    }
}
