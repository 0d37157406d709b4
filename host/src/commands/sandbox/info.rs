//! `potluck sandbox info`: what an image holds, and what can be imported in it.

mod modules;

use super::compiled;
use crate::commands::runtime_status::{self, RuntimeLimits};
use crate::commands::session::{Session, parse};
use crate::output::activity::Activity;
use crate::output::table::Table;
use crate::output::{self, printable, units};
use anyhow::Context;
use modules::Modules;
use potluck_sdk::ProviderError;
use potluck_sdk::message::cpu::{SandboxImage, SandboxImageList, SandboxImages};
use serde_json::json;
use std::process::ExitCode;

/// Width of a list of names without a terminal.
const WIDTH: usize = 100;
const MARGIN: &str = "  ";

/// Shows an image. The exit code tells whether programs run in it.
pub(super) async fn run(session: &Session, name: &str) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&SandboxImages {}).await?;
    let list: SandboxImageList = parse(&reply)?;
    let image = find(&list.images, name)?;

    let activity = Activity::new(&format!("importing modules in {name}"));
    let found = modules::find(&session.client, image).await;
    drop(activity);
    // Asked last: the node knows the runtime better once a task was run in it.
    let runtimes = runtime_status::ask(session).await.unwrap_or_default();
    let limits = runtimes.get("sandbox").and_then(|runtime| runtime.limits.as_ref());

    if session.json {
        let found = found.with_context(|| format!("no program runs in the image {name}"))?;
        let whole = json!({ "image": image, "python_version": found.version, "modules": found, "limits": limits });
        output::print_json(&whole.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    print_image(image, found.as_ref().ok().map(|found| found.version.as_str()), limits)?;
    // What is known of the image is shown even if nothing runs in it.
    print_modules(&found.with_context(|| format!("no program runs in the image {name}"))?)?;
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(images: &'a [SandboxImage], name: &str) -> anyhow::Result<&'a SandboxImage> {
    let found = images.iter().find(|image| image.name == name);
    Ok(found.ok_or_else(|| {
        let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has: {}", names.join(", ")) };
        ProviderError::new("image_unknown", format!("the node has no image {name:?}; {has}"))
    })?)
}

fn print_image(image: &SandboxImage, version: Option<&str>, limits: Option<&RuntimeLimits>) -> anyhow::Result<()> {
    output::print_line(&printable(&format!("{}: {}", image.name, image.description)))?;
    let mut table = Table::new::<&str>(&[]);
    table.row(["source", &image.source]);
    table.row(["sha256", &image.sha256]);
    table.row(["size", &units::bytes(image.bytes)]);
    table.row(["compiled", &compiled(image)]);
    if let Some(version) = version {
        table.row(["python", version]);
    }
    for row in limits.map(limit_rows).unwrap_or_default() {
        table.row(row);
    }
    let (label, first) = ("packages", image.packages.first().map_or("none", String::as_str));
    table.row([label, first]);
    for package in image.packages.iter().skip(1) {
        table.row(["", package]);
    }
    table.print(MARGIN)?;
    Ok(())
}

/// What the node lets a task use, in words.
fn limit_rows(limits: &RuntimeLimits) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    let mut add = |name: &str, text: Option<String>| rows.extend(text.map(|text| [name.to_owned(), text]));
    add("memory", limits.memory_limit_bytes.map(|bytes| format!("{} at most", units::bytes(bytes))));
    add("output", limits.output_limit_bytes.map(|bytes| format!("{} at most on each stream", units::bytes(bytes))));
    add("time", limits.timeout_seconds.map(|seconds| format!("{} unless the task says", units::seconds(seconds))));
    add("longest time", limits.timeout_seconds_max.map(units::seconds));
    rows
}

fn print_modules(modules: &Modules) -> anyhow::Result<()> {
    for (title, group) in [("standard library", &modules.library), ("packages", &modules.packages)] {
        let works: Vec<&str> =
            group.iter().filter(|module| module.error.is_none()).map(|module| &*module.name).collect();
        if !works.is_empty() {
            let title = format!("\nModules of the {title} that can be imported ({})", works.len());
            output::print_line(&title)?;
            output::print_line(&columns(&works))?;
        }
    }
    let fails = modules.library.iter().chain(&modules.packages);
    let fails: Vec<_> = fails.filter_map(|module| Some((&module.name, module.error.as_ref()?))).collect();
    if !fails.is_empty() {
        output::print_line(&format!("\nModules that cannot ({})", fails.len()))?;
        let mut table = Table::new::<&str>(&[]);
        for (name, error) in fails {
            table.row([name, error]);
        }
        table.print(MARGIN)?;
    }
    Ok(())
}

/// Names side by side, as many as fit.
fn columns(names: &[&str]) -> String {
    let width = comfy_table::Table::new().width().map_or(WIDTH, usize::from);
    let mut lines = vec![MARGIN.to_owned()];
    for name in names.iter().map(|name| printable(name)) {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > MARGIN.len() && line + 1 + name.chars().count() > width {
            lines.push(MARGIN.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if line.len() > MARGIN.len() {
                line.push(' ');
            }
            line.push_str(&name);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_image_is_told_with_those_that_there_are() {
        let image = |name: &str| SandboxImage { name: name.to_owned(), ..SandboxImage::default() };
        let images = [image("python"), image("science")];
        assert_eq!(find(&images, "science").unwrap().name, "science");
        let error = find(&images, "../x").unwrap_err().to_string();
        assert!(error.contains("python, science"), "{error}");
        assert!(find(&[], "python").unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn names_fill_lines() {
        let names: Vec<String> = (0..100).map(|number| format!("module{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = columns(&names);
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 100);
        assert_eq!(columns(&["a"]), "  a");
    }

    #[test]
    fn limits_that_are_told_are_shown() {
        let limits = RuntimeLimits {
            memory_limit_bytes: Some(2 << 30),
            timeout_seconds: Some(60.0),
            ..RuntimeLimits::default()
        };
        assert_eq!(limit_rows(&limits), [["memory", "2.0 GiB at most"], ["time", "1 min 0 s unless the task says"]]);
        assert!(limit_rows(&RuntimeLimits::default()).is_empty());
    }
}
