//! House rules that a program can check: arrows between crates, manifests, `unsafe`, files.

use potluck_tests::workspace_root;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Longest source file; what grows beyond it holds more than one idea.
const RUST_LINES_MAX: usize = 700;
/// Folders that nobody writes by hand.
const GENERATED: [&str; 5] = ["target", "node_modules", "__pycache__", "venv", "dist"];

/// The files that may say `unsafe`, and why. Everything else in the project is safe Rust.
const UNSAFE_FILES: [(&str, &str); 16] = [
    ("sdk/src/abi.rs", "the C layout: pointers, lengths and who frees them"),
    ("sdk/src/abi/export.rs", "ABI: what the host calls in a plugin"),
    ("sdk/src/host.rs", "ABI: calls the functions of the host's table"),
    ("sdk/src/reply.rs", "ABI: calls the functions of a completion"),
    ("sdk/src/testing.rs", "ABI: drives a provider through its table"),
    ("sdk/src/testing/call.rs", "ABI: plays the host's side of a call"),
    ("sdk/src/testing/host.rs", "ABI: a host's table"),
    ("sdk/src/testing/job.rs", "ABI: runs what a provider gave to the host"),
    ("sdk/src/testing/tests.rs", "ABI: a table that breaks the rules, to see that it is found out"),
    ("host/src/plugin.rs", "ABI: calls the functions of a plugin's table"),
    ("host/src/plugin/loader.rs", "opens libraries, and reads their tables"),
    ("host/src/services.rs", "ABI: what plugins call in the host"),
    ("host/src/descriptors.rs", "process setup: descriptors that the node was started with"),
    ("host/src/call.rs", "ABI: completions and cancel hooks"),
    ("plugins/cpu/workers/protocol/src/claims.rs", "memory that is shared with a worker process"),
    ("plugins/cpu/workers/wasm/src/image.rs", "loads compiled code, from folders that only the node can write"),
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn read_toml(path: &Path) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of the project, by their path from its root.
fn files() -> Vec<PathBuf> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = folder.join(&name);
            let name = name.to_string_lossy();
            // What begins with a dot belongs to tools, with the exception of our own.
            let is_ours = !name.starts_with('.') || [".ci", ".cargo", ".gitignore"].contains(&&*name);
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && is_ours && !GENERATED.contains(&&*name) {
                walk(root, &path, found);
            } else if kind.is_file() && is_ours {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&workspace_root(), Path::new(""), &mut found);
    found.sort();
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

fn rust_files() -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// A member of the workspace.
struct Member {
    /// Its folder, from the root.
    folder: String,
    name: String,
    manifest: Table,
}

fn root_manifest() -> Table {
    read_toml(&workspace_root().join("Cargo.toml"))
}

fn members() -> Vec<Member> {
    let root = workspace_root();
    let manifest = root_manifest();
    let folders = manifest["workspace"]["members"].as_array().unwrap().iter();
    let member = |folder: &Value| {
        let folder = folder.as_str().unwrap().to_owned();
        let manifest = read_toml(&root.join(&folder).join("Cargo.toml"));
        Member { name: manifest["package"]["name"].as_str().unwrap().to_owned(), folder, manifest }
    };
    folders.map(member).collect()
}

/// The dependencies of a manifest, of all kinds and targets: table, name, and what stands behind it.
fn dependencies(manifest: &Table) -> Vec<(String, String, Value)> {
    fn collect(table: &Table, place: &str, found: &mut Vec<(String, String, Value)>) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
                // `one = { package = "other" }` depends on `other`.
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.push((format!("{place}{kind}"), package.to_owned(), value.clone()));
            }
        }
    }
    let mut found = Vec::new();
    collect(manifest, "", &mut found);
    for (target, table) in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        collect(table.as_table().unwrap(), &format!("target.{target}."), &mut found);
    }
    found
}

/// What the crate in a folder may depend on within the project.
fn allowed_arrows(folder: &str) -> &'static [&'static str] {
    const SDK: &str = "potluck-sdk";
    const WORKER_PROTOCOL: &str = "potluck-worker-protocol";
    const WORKER_HARDENING: &str = "potluck-worker-hardening";
    match folder {
        "sdk" | "xtask" => &[],
        "host" => &[SDK, "potluck-web"],
        "web" => &[SDK],
        "tests" => &[SDK, "potluck-host"],
        // Cpu talks to its workers in a language of their own; neither side knows the other.
        "plugins/cpu" => &[SDK, WORKER_PROTOCOL],
        "plugins/cpu/workers/protocol" => &[],
        "plugins/cpu/workers/hardening" => &[WORKER_PROTOCOL],
        _ if folder.starts_with("plugins/cpu/workers/") => &[WORKER_PROTOCOL, WORKER_HARDENING],
        _ if folder.starts_with("plugins/") || folder.starts_with("tests/fixtures/") => &[SDK],
        _ => panic!("{folder}: say in tests/suite/tidy.rs what a crate there may depend on"),
    }
}

