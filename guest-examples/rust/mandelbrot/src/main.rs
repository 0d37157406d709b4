//! Computes rows of a picture of the Mandelbrot set: a WASI command, which is a plain program.
//!
//! ```text
//! main(width, height, first_row=0, rows=null, iterations=100)  iteration counts, one array a row
//! ascii(width=72, height=24, iterations=100)                   the whole picture as text
//! ```
//!
//! It computes what `../../python/mandelbrot.py` computes, number for number. A command reads its arguments from
//! standard input, finds the name of the function in its own first argument, and prints its result. What it prints may
//! have 256 KiB, so a large picture is cut into bands, for which many peers are better anyway.
//!
//! ```text
//! potluck cpu --module mandelbrot.wasm --function ascii
//! potluck cpu --module mandelbrot.wasm --args '[80, 40, 0, 10]'
//! ```

use serde::{Deserialize, Serialize};
use std::env;
use std::io;
use std::process::ExitCode;

/// The part of the plane that holds the whole set.
const LEFT: f64 = -2.2;
const RIGHT: f64 = 0.8;
const BOTTOM: f64 = -1.2;
const TOP: f64 = 1.2;

const SHADES: &[u8] = b" .:-=+*%#@";

/// The arguments of `main`: an array whose end may be missing.
#[derive(Deserialize)]
struct Band {
    width: u32,
    height: u32,
    #[serde(default)]
    first_row: u32,
    #[serde(default)]
    rows: Option<u32>,
    #[serde(default = "hundred")]
    iterations: u32,
}

fn hundred() -> u32 {
    100
}

/// The arguments of `ascii`.
#[derive(Deserialize)]
#[serde(default)]
struct Drawing {
    width: u32,
    height: u32,
    iterations: u32,
}

impl Default for Drawing {
    fn default() -> Drawing {
        Drawing { width: 72, height: 24, iterations: 100 }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The last line of standard error becomes the error of the task.
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let wrong = |error| format!("the arguments do not fit: {error}");
    let stdin = io::stdin();
    match env::args().nth(1).as_deref() {
        None | Some("main") => print(&counts(&serde_json::from_reader(stdin).map_err(wrong)?)),
        Some("ascii") => print(&ascii(&serde_json::from_reader(stdin).map_err(wrong)?)),
        Some(other) => Err(format!("there is no function {other}; there are main and ascii")),
    }
}

fn print(result: &impl Serialize) -> Result<(), String> {
    serde_json::to_writer(io::stdout(), result).map_err(|error| format!("the result cannot be printed: {error}"))
}

fn counts(band: &Band) -> Vec<Vec<u32>> {
    let last_row = match band.rows {
        Some(rows) => band.first_row.saturating_add(rows).min(band.height),
        None => band.height,
    };
    (band.first_row..last_row).map(|row| row_counts(row, band)).collect()
}

fn row_counts(row: u32, band: &Band) -> Vec<u32> {
    // Points are the centres of the pixels, so that the picture is symmetric as the set is.
    let imaginary = TOP - (f64::from(row) + 0.5) * (TOP - BOTTOM) / f64::from(band.height);
    let step = (RIGHT - LEFT) / f64::from(band.width);
    (0..band.width)
        .map(|column| escape_count(LEFT + (f64::from(column) + 0.5) * step, imaginary, band.iterations))
        .collect()
}

/// How many steps of z -> z * z + point stay within distance 2 of the origin.
fn escape_count(point_real: f64, point_imaginary: f64, iterations: u32) -> u32 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for count in 0..iterations {
        if real * real + imaginary * imaginary > 4.0 {
            return count;
        }
        (real, imaginary) =
            (real * real - imaginary * imaginary + point_real, real * imaginary + imaginary * real + point_imaginary);
    }
    iterations
}

fn ascii(drawing: &Drawing) -> String {
    let Drawing { width, height, iterations } = *drawing;
    let rows = counts(&Band { width, height, first_row: 0, rows: None, iterations });
    let lines: Vec<String> =
        rows.iter().map(|row| row.iter().map(|count| shade(*count, iterations)).collect()).collect();
    lines.join("\n")
}

fn shade(count: u32, iterations: u32) -> char {
    let darkest = SHADES.len() - 1;
    // One shade more from the fourth step on draws the outline around the set, where the counts are still small.
    let outline = usize::from(count > 3);
    let shade = (count as usize).saturating_mul(darkest).checked_div(iterations as usize).unwrap_or(darkest) + outline;
    char::from(SHADES[shade.min(darkest)])
}
