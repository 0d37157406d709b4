//! Which modules can be imported in an image. Only the image knows, so tasks try it there.

use crate::net::client::Client;
use anyhow::ensure;
use potluck_sdk::message::cpu::{CpuResult, CpuTask, SandboxImage};
use potluck_sdk::message::to_json;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

const PROGRAM: &str = include_str!("modules.py");
/// Time for a task: the first one may have to wait until the image is compiled.
const TASK_SECONDS: f64 = 600.0;
/// Most modules of the standard library and of the packages together, whatever an image says.
const MODULES_MAX: usize = 2000;

/// What an image can import.
#[derive(Debug, Default, Serialize)]
pub(super) struct Modules {
    /// Version of Python.
    #[serde(skip)]
    pub(super) version: String,
    /// Modules of the standard library.
    pub(super) library: Vec<Module>,
    /// Modules of the packages beside it.
    pub(super) packages: Vec<Module>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Module {
    pub(super) name: String,
    /// Why it cannot be imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Deserialize)]
struct Names {
    version: String,
    library: Vec<String>,
    packages: Vec<String>,
}

/// Asks the image for the names, and then tries them.
pub(super) async fn find(client: &Client, image: &SandboxImage) -> anyhow::Result<Modules> {
    let names = call(client, &image.name, "names", &[&image.packages]).await?;
    let names: Names = serde_json::from_str(&names)?;
    ensure!(names.library.len() + names.packages.len() <= MODULES_MAX, "it names more than {MODULES_MAX} modules");
    Ok(Modules {
        version: names.version,
        library: try_all(client, &image.name, names.library).await?,
        packages: try_all(client, &image.name, names.packages).await?,
    })
}

/// Tries modules, all in one task. A module that ends the instance takes the others with it, so then each half is tried by
/// itself, until it is alone.
async fn try_all(client: &Client, image: &str, names: Vec<String>) -> anyhow::Result<Vec<Module>> {
    let mut tried = Vec::new();
    let mut groups = vec![names];
    while let Some(mut group) = groups.pop() {
        if group.is_empty() {
            continue;
        }
        match call(client, image, "try_imports", &[&group]).await {
            Ok(answer) => {
                let errors: Vec<Option<String>> = serde_json::from_str(&answer)?;
                ensure!(errors.len() == group.len(), "the image answers something else than what it was asked");
                tried.extend(group.into_iter().zip(errors).map(|(name, error)| Module { name, error }));
            }
            Err(Failure::Task(error)) if group.len() == 1 => {
                tried.extend(group.pop().map(|name| Module { name, error: Some(error) }));
            }
            Err(Failure::Task(_)) => {
                let second = group.split_off(group.len() / 2);
                // The first half is on top, so that the order stays.
                groups.extend([second, group]);
            }
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    Ok(tried)
}

#[derive(Debug)]
enum Failure {
    /// The task was run, or could not be, and that is why.
    Task(String),
    /// There is no answer.
    Other(anyhow::Error),
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> anyhow::Error {
        match failure {
            Failure::Task(text) => anyhow::Error::msg(text),
            Failure::Other(error) => error,
        }
    }
}

/// Calls a function of the program in the image. Returns its result as JSON.
async fn call(client: &Client, image: &str, function: &str, args: &[&Vec<String>]) -> Result<String, Failure> {
    let other = |error: anyhow::Error| Failure::Other(error);
    let program = serde_json::value::to_raw_value(PROGRAM).map_err(|error| other(error.into()))?;
    let args = serde_json::value::to_raw_value(args).map_err(|error| other(error.into()))?;
    let task = CpuTask {
        program: Some(&program),
        function: Some(Cow::Borrowed(function)),
        args: Some(&args),
        runtime: Some(Cow::Borrowed("sandbox")),
        image: Some(Cow::Borrowed(image)),
        // It is this node's image that is looked at.
        confidential: Some(true),
        timeout: Some(TASK_SECONDS),
        ..CpuTask::default()
    };
    let reply = client.request(&to_json(&task), &[]).await.map_err(|error| other(error.into()))?;
    let result: CpuResult<'_> = crate::commands::session::parse(&reply).map_err(other)?;
    match (&result.error, result.result) {
        (Some(error), _) => Err(Failure::Task(error.to_string())),
        (None, Some(value)) => Ok(value.get().to_owned()),
        (None, None) => Err(Failure::Task("it returned nothing".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_fail_say_why() {
        let module =
            |name: &str, error: Option<&str>| Module { name: name.to_owned(), error: error.map(str::to_owned) };
        let modules = Modules {
            version: "3.14.0".to_owned(),
            library: vec![module("json", None), module("ssl", Some("ModuleNotFoundError: No module named '_ssl'"))],
            packages: Vec::new(),
        };
        let json = serde_json::to_value(&modules).unwrap();
        assert_eq!(json["library"][0], serde_json::json!({ "name": "json" }));
        assert!(json["library"][1]["error"].as_str().unwrap().contains("_ssl"));
        assert!(json.get("version").is_none());
    }
}