#[test]
fn crates_depend_on_each_other_only_along_the_arrows_of_the_design() {
    let members = members();
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut wrong = Vec::new();
    for member in &members {
        let allowed = allowed_arrows(&member.folder);
        for (table, name, _) in dependencies(&member.manifest) {
            if names.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} -> {name} ({table}); allowed: {allowed:?}", member.folder));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn versions_stand_in_the_root_alone() {
    let mut wrong = Vec::new();
    for member in members() {
        for (table, name, value) in dependencies(&member.manifest) {
            let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
            let own = ["version", "path", "git", "registry"].iter().any(|key| value.get(key).is_some());
            if !inherits || own {
                wrong.push(format!("{}: {table}: {name} = {value}", member.folder));
            }
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if member.manifest["package"].get(key).and_then(|value| value.get("workspace")).is_none() {
                wrong.push(format!("{}: package.{key} is not that of the workspace", member.folder));
            }
        }
    }
    assert!(wrong.is_empty(), "write `name.workspace = true` in members: {wrong:#?}");
}

#[test]
fn every_member_has_the_lints_of_the_workspace() {
    for member in members() {
        let inherits = member.manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(Value::as_bool), Some(true), "{}: [lints] workspace = true", member.folder);
    }
}

#[test]
fn every_crate_is_a_member() {
    let members = members();
    for path in files() {
        let folder = path.parent().unwrap().to_string_lossy().into_owned();
        // Examples for guests stand alone: others would copy them. Fuzz targets are built with flags of their own.
        let is_apart = folder.starts_with("guest-examples") || folder == "fuzz";
        if path.ends_with("Cargo.toml") && !folder.is_empty() && !is_apart {
            assert!(members.iter().any(|member| member.folder == folder), "{folder} is no member of the workspace");
        }
    }
}

#[test]
fn guest_examples_depend_on_nothing() {
    let names: Vec<String> = members().into_iter().map(|member| member.name).collect();
    for path in files().iter().filter(|path| path.starts_with("guest-examples") && path.ends_with("Cargo.toml")) {
        for (table, name, value) in dependencies(&read_toml(&workspace_root().join(path))) {
            let is_ours = names.contains(&name) || value.get("path").is_some() || value.get("workspace").is_some();
            assert!(!is_ours, "{}: {table}: {name}", path.display());
        }
    }
}

#[test]
fn no_profile_aborts() {
    fn panics(table: &Table, place: &str, found: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            if key == "panic" {
                found.insert(place.to_owned(), value.as_str().unwrap_or_default().to_owned());
            } else if let Some(inner) = value.as_table() {
                panics(inner, &format!("{place}.{key}"), found);
            }
        }
    }
    let mut found = BTreeMap::new();
    let mut manifests: Vec<PathBuf> = files().into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
    manifests.push(".cargo/config.toml".into());
    for path in manifests {
        if let Some(profiles) = read_toml(&workspace_root().join(&path)).get("profile").and_then(Value::as_table) {
            panics(profiles, &path.display().to_string(), &mut found);
        }
    }
    // An aborting profile turns one bad plugin into a dead node.
    assert!(found.values().all(|strategy| strategy == "unwind"), "{found:?}");
    for profile in ["dev", "release"] {
        assert!(found.contains_key(&format!("Cargo.toml.{profile}")), "{profile} does not say `panic = \"unwind\"`");
    }
}

/// The ids of the plugins in plugins.toml that ship with the node, those in comments too.
fn shipped_plugins() -> Vec<String> {
    let mut shipped = Vec::new();
    let text = read(&workspace_root().join("plugins.toml"));
    let mut lines = text.lines().map(|line| line.trim_start_matches(['#', ' '])).peekable();
    while let Some(line) = lines.next() {
        let Some(id) = line.strip_prefix("[plugins.").and_then(|rest| rest.strip_suffix(']')) else { continue };
        // A table with a path of its own is somebody else's.
        let mut is_foreign = false;
        while let Some(line) = lines.next_if(|line| !line.starts_with('[')) {
            is_foreign |= line.starts_with("path =");
        }
        if !is_foreign {
            shipped.push(id.to_owned());
        }
    }
    shipped
}

