//! Counts its own calls in a value of the node: a component of the world `guest-with-node` in `../wit/guest.wit`.
//!
//! ```text
//! main(name)      adds one to the value `visits-NAME` of the node and returns it; many at once lose none
//! whoami()        what the node knows of this task
//! ask(message)    any message: the node's reply, or its error
//! ```
//!
//! ```text
//! potluck cpu --module visits.wasm --args '["door"]'
//! potluck cpu --module visits.wasm --function ask --args '[{"type": "LIST_MEM"}]'
//! ```

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../wit", world: "guest-with-node" });

use potluck::guest::node;

struct Visits;

export!(Visits);

impl Guest for Visits {
    fn run(function: String, args_json: String) -> Result<String, String> {
        let arguments: Vec<Value> =
            serde_json::from_str(&args_json).map_err(|error| format!("the arguments do not fit: {error}"))?;
        let result = match (function.as_str(), arguments.as_slice()) {
            ("main", [Value::String(name)]) => count(&format!("visits-{name}")).map_err(sentence)?,
            ("whoami", []) => call(&json!({ "type": "TASK_SELF" })).map_err(sentence)?,
            ("ask", [message]) => call(message).unwrap_or_else(|error| error),
            _ => return Err("there are main(name), whoami() and ask(message)".to_owned()),
        };
        Ok(result.to_string())
    }
}

/// Sends a message; an error is the node's reply of the type `ERROR`.
fn call(message: &Value) -> Result<Value, Value> {
    let read = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    node::call(&message.to_string()).map(read).map_err(read)
}

fn sentence(error: Value) -> String {
    error["error"].as_str().unwrap_or("the node does not say why it failed").to_owned()
}

/// Reads the value and stores the next one, unless somebody else has in between: then once more.
fn count(key: &str) -> Result<Value, Value> {
    loop {
        let found = call(&json!({ "type": "GET_MEM", "key": key }))?;
        let version = found["version"].as_u64().unwrap_or(0);
        let next = found["value"].as_u64().unwrap_or(0) + 1;
        match call(&json!({ "type": "SET_MEM", "key": key, "value": next, "if_version": version })) {
            Ok(_) => return Ok(next.into()),
            Err(error) if error["code"] == "version_mismatch" => {}
            Err(error) => return Err(error),
        }
    }
}
