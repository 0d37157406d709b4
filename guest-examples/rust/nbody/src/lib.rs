//! Moves the sun and the four large planets by their gravity: a component of the world in `../wit/guest.wit`.
//!
//! ```text
//! main(steps)                             energy before and after; it should hardly change
//! positions(steps)                        where each body is then, in distances between sun and earth
//! simulate(bodies, steps, step_years)     bodies of your own, as an array of objects
//! ```
//!
//! `main` and `positions` take steps of 0.01 years. A component is handed its arguments as text and returns its result
//! as text: no streams, no start-up code, and nothing that it imports. The results are the same on every machine, digit
//! for digit.
//!
//! ```text
//! potluck cpu --module nbody.wasm --args '[1000]'
//! potluck cpu --module nbody.wasm --function positions --args '[100]'
//! ```

mod system;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use system::{Body, System};

wit_bindgen::generate!({ path: "../wit", world: "guest" });

/// Years of a step, where the caller does not say.
const STEP_YEARS: f64 = 0.01;

struct NBody;

export!(NBody);

impl Guest for NBody {
    fn run(function: String, args_json: String) -> Result<String, String> {
        match function.as_str() {
            "main" => call(&args_json, |(steps,)| energies(steps)),
            "positions" => call(&args_json, |(steps,)| positions(steps)),
            "simulate" => call(&args_json, |(bodies, steps, step_years)| simulate(bodies, steps, step_years)),
            other => Err(format!("there is no function {other}; there are main, positions and simulate")),
        }
    }
}

/// Calls a function with the arguments that it wants. A JSON array is read as the tuple of them.
fn call<A: DeserializeOwned, R: Serialize>(args_json: &str, function: impl FnOnce(A) -> R) -> Result<String, String> {
    let arguments = serde_json::from_str(args_json).map_err(|error| format!("the arguments do not fit: {error}"))?;
    serde_json::to_string(&function(arguments)).map_err(|error| format!("the result is no JSON: {error}"))
}

/// What `main` returns.
#[derive(Serialize)]
struct Energies {
    before: f64,
    after: f64,
}

fn energies(steps: u32) -> Energies {
    let mut system = System::of_the_sun();
    let before = system.energy();
    system.advance(steps, STEP_YEARS);
    Energies { before, after: system.energy() }
}

fn positions(steps: u32) -> BTreeMap<String, [f64; 3]> {
    let mut system = System::of_the_sun();
    system.advance(steps, STEP_YEARS);
    system.bodies.into_iter().map(|body| (body.name, body.position)).collect()
}

fn simulate(bodies: Vec<Body>, steps: u32, step_years: f64) -> Vec<Body> {
    let mut system = System { bodies };
    system.advance(steps, step_years);
    system.bodies
}