#[test]
fn plugins_toml_names_the_plugins_that_there_are() {
    let mut shipped = shipped_plugins();
    let members = members();
    let mut crates = Vec::new();
    for member in &members {
        let Some(id) = member.folder.strip_prefix("plugins/").filter(|id| !id.contains('/')) else { continue };
        assert_eq!(member.name, format!("provider-{id}"), "{}", member.folder);
        let kinds = member.manifest.get("lib").and_then(|lib| lib.get("crate-type")).and_then(Value::as_array);
        let is_shared = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib")));
        assert!(is_shared, "{} is not built as a library that a node can load", member.folder);
        crates.push(id.to_owned());
    }
    shipped.sort();
    crates.sort();
    assert_eq!(shipped, crates, "left: plugins.toml, right: folders below plugins/");
}

#[test]
fn unsafe_is_where_it_is_expected() {
    let root = workspace_root();
    let says_unsafe = |path: &PathBuf| words(&code(&read(&root.join(path)))).any(|word| word == "unsafe");
    let found: Vec<String> = rust_files().iter().filter(|path| says_unsafe(path)).map(|path| shown(path)).collect();
    let is_allowed = |path: &&String| UNSAFE_FILES.iter().any(|(allowed, _)| allowed == path);
    let unexpected: Vec<&String> = found.iter().filter(|path| !is_allowed(path)).collect();
    assert!(unexpected.is_empty(), "find a safe way, or give the reason in tests/suite/tidy.rs: {unexpected:?}");
    for (path, reason) in UNSAFE_FILES {
        assert!(found.iter().any(|found| found == path), "{path} is safe now; take it from the list ({reason})");
    }
}

#[test]
fn nothing_is_left_to_be_done() {
    // In pieces, so that this file does not find itself.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];
    for path in files() {
        // Pictures and other bytes say nothing.
        let Ok(text) = String::from_utf8(fs::read(workspace_root().join(&path)).unwrap()) else { continue };
        for (index, line) in text.lines().enumerate() {
            let found = notes.iter().find(|note| line.contains(*note));
            assert!(found.is_none(), "{}:{}: {line}", path.display(), index + 1);
        }
    }
}

#[test]
fn source_files_are_short() {
    for path in rust_files() {
        let lines = read(&workspace_root().join(&path)).lines().count();
        assert!(lines <= RUST_LINES_MAX, "{} has {lines} lines, over {RUST_LINES_MAX}; split it", path.display());
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for path in rust_files() {
        let text = read(&workspace_root().join(&path));
        assert!(text.starts_with("//! "), "{} does not begin with what it is", path.display());
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// Rust source without its comments, texts and characters.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            // `r` begins a raw text, but not at the end of a word.
            if in_word { 0 } else { raw_text(rest) }
        };
        if skipped == 0 {
            code.push(first);
            in_word = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            in_word = false;
            rest = &rest[skipped..];
        }
    }
    code
}

/// Length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of what stands between two of the same quotes, with them.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Whether a quote begins a character, and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut behind = text.chars().skip(1);
    behind.next() == Some('\\') || behind.next() == Some('\'')
}

/// Length of a raw text such as `r#".."#`; 0 when none begins here.
fn raw_text(text: &str) -> usize {
    let Some(behind) = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix)) else { return 0 };
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if !behind[hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inner = text.len() - behind.len() + hashes + 1;
    text[inner..].find(&end).map_or(text.len(), |at| inner + at + end.len())
}

#[test]
fn code_is_told_from_comments_and_texts() {
    for (source, expected) in [
        ("a // unsafe\nb", "a b"),
        ("a /* x /* y */ unsafe */ b", "a b"),
        (r#"a "unsafe \" unsafe" b"#, "a b"),
        (r##"a r#"unsafe " unsafe"# b"##, "a b"),
        (r#"a b"unsafe" b"#, "a b b"),
        ("a '\"' b '\\'' c 'x' d", "a b c d"),
        ("fn f<'a>(x: &'a str) -> &'a str { unsafe }", "fn f 'a x 'a str 'a str unsafe"),
        ("for \"x\" unsafe_code", "for unsafe_code"),
        ("'é' unsafe", "unsafe"),
    ] {
        let code = code(source);
        let found: Vec<&str> = words(&code).filter(|word| !word.is_empty()).collect();
        let expected: Vec<&str> = words(expected).filter(|word| !word.is_empty()).collect();
        assert_eq!(found, expected, "{source}");
    }
}
